"""The report of a validation: tables and sentences for a terminal, JSON or one HTML page."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from lapsd.serve.validation.findings import (
    Outcome,
    differences_table,
    errors_table,
    requests_table,
    verdicts,
)
from lapsd.serve.validation.tables import differences_text, errors_text, latencies_text
from lapsd.sim.figures.predicted import plot_predicted
from lapsd.sim.figures.saving import image

INPUTS = ("costs", "acceptance")  # of the simulator, in `Report.made`

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Report:
    """The results of a validation.

    Attributes
    ----------
    engine : str
        A description of the engine.
    made : mapping
        Command, models, machine and settings of the validation.
    outcomes : sequence of Outcome, at least one
    """

    engine: str
    made: Mapping[str, str]
    outcomes: Sequence[Outcome]

    @cached_property
    def errors(self) -> pd.DataFrame:
        """See `findings.errors_table`."""
        return errors_table(self.outcomes)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """See `findings.differences_table`."""
        return differences_table(self.outcomes)

    @cached_property
    def requests(self) -> pd.DataFrame:
        """See `findings.requests_table`."""
        return requests_table(self.outcomes)

    @cached_property
    def verdicts(self) -> list[str]:
        """Where costs and acceptance come from, and `findings.verdicts`."""
        return [*self._inputs, *verdicts(self.outcomes, self.errors, self.differences)]

    @property
    def _inputs(self) -> list[str]:
        """What the simulator was given, in a sentence."""
        given = [f"{name}: {self.made[name]}" for name in INPUTS if name in self.made]
        return [f"Given to the simulator: {'; '.join(given)}."] if given else []

    @property
    def caption(self) -> str:
        """A description of the runs."""
        plan = self.outcomes[0].plan
        seeds, loads = (len({getattr(o, name) for o in self.outcomes}) for name in ("seed", "load"))
        times = "wall clock" if plan.clock == "wall" else "idle time skipped"
        return (
            f"{self.engine}: {len(plan.requests)} requests, {loads} load{'s' * (loads > 1)},"
            f" {seeds} seed{'s' * (seeds > 1)}, batches of up to {plan.batch}, {times}"
        )

    def figure(self) -> "Figure":
        """Return the plot of predicted against measured latency, one dot per request."""
        return plot_predicted(self.requests, self.caption)

    def findings(self) -> dict[str, Any]:
        """Return all tables and sentences, ready for JSON."""
        tables = {"errors": self.errors, "differences": self.differences}
        return {
            "caption": self.caption,
            "verdicts": self.verdicts,
            "made": dict(self.made),
            **{
                name: [_plain(row) for row in frame.to_dict("records")]
                for name, frame in tables.items()
            },
        }

    def page(self) -> str:
        """Return the report as one self-contained HTML page."""
        from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

        environment = Environment(
            loader=PackageLoader("lapsd.serve.validation"),
            autoescape=select_autoescape(["html.j2", "html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("page.html.j2").render(
            engine=self.engine,
            caption=self.caption,
            verdicts=self.verdicts,
            made=self.made,
            latencies=latencies_text(self.errors),
            errors=errors_text(self.errors),
            differences=differences_text(self.differences),
            png=base64.b64encode(image(self.figure(), format="png", dpi=150)).decode("ascii"),
        )


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row with None in place of NaN, which JSON does not have."""
    return {
        str(k): None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()
    }
