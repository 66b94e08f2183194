"""KV memory: the protocol, and one module for each manager."""

from lapsd.sim.engine.memory.alise import AliseMemory
from lapsd.sim.engine.memory.base import Estimate, Limits, Memory, Order, Transfer
from lapsd.sim.engine.memory.eviction import EVICTIONS, Eviction, recompute_in_steps
from lapsd.sim.engine.memory.fastserve import FastServeMemory
from lapsd.sim.engine.memory.managers import MANAGERS, parse_memory
from lapsd.sim.engine.memory.offload import Offload
from lapsd.sim.engine.memory.paged import Blocks, Paged, PagedPrefixes
from lapsd.sim.engine.memory.reserve import Reserve
from lapsd.sim.engine.memory.room import Room
from lapsd.sim.engine.memory.slots import Slots
from lapsd.sim.engine.memory.tokens import Tokens

__all__ = [
    "EVICTIONS",
    "MANAGERS",
    "AliseMemory",
    "Blocks",
    "Estimate",
    "Eviction",
    "FastServeMemory",
    "Limits",
    "Memory",
    "Offload",
    "Order",
    "Paged",
    "PagedPrefixes",
    "Reserve",
    "Room",
    "Slots",
    "Tokens",
    "Transfer",
    "parse_memory",
    "recompute_in_steps",
]
