"""One experiment: its scenario, prepared scenario, runs, metrics, statistics and comparison."""

from lapsd.sim.experiment.bound import bound_latency_ns
from lapsd.sim.experiment.comparison import Comparison, compare, default_policies
from lapsd.sim.experiment.metrics import METRICS, Metric
from lapsd.sim.experiment.prepared_scenario import PreparedScenario, Split, policy_context
from lapsd.sim.experiment.runs import Runs
from lapsd.sim.experiment.scenario import Scenario
from lapsd.sim.experiment.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    ratio_of_means,
)

__all__ = [
    "METRICS",
    "Comparison",
    "Interval",
    "Metric",
    "PreparedScenario",
    "Runs",
    "Scenario",
    "Split",
    "bound_latency_ns",
    "compare",
    "default_policies",
    "mean_interval",
    "paired_difference",
    "policy_context",
    "ratio_of_means",
]
