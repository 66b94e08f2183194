"""Comparison of live runs with the simulator: errors, order of requests, and policy differences.

Intervals are over seeds (`lapsd.sim.experiment.statistics`); percentiles are of latencies pooled
over seeds. Each error comes with the drift of the machine: the change in the time of the same
calibration rounds from before a run to after it, or from its first to its second half.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import pandas as pd

from lapsd.policies.spec import split_spec
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.serve.validation.costs import Slowness, at_level_of, profile_of
from lapsd.serve.validation.decisions import Divergence, replay
from lapsd.serve.validation.live_runs import LiveRuns
from lapsd.serve.validation.recorded import recorded_before
from lapsd.serve.validation.simulated import Order, live_order, predict_run
from lapsd.sim.experiment import paired_difference, ratio_of_means
from lapsd.sim.experiment.statistics import Interval
from lapsd.traces import Profile, Provenance, Trace

# largest acceptable errors of the simulator: percent, percent, percentage points
BUSY, LATENCY, RATIO = 2.0, 5.0, 3.0
BASELINE = "fcfs"
RECORDED = "the recorded length"  # of drafts, where no draft policy chooses


@dataclass(frozen=True, eq=False)
class Outcome:
    """A live run and its simulation.

    Attributes
    ----------
    live_ns, predicted_ns : int64 arrays (N,)
        Measured and predicted latencies of the requests.
    busy_ns, predicted_busy_ns : int
    same_order : float
        The share of rounds that ran in the same order.
    drift, latency_drift : float
        Relative change in the time of calibration rounds from before the run to after it, or from
        its first to its second half; and the relative change in predicted mean latency that
        follows from it.
    divergence : str or None
        The first decision that differs when the simulator replays the run with its own durations;
        "": no decision differs; None: not replayed, because events at one instant have another
        order in this engine.
    """

    load: float
    seed: int
    plan: Plan
    live_ns: np.ndarray[Any, np.dtype[np.int64]]
    predicted_ns: np.ndarray[Any, np.dtype[np.int64]]
    busy_ns: int
    predicted_busy_ns: int
    same_order: float
    drift: float
    latency_drift: float
    divergence: str | None

    @property
    def rank_correlation(self) -> float:
        """Spearman correlation of measured and predicted latencies.

        NaN for a single request, or where all latencies are equal.
        """
        live, predicted = (pd.Series(ns).rank() for ns in (self.live_ns, self.predicted_ns))
        return float(live.corr(predicted))


def outcomes(
    workloads: Sequence[LiveRuns], given: Profile | None = None, trace: Trace | None = None
) -> list[Outcome]:
    """Return the outcome of every complete run of a validation.

    Parameters
    ----------
    workloads : the live runs of each workload.
    given : costs to predict from; None: a fit to all calibration rounds, scaled to the level of
        the calibration rounds of each run.
    trace : the trace whose requests were served: acceptance comes from it; None: from each run.
    """
    parts = [
        part
        for runs in workloads
        for i in range(len(runs.records))
        for part in runs.calibration_halves(i)
    ]
    records = [record for part in parts for record in part]
    if not records:
        return []
    shape = _costs_of(records)
    return [outcome for runs in workloads for outcome in outcomes_of(runs, shape, given, trace)]


def outcomes_of(
    runs: LiveRuns, shape: Profile, given: Profile | None = None, trace: Trace | None = None
) -> list[Outcome]:
    """Return the outcome of every complete run of a workload.

    Parameters
    ----------
    shape : costs whose level is fitted again to the calibration rounds of each run.
    given : costs to predict from instead.
    trace : the trace whose requests were served, to take acceptance from; None: from each run.
    """
    outcomes = []
    for i, (plan, record) in enumerate(zip(runs.plans, runs.records, strict=True)):
        halves = [half for half in runs.calibration_halves(i) if half]
        if not record.complete or not halves:
            continue
        known = None if trace is None else recorded_before(plan, trace)
        run, order = predict_run(plan, record, *_costs_for(record, halves, shape, given), known)
        latency_by_half = [
            predict_run(plan, record, at_level_of(shape, half))[0].latency_ns.mean()
            for half in halves
        ]
        live = np.array([result.latency_ns for result in record.by_index.values()], dtype=np.int64)
        step_ns_by_half = [
            float(np.mean([step.end_ns - step.start_ns for r in half for step in r.steps]))
            for half in halves
        ]
        outcomes.append(
            Outcome(
                runs.load,
                runs.seed,
                plan,
                live,
                run.latency_ns,
                record.busy_ns,
                run.end_ns - run.idle_ns,
                same_order(live_order(record), order),
                step_ns_by_half[-1] / step_ns_by_half[0] - 1,
                latency_by_half[-1] / latency_by_half[0] - 1,
                _divergence(plan, record),
            )
        )
    return outcomes


def _costs_for(
    record: Record, halves: Sequence[Sequence[Record]], shape: Profile, given: Profile | None
) -> tuple[Profile, Slowness | None]:
    """Return costs at the level of the calibration rounds of a run.

    Where these ran within the run, also return the change of the level over time.
    """
    if given is not None:
        return given, None
    level = at_level_of(shape, [record for half in halves for record in half])
    return level, Slowness(level, record.interleaved) if record.interleaved else None


def _costs_of(records: Sequence[Record]) -> Profile:
    return profile_of(records, Provenance(), "unknown")


def same_order(live: Order, predicted: Order) -> float:
    """Return the share of live rounds that belong to sequences which both orders contain."""
    matches = SequenceMatcher(None, live, predicted, autojunk=False).get_matching_blocks()
    return sum(match.size for match in matches) / max(len(live), 1)


def _divergence(plan: Plan, record: Record) -> str | None:
    if record.engine != "own":
        return None
    try:
        replay(plan, record)
    except Divergence as error:
        return str(error)
    return ""


def _exact(runs: Sequence[Outcome]) -> int | None:
    """Return the number of runs that were reproduced exactly; None if none was replayed."""
    replayed = [o.divergence for o in runs if o.divergence is not None]
    return replayed.count("") if replayed else None


def _grouped(outcomes: Iterable[Outcome]) -> dict[tuple[float, str], list[Outcome]]:
    """Return outcomes by load and policy, each in the order of seeds."""
    groups: dict[tuple[float, str], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda o: o.seed):
        groups.setdefault((outcome.load, outcome.plan.policy), []).append(outcome)
    return groups


def _percent(interval: Interval) -> dict[str, float]:
    """Return a ratio as an error in percent, with its interval."""
    names = ("error", "error_low", "error_high")
    return {name: 100 * (value - 1) for name, value in zip(names, interval, strict=True)}


def errors_table(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return one row per load and policy, with latencies in seconds and errors in percent.

    `error` is the error of predicted mean latency, `busy_error` that of busy time: the ratio of
    means over seeds minus 1, with its interval. `busy_drift` is the mean absolute change in the
    time of the same calibration rounds from before a run to after it, and `drift` the change in
    mean latency that follows from it, both in percent.
    """
    rows = []
    for (load, policy), runs in _grouped(outcomes).items():
        live, predicted = (
            np.concatenate([getattr(o, name) for o in runs]) / 1e9
            for name in ("live_ns", "predicted_ns")
        )
        means = [[getattr(o, name).mean() for o in runs] for name in ("predicted_ns", "live_ns")]
        busy = _percent(
            ratio_of_means([o.predicted_busy_ns for o in runs], [o.busy_ns for o in runs])
        )
        row: dict[str, Any] = {
            "load": load,
            "policy": policy,
            "seeds": len(runs),
            "requests": len(runs[0].live_ns),
        }
        for name, statistic in (
            ("mean", np.mean),
            ("p50", np.median),
            ("p99", lambda x: np.percentile(x, 99)),
        ):
            row |= {
                f"{name}_s": float(statistic(live)),
                f"predicted_{name}_s": float(statistic(predicted)),
            }
        row |= _percent(ratio_of_means(*means)) | {
            f"busy_{name}": value for name, value in busy.items()
        }
        row |= {
            "rank_correlation": float(np.mean([o.rank_correlation for o in runs])),
            "same_order": float(np.mean([o.same_order for o in runs])),
            "busy_drift": 100 * float(np.mean([abs(o.drift) for o in runs])),
            "drift": 100 * float(np.mean([abs(o.latency_drift) for o in runs])),
            "exact_decisions": _exact(runs),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def differences_table(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return one row per load and pair of policies: the difference in mean latency, with intervals.

    The difference is the mean latency of the second policy minus that of the first, in seconds and
    in percent, measured and predicted, paired over the seeds that both served. `significant`: the
    interval of the measured difference excludes 0. `points`: predicted minus measured percentage.
    """
    groups, rows = _grouped(outcomes), []
    for (load, first), runs in groups.items():
        for (other_load, second), others in groups.items():
            if load != other_load or list(groups).index((load, first)) >= list(groups).index(
                (load, second)
            ):
                continue
            by_seed = {o.seed: o for o in others}
            pairs = [(o, by_seed[o.seed]) for o in runs if o.seed in by_seed]
            rows.append(
                {"load": load, "policy": first, "other": second, "seeds": len(pairs)}
                | _compared(pairs)
            )
    return pd.DataFrame(rows)


def _compared(pairs: Sequence[tuple[Outcome, Outcome]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for prefix, name in (("", "live_ns"), ("predicted_", "predicted_ns")):
        first, second = ([getattr(pair[i], name).mean() / 1e9 for pair in pairs] for i in (0, 1))
        difference, ratio = paired_difference(second, first), ratio_of_means(second, first)
        row |= {
            f"{prefix}s": difference.value,
            f"{prefix}low": difference.low,
            f"{prefix}high": difference.high,
        }
        row[f"{prefix}percent"] = 100 * (ratio.value - 1)
    row["points"] = row["predicted_percent"] - row["percent"]
    row["significant"] = bool(row["low"] > 0 or row["high"] < 0)
    row["same_sign"] = bool(row["s"] * row["predicted_s"] > 0)
    return row


def requests_table(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return one row per request, with its measured and predicted latency in seconds."""
    frames = [
        pd.DataFrame(
            {
                "load": o.load,
                "seed": o.seed,
                "policy": o.plan.policy,
                "request_id": [request.request_id for request in o.plan.requests],
                "arrival_s": [request.arrival_ns / 1e9 for request in o.plan.requests],
                "latency_s": o.live_ns / 1e9,
                "predicted_latency_s": o.predicted_ns / 1e9,
            }
        )
        for o in outcomes
    ]
    return pd.concat(frames, ignore_index=True)


def verdicts(
    outcomes: Sequence[Outcome], errors: pd.DataFrame, differences: pd.DataFrame
) -> list[str]:
    """Return the conclusions in sentences: decisions, costs, policy differences, machine drift."""
    lines = [
        *_decisions([o for o in outcomes if o.divergence is not None]),
        _prediction_verdict(errors, "busy_", "busy time", BUSY),
        _prediction_verdict(errors, "", "mean latency", LATENCY),
    ]
    if len(differences):
        baseline = differences[differences["policy"] == BASELINE]
        worst = float(baseline["points"].abs().max()) if len(baseline) else math.nan
        if len(baseline):
            within = int((baseline["points"].abs() <= RATIO).sum())
            lines.append(
                f"Ratios to FCFS: {within} of {len(baseline)} are within {RATIO:g} percentage"
                f" points of the measured ones; the largest error is {worst:.1f} points."
            )
        significant = differences[differences["significant"]]
        lines.append(
            f"Order: {len(significant)} of {len(differences)} measured differences between policies"
            " are statistically significant; the simulator has the sign of"
            f" {int(significant['same_sign'].sum())} of these. The other differences cannot confirm"
            " its order."
        )
        lines += draft_verdicts(errors, differences)
    rounds, latency = (
        100 * np.mean([abs(getattr(o, d)) for o in outcomes]) for d in ("drift", "latency_drift")
    )
    lines.append(
        f"Drift: the time of the same calibration rounds changed by {rounds:.1f} % on average"
        f" during a run, which changes predicted mean latency by {latency:.1f} %."
    )
    return lines


def draft_verdicts(errors: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Return for each load and policy, in a sentence, whether the order of its draft policies by
    mean latency comes back.
    """
    orders = errors["policy"].map(lambda spec: split_spec(spec)[0])
    lines = []
    for (load, order), rows in errors.groupby(["load", orders], sort=False):
        names = {spec: split_spec(spec)[1] or RECORDED for spec in rows["policy"]}
        if len(names) == 1:
            continue
        measured, predicted = (
            [names[spec] for spec in rows.sort_values(name)["policy"]]
            for name in ("mean_s", "predicted_mean_s")
        )
        also = "the same" if measured == predicted else ", ".join(predicted)
        pairs = differences[
            (differences["load"] == load)
            & differences["policy"].isin(list(names))
            & differences["other"].isin(list(names))
        ]
        significant = pairs[pairs["significant"]]
        lines.append(
            f"Draft policies of {order} at load {load:g}, the best first: measured"
            f" {', '.join(measured)}; predicted {also}. {len(significant)} of {len(pairs)}"
            " differences between them are statistically significant; the simulator has the"
            f" sign of {int(significant['same_sign'].sum())} of these, and of"
            f" {int(pairs['same_sign'].sum())} of all {len(pairs)}."
        )
    return lines


def _decisions(outcomes: Sequence[Outcome]) -> list[str]:
    if not outcomes:
        return []
    exact = [o for o in outcomes if not o.divergence]
    line = (
        f"Decisions: given the measured durations, the simulator reproduces {len(exact)} of"
        f" {len(outcomes)} live runs exactly."
    )
    first = next((o for o in outcomes if o.divergence), None)
    return [
        (
            line
            if first is None
            else f"{line} The first difference ({first.plan.policy}): {first.divergence}."
        )
    ]


def _prediction_verdict(errors: pd.DataFrame, kind: str, what: str, most: float) -> str:
    """Return the number of acceptable errors, and of others below the drift, in a sentence."""
    size = errors[f"{kind}error"].abs()
    within, unsure = size <= most, (size > most) & (errors[f"{kind}drift"] > size)
    line = (
        f"Costs: simulated {what} is within {most:g} % of the measured one in {int(within.sum())}"
        f" of {len(errors)} rows; the largest error is {float(size.max()):.1f} %."
    )
    if unsure.any():
        line += (
            f" In {int(unsure.sum())} of the other rows the drift of the machine exceeds the error,"
            " so that the error may be drift."
        )
    return line
