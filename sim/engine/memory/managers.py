"""Memory managers by name: `paged:block=32+park=true` as text becomes the manager of a server."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from lapsd.policies.text_values import value_from_text
from lapsd.sim.engine.memory.alise import AliseMemory
from lapsd.sim.engine.memory.base import MOST_UNITS, Limits, Memory
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.memory.fastserve import FastServeMemory
from lapsd.sim.engine.memory.paged import Paged
from lapsd.sim.engine.memory.reserve import Reserve
from lapsd.sim.engine.memory.slots import Slots
from lapsd.sim.engine.memory.tokens import Tokens

MANAGERS: Mapping[str, type[Memory]] = {
    m.name: m for m in (Slots, Tokens, Reserve, Paged, FastServeMemory, AliseMemory)
}
"""The class of each memory manager by the name that users type: mapping of str to type.

Examples
--------
>>> from lapsd.sim.engine.memory import MANAGERS
>>> list(MANAGERS)
['slots', 'tokens', 'reserve', 'paged', 'fastserve', 'alise']
"""


def parse_memory(spec: str, eviction: Eviction, limits: Limits) -> Memory:
    """A manager from `name` or `name:parameter=value+...`, empty.

    Parameters
    ----------
    spec : str
        Name and parameters, as in `paged:block=16+park=true`.
    eviction : Eviction
        How caches are evicted.
    limits : Limits
        Batch size and memory of the server.

    Raises
    ------
    ValueError
        For an unknown name or parameter (listing the known ones), a parameter that is given
        twice, or a value out of bounds.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory(
    ...     "paged:block=16", swap, lapsd.Capacity(batch=4, kv_tokens=1600)
    ... )
    >>> type(memory).__name__, memory.limited
    ('Paged', True)
    >>> parse_memory("page", swap, lapsd.Capacity(batch=4, kv_tokens=1600))
    Traceback (most recent call last):
        ...
    ValueError: memory 'page': must be slots, tokens, reserve, paged, fastserve, alise
    """
    name, colon, rest = spec.partition(":")
    if name not in MANAGERS:
        raise ValueError(f"memory {name!r}: must be {', '.join(MANAGERS)}")
    known = parameters_of(MANAGERS[name])
    values: dict[str, Any] = {}
    for part in rest.split("+") if colon else ():
        key, _, text = part.partition("=")
        if key in values:
            raise ValueError(f"memory {name}: {key} is given twice")
        if key not in known:
            its = f"its parameters are {', '.join(known)}" if known else "it has none"
            raise ValueError(f"memory {name} has no parameter {key!r}: {its}")
        place = f"memory {name}: {key} {text!r}"
        value = values[key] = value_from_text(text, type(known[key].default), place)
        if type(value) is int and value > MOST_UNITS:
            raise ValueError(f"{place}: must be at most {MOST_UNITS}")
    return MANAGERS[name].of(eviction, limits, **values)


@cache
def parameters_of(manager: type[Memory]) -> Mapping[str, inspect.Parameter]:
    """What a user may set of a manager, by name: the keywords of its `of`, each with its
    default.
    """
    return {
        name: p
        for name, p in inspect.signature(manager.of).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }
