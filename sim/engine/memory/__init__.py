"""KV memory: the protocol, and one manager a module."""

from sim.engine.memory.base import Memory, Move, Order
from sim.engine.memory.eviction import EVICTIONS, Eviction
from sim.engine.memory.slots import Slots
from sim.engine.memory.tokens import Tokens

__all__ = ["EVICTIONS", "Eviction", "Memory", "Move", "Order", "Slots", "Tokens"]
