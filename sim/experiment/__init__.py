"""The experiment, spelled once: a setting, what it is run on, one run, what is measured of runs,
and comparisons.
"""

from lapsd.sim.experiment.bound import bound_latency_ns
from lapsd.sim.experiment.comparison import Comparison, compare, default_policies
from lapsd.sim.experiment.metrics import METRICS, Metric
from lapsd.sim.experiment.runs import Runs
from lapsd.sim.experiment.setting import Setting
from lapsd.sim.experiment.stage import Halves, Stage, outlook_of
from lapsd.sim.experiment.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    ratio_of_means,
)

__all__ = [
    "METRICS",
    "Comparison",
    "Halves",
    "Interval",
    "Metric",
    "Runs",
    "Setting",
    "Stage",
    "bound_latency_ns",
    "compare",
    "default_policies",
    "mean_interval",
    "outlook_of",
    "paired_difference",
    "ratio_of_means",
]
