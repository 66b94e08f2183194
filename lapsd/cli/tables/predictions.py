"""The table of predictors of output lengths."""

from collections.abc import Mapping
from typing import Protocol

from rich.table import Table

from lapsd.cli.tables.cells import table_of
from lapsd.sim.experiment.numbers import number


class Judged(Protocol):
    """Accuracy of a predictor, as in `lapsd.predict.Accuracy`."""

    @property
    def kendall(self) -> float: ...
    @property
    def spearman(self) -> float: ...
    @property
    def mean_absolute_error(self) -> float: ...
    @property
    def log_error(self) -> float: ...
    @property
    def sd_log_error(self) -> float: ...
    @property
    def ms_a_prediction(self) -> float: ...
    @property
    def fell_back(self) -> float: ...


def accuracy_table(accuracies: Mapping[str, Judged]) -> Table:
    """Return one row per predictor: rank correlation, error and cost."""
    table = table_of(
        "predictor",
        "Kendall's\ntau",
        "rank\ncorrelation",
        "mean error\ntokens",
        "mean\n|log error|",
        "sd of\nlog error",
        "ms a\nprediction",
        "fell\nback %",
    )
    for name, a in accuracies.items():
        table.add_row(
            name,
            number(a.kendall),
            number(a.spearman),
            number(a.mean_absolute_error),
            number(a.log_error),
            number(a.sd_log_error),
            number(a.ms_a_prediction),
            f"{100 * a.fell_back:.0f}",
        )
    return table
