"""Sweeps: every combination of parameters, on one machine or many, into a folder of Parquet parts."""

from sim.sweeps.best import Verdict, best
from sim.sweeps.folders import read as read_sweep
from sim.sweeps.grid import Sweep
from sim.sweeps.run import resume, sweep

__all__ = ["Sweep", "Verdict", "best", "read_sweep", "resume", "sweep"]
