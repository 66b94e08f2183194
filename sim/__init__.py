"""The simulator: serve recorded requests under scheduling policies, and compare what it costs them."""

from sim.engine import Capacity, Run, Timeline, simulate
from sim.experiment import (
    METRICS,
    Comparison,
    Interval,
    Metric,
    Setting,
    Stage,
    bound_latency_ns,
    compare,
    default_policies,
    mean_interval,
    outlook_of,
    paired_difference,
    ratio_of_means,
)
from sim.experiment.run import run
from sim.sweeps import best, resume, sweep
from sim.sweeps.summary import plot_heat_map, plot_sweep

__all__ = [
    "METRICS",
    "Capacity",
    "Comparison",
    "Interval",
    "Metric",
    "Run",
    "Setting",
    "Stage",
    "Timeline",
    "best",
    "bound_latency_ns",
    "compare",
    "default_policies",
    "mean_interval",
    "outlook_of",
    "paired_difference",
    "plot_heat_map",
    "plot_sweep",
    "ratio_of_means",
    "resume",
    "run",
    "simulate",
    "sweep",
]
