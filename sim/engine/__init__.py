"""The engine: one server, as the specification on SimPy's clock and as a compiled loop."""

from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.occupancy import Occupancy
from lapsd.sim.engine.run_record import Run
from lapsd.sim.engine.simulation import ENGINES, SlowEngine, check_engine, simulate, simulate_many
from lapsd.sim.engine.timeline import Span, Timeline

__all__ = [
    "ENGINES",
    "Capacity",
    "Occupancy",
    "Run",
    "SlowEngine",
    "Span",
    "Timeline",
    "check_engine",
    "simulate",
    "simulate_many",
]
