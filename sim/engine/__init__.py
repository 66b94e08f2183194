"""The engine: one server on SimPy's clock, round by round or skipping ahead, with the same
result.
"""

from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.occupancy import Occupancy
from lapsd.sim.engine.run_record import Run
from lapsd.sim.engine.simulation import simulate
from lapsd.sim.engine.timeline import Span, Timeline

__all__ = ["Capacity", "Occupancy", "Run", "Span", "Timeline", "simulate"]
