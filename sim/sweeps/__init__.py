"""Sweeps: every combination of parameters, on one machine or many, into a folder of Parquet parts."""

from sim.sweeps.best import Verdict, best
from sim.sweeps.grid import Setting, Sweep
from sim.sweeps.parts import read as read_sweep
from sim.sweeps.run import resume, sweep

__all__ = ["Setting", "Sweep", "Verdict", "best", "read_sweep", "resume", "sweep"]
