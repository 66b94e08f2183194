"""Find a server's capacity by bisection: the highest arrival rate at which a constraint on a metric
holds.

Each seed has its own capacity: the same requests arrive with the same gaps, all scaled by one
factor. The result is the mean over seeds with its interval. If the metric does not rise with the
rate in a single run, the bisection finds one of the rates at which it crosses the bound.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lapsd.policies import Policy
from lapsd.policies.text_values import number_from_text
from lapsd.sim.experiment.comparison import MOST_SEEDS
from lapsd.sim.experiment.metrics import Metric, metric_named, recorded
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import Runs, run
from lapsd.sim.experiment.statistics import Interval, mean_interval

DOUBLINGS = 20  # doublings or halvings of the rate before we take it that there is no limit
TOLERANCE = 0.02


@dataclass(frozen=True)
class Constraint:
    """An upper bound on a metric of a run."""

    metric: Metric
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """From `mean_normalized_latency_s<=0.2`.

        Raises
        ------
        ValueError
            If the text is no constraint, or the metric is unknown or not defined for single runs.
        """
        parts = re.fullmatch(r"\s*(\w+)\s*<=?\s*(\S+)\s*", text)
        bound = number_from_text(parts[2], float) if parts else None
        if parts is None or bound is None or not 0 < bound < float("inf"):
            raise ValueError(
                f"constraint {text!r}: needs METRIC<=BOUND, as in mean_normalized_latency_s<=0.2"
            )
        metric = metric_named(parts[1])
        if metric not in recorded():
            raise ValueError(f"constraint {text!r}: {metric.name} is not defined for a single run")
        return cls(metric, bound)

    def __str__(self) -> str:
        return (
            f"{self.metric.name} <="
            f" {self.bound:g}{f' {self.metric.unit}' if self.metric.unit == 's' else ''}"
        )

    def holds(self, prepared: PreparedScenario, policy: Policy, seed: int) -> bool:
        """Return whether the run of a policy on a seed satisfies the constraint."""
        runs = Runs(prepared, [prepared.workload(seed)], [run(prepared, policy, seed)])
        return bool(self.metric.of_runs(runs)[0] <= self.bound)


def at_rate(prepared: PreparedScenario, rate: float) -> PreparedScenario:
    """Return the prepared scenario with another arrival rate, in requests per second."""
    return replace(prepared, scenario=replace(prepared.scenario, rate=rate, load=None), _latest={})


def highest_rate(
    prepared: PreparedScenario,
    policy: Policy,
    constraint: Constraint,
    seed: int,
    tolerance: float = TOLERANCE,
) -> float:
    """Return the highest rate of a seed, in requests per second, to a relative `tolerance`.

    0 if the constraint holds at no rate, infinity if it holds at any. O(log(1 / tolerance)) runs.
    """

    def holds(rate: float) -> bool:
        return constraint.holds(at_rate(prepared, rate), policy, seed)

    low = high = 1e9 / prepared.share_ns  # at a load of 1
    if holds(low):
        for _ in range(DOUBLINGS):
            low, high = high, 2 * high
            if not holds(high):
                break
        else:
            return float("inf")
    else:
        for _ in range(DOUBLINGS):
            low, high = low / 2, low
            if holds(low):
                break
        else:
            return 0.0
    while high > low * (1 + tolerance):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def capacity(
    prepared: PreparedScenario,
    policy: Policy,
    constraint: Constraint,
    seeds: int,
    *,
    tolerance: float = TOLERANCE,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Interval, list[float]]:
    """Return the highest rate as a mean over seeds with its interval, and the rate of each seed.

    Parameters
    ----------
    progress : called after each seed.

    Raises
    ------
    ValueError
        If the number of seeds or the tolerance is out of range, or requests do not arrive at a
        rate.
    """
    check_search(prepared, seeds)
    if not 1e-4 <= tolerance <= 1:
        raise ValueError(f"tolerance={tolerance:g}: must be between 0.0001 and 1")
    rates = []
    for seed in range(seeds):
        rates.append(highest_rate(prepared, policy, constraint, seed, tolerance))
        progress()
    return (
        mean_interval(rates)
        if np.isfinite(rates).all()
        else Interval(float("inf"), *[float("nan")] * 2)
    ), rates


def check_search(prepared: PreparedScenario, seeds: int) -> None:
    """Check what a search for a capacity needs.

    Raises
    ------
    ValueError
        If the number of seeds is out of range, or requests do not arrive at a rate.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise ValueError(f"seeds={seeds}: must be at least 1 and at most {MOST_SEEDS}")
    if prepared.scenario.all_at_once or prepared.scenario.clients is not None:
        raise ValueError(
            "capacity: requests must arrive at a rate, not all at once or in a closed loop"
        )
