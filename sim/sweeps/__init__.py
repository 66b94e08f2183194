"""Sweeps: run every combination of parameters, on one machine or many, into a folder of Parquet
files.
"""

from lapsd.sim.sweeps.best import Verdict, best
from lapsd.sim.sweeps.execution import resume, sweep
from lapsd.sim.sweeps.folders import read as read_sweep
from lapsd.sim.sweeps.grid import Sweep

__all__ = ["Sweep", "Verdict", "best", "read_sweep", "resume", "sweep"]
