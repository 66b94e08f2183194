"""Tables of a trace: requests, dynamics of acceptance, and provenance."""

import numpy as np
from rich.markup import escape
from rich.table import Table

from lapsd.cli.tables.cells import facts_table, table_of
from lapsd.sim.experiment.numbers import decimals, number
from lapsd.sim.experiment.stability import quantiles, stable_rounds
from lapsd.traces import Reliability, Trace, describe, reliability, shuffled, to_frame
from lapsd.traces.provenance import LearnedLengths

MOST_DATASETS = 50  # that the tables list


def trace_tables(trace: Trace, *, verbose: bool = False) -> list[Table]:
    """Return tables of requests, lengths and acceptance by data set, of what the draft model knows
    of acceptance if the trace says it, and of provenance.

    Parameters
    ----------
    verbose : whether to add the remaining notes of the file.
    """
    frame = to_frame(trace)
    table = table_of(
        "dataset",
        "requests",
        "prompt\nmedian",
        "output\nmedian",
        "output\np10",
        "output\np90",
        "output\nmax",
        "rounds\nmedian",
        "tokens\n/ round",
        "acceptance\nmean",
        "acceptance\nsd",
    )
    names = trace.datasets
    groups = [(name, frame[frame["dataset"] == name]) for name in names[:MOST_DATASETS]]
    for name, rows in [*groups, ("all", frame)] if len(names) > 1 else groups:
        p10, p50, p90 = rows["output_tokens"].quantile([0.1, 0.5, 0.9])
        table.add_row(
            escape(str(name)),
            str(len(rows)),
            number(rows["prompt_tokens"].median()),
            number(p50),
            number(p10),
            number(p90),
            str(rows["output_tokens"].max()),
            number(rows["rounds"].median()),
            f"{rows['output_tokens'].sum() / rows['rounds'].sum():.2f}",
            decimals(rows["acceptance"].mean(), ".3f"),
            decimals(rows["acceptance"].std(), ".3f"),
        )
    if len(names) > MOST_DATASETS:
        table.add_row(f"and {len(names) - MOST_DATASETS:,} more data sets")
    known = trace.provenance
    shown = [table, _dynamics_table(trace)]
    if (known_by_draft := reliability(trace)) is not None:
        shown.append(_confidence_table(known_by_draft))
    if known.length_predictor is not None:
        shown.append(lengths_table(known.length_predictor, verbose=verbose))
    return [*shown, facts_table(known.facts), *([facts_table(known.details)] if verbose else [])]


def lengths_table(learned: LearnedLengths, *, verbose: bool) -> Table:
    """Return the accuracy of predicted lengths, out of fold; `verbose` adds data sets."""
    table = table_of(
        "lengths predicted by",
        "requests of",
        "requests",
        "mean error\ntokens",
        "rank\ncorrelation",
        "Kendall's\ntau",
        "sd of the\nlog error",
    )
    for predictor, by_dataset in learned.by_predictor.items():
        for name, errors in by_dataset.items():
            if verbose or name == "pooled":
                table.add_row(
                    escape(predictor),
                    "all" if name == "pooled" else escape(name),
                    str(errors.requests),
                    number(errors.mean_absolute_error),
                    number(errors.rank_correlation),
                    number(errors.kendall_tau),
                    number(errors.sd_log_error),
                )
    return table


def _confidence_table(found: Reliability) -> Table:
    """Return how often proposals are accepted, by the draft model's own probability of them."""
    auc = decimals(found.auc, ".3f")
    table = table_of(
        f"probability by the draft model\n(area under the ROC curve {auc})",
        "proposals",
        "mean\nprobability",
        "accepted",
    )
    for row in found.bins.to_dict("records"):
        table.add_row(
            f"{row['low']:.1f} to {row['high']:.1f}",
            f"{row['proposals']:,}",
            f"{row['draft_prob']:.3f}",
            f"{row['accepted']:.3f}",
        )
    return table


def _dynamics_table(trace: Trace) -> Table:
    """Return how acceptance varies within requests, and when they become perceptible.

    LAPS-SD has its default parameters.
    """
    table = table_of(
        "dataset",
        "within a request\nsd",
        "correlation with\nlog length",
        "autocorrelation\nlag 1, 2, 3, 5",
        "accepted at position\n1, 2, 3, 4",
        "perceptible at round\np10, 50, 90 (share)",
        "the same,\nrounds shuffled",
    )
    stable = stable_rounds(trace)
    mixed = stable_rounds(shuffled(trace, np.random.default_rng(0)))
    datasets = np.array(trace.dataset, dtype=object)
    several = len(trace.datasets) > 1
    for row in describe(trace, MOST_DATASETS).to_dict("records"):
        whole = several and row["dataset"] == "all"
        of = np.ones(len(trace), bool) if whole else datasets == row["dataset"]
        rounds = []
        for perceptible in (stable[of], mixed[of]):
            *marks, share = quantiles(perceptible)
            rounds.append(f"{' '.join(number(m) for m in marks)} ({share:.0%})")
        lags = " ".join(decimals(row["autocorrelation"][lag - 1], "+.2f") for lag in (1, 2, 3, 5))
        places = " ".join(decimals(p, ".2f") for p in row["draft_position"][:4])
        sizes = decimals(row["within_sd"], ".3f"), decimals(row["length_correlation"], "+.2f")
        table.add_row(escape(str(row["dataset"])), *sizes, lags, places, *rounds)
    return table
