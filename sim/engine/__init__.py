"""The engine: one server on SimPy's clock, round by round or skipping ahead, with the same result."""

from sim.engine.capacity import Capacity
from sim.engine.occupancy import Occupancy
from sim.engine.run import simulate
from sim.engine.run_record import Run
from sim.engine.timeline import Span, Timeline

__all__ = ["Capacity", "Occupancy", "Run", "Span", "Timeline", "simulate"]
