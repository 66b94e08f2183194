"""Strategies for servers with little memory, with every memory manager."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from lapsd import Capacity
from lapsd.sim.engine.memory import EVICTIONS, MANAGERS, Offload
from lapsd.sim.engine.prefill import PREFILLS
from lapsd.traces import Workload

Limits = st.SearchStrategy[dict[str, Any]]

# `auto` is slots, or tokens if `kv_tokens` is given
EVERY = ("auto", *(name for name in MANAGERS if name not in ("slots", "tokens")))
# managers with asynchronous KV transfers, which overlap with rounds
OFFLOADING = tuple(name for name in EVERY[1:] if issubclass(MANAGERS[name], Offload))
# managers with KV transfers between rounds only
SYNCHRONOUS = tuple(name for name in EVERY if name not in OFFLOADING)


@st.composite
def capacities(
    draw: st.DrawFn,
    work: Workload,
    managers: Sequence[str] = EVERY,
    prefills: Sequence[str] = tuple(PREFILLS),
    longest_draft: int | None = None,
) -> Capacity:
    """Servers with one of the memory managers and, if memory is limited, with little of it.

    The largest request fits, and little more. With asynchronous KV transfers memory sometimes
    suffices for two or three requests, so that the manager has a choice. `longest_draft` is that
    of a draft policy; None: as recorded.
    """
    manager, trace = draw(st.sampled_from(managers)), work.priced.trace
    longest = int((trace.prompt_tokens + trace.output_tokens).max())
    how = {
        "prefill": draw(st.sampled_from(prefills)),
        "token_budget": draw(st.sampled_from([7, 16, 40])),
    }
    drafted = int(trace.drafted.max()) if longest_draft is None else longest_draft
    tokens = longest + drafted + 1 + draw(st.integers(0, 60))
    if manager in OFFLOADING:
        tokens += longest * draw(st.sampled_from([0, 0, 1, 2]))
    else:
        how["evict"] = draw(st.sampled_from(sorted(EVICTIONS)))
    batch = draw(st.sampled_from([1, 1, 2, 3]))
    return Capacity(batch, **draw(TIGHT[manager](batch, longest, tokens)), **how)


def _auto(batch: int, longest: int, tokens: int) -> Limits:
    slots = st.sampled_from([batch, batch + 1, "unlimited"])
    return st.fixed_dictionaries({"kv_slots": slots, "kv_tokens": st.sampled_from([None, tokens])})


def _reserve(batch: int, longest: int, tokens: int) -> Limits:
    return _managed(
        "reserve", {"output": ["max", "pow2", "oracle"], "context": [longest]}, kv_tokens=tokens
    )


def _paged(batch: int, longest: int, tokens: int) -> Limits:
    return _in_blocks("paged", tokens, {"park": ["true", "false"]})


def _fastserve(batch: int, longest: int, tokens: int) -> Limits:
    return _in_blocks("fastserve", tokens, {"host": [0, 200]})


def _alise(batch: int, longest: int, tokens: int) -> Limits:
    own = {"int8": ["none", "moved", "all"], "overlap": ["true", "false"], "quantise_ns": [0, 1, 9]}
    marks = [
        {"low": [low], "high": [high]}
        for low, high in ((0.9, 0.95), (0.0, 1.0), (0.3, 0.6), (1.0, 1.0))
    ]
    return st.one_of([_in_blocks("alise", tokens, mark | own) for mark in marks])


def _in_blocks(name: str, tokens: int, parameters: Mapping[str, Sequence[Any]]) -> Limits:
    sizes = [{"block": [block], "blocks": [-(-tokens // block)]} for block in (1, 4, 16)]
    return st.one_of([_managed(name, size | parameters) for size in sizes])


def _managed(name: str, parameters: Mapping[str, Sequence[Any]], **limits: int) -> Limits:
    """Specs `name:parameter=value+...`, without a limit on slots."""
    values = [
        st.sampled_from([f"{key}={value}" for value in among]) for key, among in parameters.items()
    ]
    specs = st.tuples(*values).map(lambda given: f"{name}:{'+'.join(given)}")
    return specs.map(lambda spec: {"kv_slots": "unlimited", "manager": spec, **limits})


# by manager: the strategy for memory of `tokens` tokens and requests of at most `longest` tokens
TIGHT: Mapping[str, Callable[[int, int, int], Limits]] = {
    "auto": _auto,
    "reserve": _reserve,
    "paged": _paged,
    "fastserve": _fastserve,
    "alise": _alise,
}
