"""Arrays of the compiled loop: the requests of a workload, the recorded rounds, the costs.

Knows nothing of policies.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.compiled import flat_server as flat
from lapsd.sim.engine.compiled.draft_policy import BoundDrafts
from lapsd.sim.engine.compiled.job import JOB
from lapsd.sim.engine.drafting import positions_of
from lapsd.sim.engine.memory import (
    AliseMemory,
    Blocks,
    FastServeMemory,
    Memory,
    Paged,
    PagedPrefixes,
    Reserve,
    Slots,
    Tokens,
)
from lapsd.sim.engine.memory.reserve import OUTPUTS
from lapsd.sim.engine.recorded import recorded_rows
from lapsd.traces import Costs, Linear, PricedTrace, Workload
from lapsd.traces.costs import Piecewise, Quadratic
from lapsd.traces.prefixes import dense

PREFILLS = {
    "alone": flat.ALONE,
    "batched": flat.BATCHED,
    "mixed": flat.IN_STEPS,
    "chunked": flat.IN_STEPS,
}
NOTHING = Linear(0, 0)
Ints = NDArray[np.int64]
Table = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
INT8 = {"none": flat.NOT_QUANTISED, "moved": flat.MOVED_QUANTISED, "all": flat.ALL_QUANTISED}


class Rounds(NamedTuple):
    """The recorded rounds of a trace.

    Attributes
    ----------
    rounds : int64 (rounds of all rows,)
        Drafted and accepted tokens, as `flat_server.DRAFTED` says.
    longest_draft : int64 (rows,)
        Draft tokens of each row's longest draft.
    rates : float64 (rounds of all rows + rows,)
        Accepted over drafted tokens after 0, 1, ... committed rounds of a row, row after row.
    """

    rounds: NDArray[np.int64]
    longest_draft: NDArray[np.int64]
    rates: NDArray[np.float64]


_ROUNDS: WeakKeyDictionary[PricedTrace, Rounds] = WeakKeyDictionary()
_COSTS: WeakKeyDictionary[PricedTrace, dict[int, tuple[NDArray[np.int64], ...]]] = (
    WeakKeyDictionary()
)


def rounds_of(priced: PricedTrace) -> Rounds:
    """Return the recorded rounds of a priced trace; made once for each."""
    if priced not in _ROUNDS:
        trace = priced.trace
        drafted, accepted = (c.astype(np.int64) for c in (trace.drafted, trace.accepted))
        longest = np.maximum.reduceat(drafted, trace.offsets[:-1])
        rates = _rates(drafted, accepted, trace.offsets)
        _ROUNDS[priced] = Rounds(drafted << flat.DRAFTED | accepted, longest, rates)
    return _ROUNDS[priced]


def _rates(
    drafted: NDArray[np.int64], accepted: NDArray[np.int64], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return `Rounds.rates`."""
    rows = len(offsets) - 1
    # the entry before a row's first round is its 0
    at = np.arange(len(drafted)) + np.repeat(np.arange(rows), np.diff(offsets)) + 1
    rates = np.zeros(len(drafted) + rows)
    proposed, taken = (
        np.cumsum(c) - np.repeat((np.cumsum(c) - c)[offsets[:-1]], np.diff(offsets))
        for c in (drafted, accepted)
    )
    rates[at] = np.divide(taken, proposed, out=np.zeros(len(drafted)), where=proposed > 0)
    return rates


def jobs_of(
    workloads: Sequence[Workload], capacity: Capacity, memory: Memory, longest: Ints
) -> NDArray[Any]:
    """Return the records of the requests of workloads of one priced trace, before their arrival.

    Parameters
    ----------
    longest : draft tokens of the longest draft of each row.
    """
    priced, rows = workloads[0].priced, np.concatenate([w.rows for w in workloads])
    rounds, offsets = rounds_of(priced), priced.trace.offsets
    jobs = np.zeros(len(rows), JOB)
    jobs["index"] = np.concatenate([np.arange(len(w)) for w in workloads])
    jobs["arrival_ns"] = np.concatenate([_known_arrivals_ns(w) for w in workloads])
    jobs["prompt_tokens"] = priced.trace.prompt_tokens[rows]
    jobs["predicted_tokens"] = np.concatenate([w.predicted_tokens for w in workloads])
    jobs["queue"] = 1
    jobs["first_round"] = offsets[rows]
    jobs["output_tokens"] = priced.trace.output_tokens[rows]
    jobs["first_position"] = priced.trace.output_offsets[rows]
    jobs["rates_address"] = rounds.rates.ctypes.data + 8 * (offsets[rows] + rows)
    jobs["prefill_cost_ns"] = priced.prefill_ns[rows]
    jobs["first_service_ns"] = -1
    if capacity.in_steps:
        jobs["uncomputed_tokens"] = np.maximum(0, jobs["prompt_tokens"] - 1)
    if isinstance(memory, PagedPrefixes):
        prefixes = priced.trace.prefixes
        assert prefixes is not None
        most = np.maximum(0, priced.trace.prompt_tokens - 1) // prefixes.block
        jobs["first_hash"] = prefixes.offsets[rows]
        jobs["hashes"] = np.minimum(prefixes.blocks, most)[rows]
    if isinstance(memory, Reserve):
        jobs["reserved"] = _reserved(priced, memory, longest)[rows]
    return jobs


def _known_arrivals_ns(workload: Workload) -> NDArray[np.int64]:
    """Return the arrival of each request; `NEVER` where completions decide it."""
    if workload.clients is None:
        return workload.arrival_ns
    known = np.arange(len(workload)) < workload.clients
    return np.where(known, workload.arrival_ns, flat.NEVER)


def _reserved(priced: PricedTrace, memory: Reserve, longest: Ints) -> Ints:
    """Return the tokens that `reserve` reserves for a request of each row."""
    trace = priced.trace
    lengths = zip(trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), strict=True)
    output = [OUTPUTS[memory.output](tokens, memory.context - prompt) for prompt, tokens in lengths]
    return np.asarray(trace.prompt_tokens + output + longest + 1, dtype=np.int64)


def round_costs(priced: PricedTrace, batch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ns of a round without context and per context token, by number of requests and
    draft tokens; made once for each.
    """
    made = _COSTS.setdefault(priced, {})
    if batch not in made:
        lengths = np.unique(priced.trace.drafted).tolist()
        base, per_token = np.zeros((2, batch + 1, max(lengths) + 1), dtype=np.int64)
        for requests in range(1, batch + 1):
            cost = priced.profile.round_cost(requests)
            for n in lengths:
                base[requests, n] = cost.base_ns(n)
                per_token[requests, n] = cost.per_token_ns(n)
        made[batch] = base.ravel(), per_token.ravel()
    base, per_token = made[batch]
    return base, per_token


def step_tables(priced: PricedTrace, batch: int) -> flat.StepTables:
    """Return the costs of steps with prompts; empty tables if such steps were not timed.

    Raises
    ------
    ValueError
        If the profile does not cover the batch size.
    """
    priced.profile.step_cost(batch)
    steps = priced.profile.costs.steps
    known = sorted(steps)
    sizes = np.zeros((batch + 1, 4), dtype=np.int64)
    for requests in range(1, batch + 1) if known else ():
        low = max(k for k, size in enumerate(known) if size <= requests)
        high = min(k for k, size in enumerate(known) if size >= requests)
        span = max(1, known[high] - known[low])
        sizes[requests] = low, high, requests - known[low], span
    base = _in_a_row([steps[size].base_ns for size in known])
    context = _in_a_row([steps[size].per_context_ns for size in known])
    drafts = [(steps[n].draft_step.base_ns, steps[n].draft_step.per_token_ns) for n in known]
    draft = np.array(drafts, dtype=np.int64).reshape(-1, 2).T.copy()
    return flat.StepTables(sizes.ravel(), base[0], context[0], *base[1:], *context[1:], *draft)


def prefill_table(costs: Costs) -> Table:
    """Return the table of prefills by tokens; an empty one if prefills need none."""
    return _in_a_row([costs.prefill.base_ns if isinstance(costs.prefill, Piecewise) else {}])


_HASHES: WeakKeyDictionary[PricedTrace, Ints] = WeakKeyDictionary()


def prefix_tables(priced: PricedTrace, memory: Memory) -> tuple[Ints, flat.PrefixTables]:
    """Return the hash of each prompt block of a priced trace as a number from 0 on, made once for
    each, and the tables of an empty cache.
    """
    hashes = np.zeros(1, dtype=np.int64)
    if isinstance(memory, PagedPrefixes) and priced.trace.prefixes is not None:
        if priced not in _HASHES:
            _HASHES[priced] = np.append(dense(priced.trace.prefixes.hashes), 0)
        hashes = _HASHES[priced]
    sizes = [int(hashes.max()) + 1] * (len(flat.PrefixTables._fields) - 1) + [1]
    return hashes, flat.PrefixTables(*[np.zeros(size, dtype=np.int64) for size in sizes])


def prefill_fields(costs: Costs) -> dict[str, int]:
    """Return the fields of a server's record that say what a prefill costs."""
    cost = costs.prefill
    if isinstance(cost, Piecewise):
        return {"prefill_in_pieces": 1, "prefill_per_square_ps": cost.per_square_ps}
    assert isinstance(cost, Linear)
    return {
        "prefill_base_ns": cost.base_ns,
        "prefill_per_token_ns": cost.per_token_ns,
        "prefill_per_square_ps": cost.per_square_ps if isinstance(cost, Quadratic) else 0,
    }


def _in_a_row(tables: Sequence[Mapping[int, int]]) -> Table:
    """Return where each table starts and the last one ends, and their keys, ascending, and
    values.
    """
    starts = np.cumsum([0, *map(len, tables)], dtype=np.int64)
    entries = [entry for table in tables for entry in sorted(table.items())]
    keys, values = np.array(entries, dtype=np.int64).reshape(-1, 2).T.copy()
    return starts, keys, values


def workload_fields(workloads: Sequence[Workload]) -> dict[str, list[int]]:
    """Return the fields of the servers' records that follow from the workload of each."""
    return {
        "requests": [len(w) for w in workloads],
        "released": [len(w) if w.clients is None else min(w.clients, len(w)) for w in workloads],
        "think_ns": [w.think_ns for w in workloads],
    }


def capacity_fields(priced: PricedTrace, capacity: Capacity, memory: Memory) -> dict[str, int]:
    """Return the fields of a server's record that say what it can run and hold, and its costs."""
    costs, swaps = priced.profile.costs, memory.limited and not memory.eviction.drops
    out, back = (costs.swap_out, costs.swap_in) if swaps else (NOTHING, NOTHING)
    return {
        "batch": capacity.batch,
        "prefill": PREFILLS[capacity.prefill],
        "budget": flat.NEVER if capacity.budget is None else capacity.budget,
        "limited": memory.limited,
        "drops": memory.eviction.drops,
        **prefill_fields(costs),
        "draft_lengths": rounds_of(priced).longest_draft.max() + 1,
        "timed_steps": bool(costs.steps),
        "first_owner": -1,
        "last_owner": -1,
        "out_base_ns": out.base_ns,
        "out_per_token_ns": out.per_token_ns,
        "in_base_ns": back.base_ns,
        "in_per_token_ns": back.per_token_ns,
        "slots": flat.NEVER,
        **memory_fields(memory, capacity),
    }


MANAGERS = (Slots, Tokens, Reserve, Paged, PagedPrefixes, FastServeMemory, AliseMemory)
"""The memory managers that the loop has."""


def memory_fields(memory: Memory, capacity: Capacity) -> dict[str, int]:
    """Return the parameters of a memory manager."""
    slots = flat.NEVER if capacity.slots is None else capacity.slots
    match memory:
        case Tokens():
            return {"manager": flat.TOKENS, "room": memory.tokens, "slots": slots}
        case Reserve():
            return {"manager": flat.RESERVE, "room": memory.tokens}
        case PagedPrefixes():
            return {
                "manager": flat.PAGED,
                "room": memory.blocks,
                "block": memory.block,
                "hashed": memory.hashed // memory.block,
                "first_unused": -1,
                "last_unused": -1,
            }
        case Paged():
            return {
                "manager": flat.PAGED,
                "room": memory.blocks,
                "block": memory.block,
                "parks": memory.parks,
                "unowned_at_end": memory.blocks,
            }
        case FastServeMemory():
            return {
                "manager": flat.FASTSERVE,
                "room": memory.blocks,
                "block": memory.block,
                "host": memory.host,
            }
        case AliseMemory():
            return {
                "manager": flat.ALISE,
                "room": memory.blocks,
                "block": memory.block,
                "high": memory.high,
                "low": memory.low,
                "int8": INT8[memory.int8],
                "quantise_ns": memory.quantise_ns,
                "overlap": memory.overlap,
            }
    return {"manager": flat.SLOTS, "room": slots}


def refuse(
    workloads: Sequence[Workload],
    capacity: Capacity,
    memory: Memory,
    longest: Ints,
    drafts: BoundDrafts | None,
) -> None:
    """Raise `ValueError`, naming request and bound, if a request or a round can never fit.

    The requests of all workloads are checked at once; only if one is too long, the specification's
    methods find it and say so.
    """
    priced, rows = workloads[0].priced, np.concatenate([w.rows for w in workloads])
    if _too_long(priced, rows, memory, longest) or (
        capacity.budget is not None and longest.max() + 1 > capacity.budget
    ):
        for workload in workloads:
            recorded = recorded_rows(workload)
            if drafts is not None:
                recorded = positions_of(priced, workload.rows.tolist(), drafts.policy)
            memory.refuse(recorded)
            capacity.refuse(recorded)


def _too_long(priced: PricedTrace, rows: Ints, memory: Memory, longest: Ints) -> bool:
    """Return whether a request is too long for the memory."""
    trace = priced.trace
    length = (trace.prompt_tokens + trace.output_tokens)[rows]
    tokens = int((length + longest[rows] + 1).max(initial=0))
    match memory:
        case Reserve():
            reserved = _reserved(priced, memory, longest)[rows].max(initial=0)
            return bool(reserved > memory.tokens or length.max(initial=0) > memory.context)
        case Tokens():
            return tokens > memory.tokens
        case Blocks() | FastServeMemory() | AliseMemory():
            return tokens > memory.blocks * memory.block
    return False
