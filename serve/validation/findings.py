"""What live runs say of the simulator: errors with intervals, orders, and differences of policies
side by side.

The unit is the seed, as everywhere (`lapsd.sim.experiment.statistics`); percentiles are of
latencies pooled over seeds. Beside each error stands how much the machine itself drifted: how far
apart the same rounds were before and after a run, or in its first and its second half.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import pandas as pd

from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.serve.validation.blocks import Block
from lapsd.serve.validation.costs import Slowness, at_level_of, profile_of
from lapsd.serve.validation.decisions import Divergence, replay
from lapsd.serve.validation.simulated import Order, foretell, live_order
from lapsd.sim.experiment import paired_difference, ratio_of_means
from lapsd.sim.experiment.statistics import Interval
from lapsd.traces import Profile, Provenance

BUSY, LATENCY, RATIO = 2.0, 5.0, 3.0  # percent, percent, points: what is asked of the simulator
BASELINE = "fcfs"


@dataclass(frozen=True, eq=False)
class Outcome:
    """A live run beside what the simulator said of it.

    Attributes
    ----------
    live_ns, predicted_ns : int64 arrays (N,)
        Latencies by request.
    busy_ns, predicted_busy_ns : int
    same_order : float
        The share of rounds that ran in the same order.
    drift, latency_drift : float How much longer calibration rounds took after the run than before
        it, or in its second half than in its first, and how much longer the mean latency is that
        the simulator foretells from those; relative.
    divergence : str or None The first decision that the simulator, fed with the run's own
        durations, takes differently; "": none; None: it was not, since the engine's order of things
        at an instant is its own.
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
        """Spearman's, of latencies; NaN where there is one request, or all are equal."""
        live, foretold = (pd.Series(ns).rank() for ns in (self.live_ns, self.predicted_ns))
        return float(live.corr(foretold))


def outcomes(blocks: Sequence[Block], given: Profile | None = None) -> list[Outcome]:
    """Of every run of a validation that was served to its end.

    Parameters
    ----------
    given : costs to foretell from; None: those of all calibration rounds, at the level of each
    run's own.
    """
    parts = [
        part for block in blocks for i in range(len(block.records)) for part in block.interleaved(i)
    ]
    records = [record for part in parts for record in part]
    if not records:
        return []
    shape = _costs_of(records)
    return [outcome for block in blocks for outcome in outcomes_of(block, shape, given)]


def outcomes_of(block: Block, shape: Profile, given: Profile | None = None) -> list[Outcome]:
    """Of every run of a block that was served to its end.

    Parameters
    ----------
    shape : costs that are right but for their level, which the calibration rounds within each run
        tell, or those on both sides of it.
    given : costs to foretell from instead.
    """
    outcomes = []
    for i, (plan, record) in enumerate(zip(block.plans, block.records, strict=True)):
        interleaved = [c for c in block.interleaved(i) if c]
        if not record.complete or not interleaved:
            continue
        run, order = foretell(plan, record, *_costs_beside(record, interleaved, shape, given))
        sides = [
            foretell(plan, record, at_level_of(shape, part))[0].latency_ns.mean()
            for part in interleaved
        ]
        live = np.array([served.latency_ns for served in record.by_index.values()], dtype=np.int64)
        spent = [
            float(np.mean([step.end_ns - step.start_ns for r in c for step in r.steps]))
            for c in interleaved
        ]
        outcomes.append(
            Outcome(
                block.load,
                block.seed,
                plan,
                live,
                run.latency_ns,
                record.busy_ns,
                run.end_ns - run.idle_ns,
                same_order(live_order(record), order),
                spent[-1] / spent[0] - 1,
                sides[-1] / sides[0] - 1,
                _divergence(plan, record),
            )
        )
    return outcomes


def _costs_beside(
    record: Record, interleaved: Sequence[Sequence[Record]], shape: Profile, given: Profile | None
) -> tuple[Profile, Slowness | None]:
    """Costs at the level of a run's calibration, and, where its rounds ran within the run, how that
    changed.
    """
    if given is not None:
        return given, None
    level = at_level_of(shape, [one for part in interleaved for one in part])
    return level, Slowness(level, record.interleaved) if record.interleaved else None


def _costs_of(records: Sequence[Record]) -> Profile:
    return profile_of(records, Provenance(), "unknown")


def same_order(live: Order, foretold: Order) -> float:
    """The share of rounds that lie in stretches which both have, in the same order."""
    blocks = SequenceMatcher(None, live, foretold, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(len(live), 1)


def _divergence(plan: Plan, record: Record) -> str | None:
    if record.engine != "own":
        return None
    try:
        replay(plan, record)
    except Divergence as error:
        return str(error)
    return ""


def _exact(runs: Sequence[Outcome]) -> int | None:
    """How many came back exactly; None where none was replayed."""
    replayed = [o.divergence for o in runs if o.divergence is not None]
    return replayed.count("") if replayed else None


def _grouped(outcomes: Iterable[Outcome]) -> dict[tuple[float, str], list[Outcome]]:
    """By load and policy, seeds in order."""
    groups: dict[tuple[float, str], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda o: o.seed):
        groups.setdefault((outcome.load, outcome.plan.policy), []).append(outcome)
    return groups


def _percent(interval: Interval) -> dict[str, float]:
    """A ratio as an error in percent, with its interval."""
    names = ("error", "error_low", "error_high")
    return {name: 100 * (value - 1) for name, value in zip(names, interval, strict=True)}


def errors_table(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """A row a load and policy: latencies real and foretold, in seconds, and errors in percent.

    `error` is of mean latency, `busy_error` of busy time, the ratio of means over seeds less 1,
    with its interval; `busy_drift` is the mean of what the same rounds changed by, whichever way,
    from before a run to after it, and `drift` what that comes to in mean latency, both in percent.
    """
    rows = []
    for (load, policy), runs in _grouped(outcomes).items():
        live, foretold = (
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
                f"predicted_{name}_s": float(statistic(foretold)),
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
    """A row a load and pair of policies: what the second adds to the first's mean latency, in
    seconds and in percent.

    Real and foretold, paired over the seeds that both were served, with intervals. `significant`
    says whether reality tells the two apart: its interval leaves out 0. `points` is how far the two
    percentages are apart.
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
    """A row a request: load, seed, policy, request, and its latency real and foretold, in
    seconds.
    """
    frames = [
        pd.DataFrame(
            {
                "load": o.load,
                "seed": o.seed,
                "policy": o.plan.policy,
                "request_id": [planned.request_id for planned in o.plan.requests],
                "arrival_s": [planned.arrival_ns / 1e9 for planned in o.plan.requests],
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
    """What the tables come to, in sentences: decisions, costs, order; and whether the machine can
    tell.
    """
    lines = [
        *_decisions([o for o in outcomes if o.divergence is not None]),
        _foretold(errors, "busy_", "busy time", BUSY),
        _foretold(errors, "", "mean latency", LATENCY),
    ]
    if len(differences):
        baseline = differences[differences["policy"] == BASELINE]
        worst = float(baseline["points"].abs().max()) if len(baseline) else math.nan
        if len(baseline):
            within = int((baseline["points"].abs() <= RATIO).sum())
            lines.append(
                f"Ratios to FCFS: {within} of {len(baseline)} within {RATIO:g} points, the worst"
                f" {worst:.1f} off."
            )
        significant = differences[differences["significant"]]
        lines.append(
            f"Order: of {len(differences)} pairs of policies reality tells {len(significant)}"
            f" apart; the simulator has {int(significant['same_sign'].sum())} of them the same way"
            " round."
        )
    rounds, latency = (
        100 * np.mean([abs(getattr(o, d)) for o in outcomes]) for d in ("drift", "latency_drift")
    )
    lines.append(
        f"Drift: the same rounds, early and late, were {rounds:.1f} % apart on average, which comes"
        f" to {latency:.1f} % of mean latency."
    )
    return lines


def _decisions(outcomes: Sequence[Outcome]) -> list[str]:
    if not outcomes:
        return []
    exact = [o for o in outcomes if not o.divergence]
    line = (
        f"Decisions: fed with their own durations, {len(exact)} of {len(outcomes)} live runs come"
        " back exactly."
    )
    first = next((o for o in outcomes if o.divergence), None)
    return [
        (
            line
            if first is None
            else f"{line} The first that does not ({first.plan.policy}): {first.divergence}."
        )
    ]


def _foretold(errors: pd.DataFrame, kind: str, what: str, most: float) -> str:
    """How many rows are within what is asked, and in how many others the machine's drift exceeds
    the error.
    """
    size = errors[f"{kind}error"].abs()
    within, unsure = size <= most, (size > most) & (errors[f"{kind}drift"] > size)
    line = (
        f"Costs: {what} is foretold within {most:g} % in {int(within.sum())} of {len(errors)} rows"
    )
    line += f", the worst {float(size.max()):.1f} % off."
    if unsure.any():
        line += (
            f" In {int(unsure.sum())} of the others the machine's own drift is larger than the"
            " error: it cannot tell."
        )
    return line
