"""The simulator: serve recorded requests under scheduling policies, and compare what it costs them."""

from sim.bound import bound_latency_ns
from sim.comparison import Comparison, Settings, compare, default_policies
from sim.engine import Capacity, Run, Timeline, simulate
from sim.prepared import outlook_of
from sim.statistics import Interval, mean_interval, paired_difference, ratio_of_means
from sim.sweeps import best, resume, sweep
from sim.sweeps.summary import plot_heat_map, plot_sweep

__all__ = [
    "Capacity",
    "Comparison",
    "Interval",
    "Run",
    "Settings",
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
    "simulate",
    "sweep",
]
