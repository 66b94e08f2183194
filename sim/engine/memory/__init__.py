"""KV memory: the protocol, and one manager a module."""

from sim.engine.memory.adds_up import AddsUp
from sim.engine.memory.alise import AliseMemory
from sim.engine.memory.base import Estimate, Limits, Memory, Move, Order
from sim.engine.memory.eviction import EVICTIONS, Eviction, recompute_in_steps
from sim.engine.memory.fastserve import FastServeMemory
from sim.engine.memory.managers import MANAGERS, parse_memory
from sim.engine.memory.offload import Offload
from sim.engine.memory.paged import Paged
from sim.engine.memory.reserve import Reserve
from sim.engine.memory.slots import Slots
from sim.engine.memory.tokens import Tokens

__all__ = [
    "EVICTIONS",
    "MANAGERS",
    "AddsUp",
    "AliseMemory",
    "Estimate",
    "Eviction",
    "FastServeMemory",
    "Limits",
    "Memory",
    "Move",
    "Offload",
    "Order",
    "Paged",
    "Reserve",
    "Slots",
    "Tokens",
    "parse_memory",
    "recompute_in_steps",
]
