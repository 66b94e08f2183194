"""Sweeps: every combination of parameters, on one machine or many, into a folder of Parquet parts."""

from sim.sweep.best import Verdict, best
from sim.sweep.grid import Setting, Sweep
from sim.sweep.parts import read as read_sweep
from sim.sweep.run import resume, sweep

__all__ = ["Setting", "Sweep", "Verdict", "best", "read_sweep", "resume", "sweep"]
