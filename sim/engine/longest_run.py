"""A bound of all times of a run, in exact integers, before the run.

The compiled loop adds up times in 64 bits. Both programs refuse a run whose times may exceed
`MOST_NS`, with the same message.
"""

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from lapsd.policies import Policy
from lapsd.policies.base import Lengths
from lapsd.policies.calls import largest_of, name_of
from lapsd.policies.drafts import DraftPolicy
from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.memory import Memory
from lapsd.sim.engine.memory.offload import Offload
from lapsd.traces import PricedTrace, Workload, ragged_round
from lapsd.traces.bounds import MOST_NS, check_ns, most_at_width, most_of_prefill


class Longest(NamedTuple):
    """The longest parts of a run on a priced trace.

    Attributes
    ----------
    lengths : Lengths
        The longest prompt and output of the trace, and the most rounds.
    tokens : int
        Tokens of the longest request, drafts included.
    prefill_ns, step_ns : int
        Prefill of a request, and a round or step of a batch.
    steps : int
        Steps that the prefill of one request takes.
    """

    lengths: Lengths
    tokens: int
    prefill_ns: int
    step_ns: int
    steps: int


class Size(NamedTuple):
    """The size of a run: requests, rounds, last arrival, and think times one after the other."""

    requests: int
    rounds: int
    arrival_ns: int
    think_ns: int

    @classmethod
    def of(cls, workload: Workload) -> "Size":
        """Return the size of a run of a workload."""
        requests, offsets = len(workload), workload.priced.trace.offsets
        rounds = int((offsets[workload.rows + 1] - offsets[workload.rows]).sum())
        thinks = max(0, requests - (workload.clients or requests))
        return cls(requests, rounds, int(workload.arrival_ns[-1]), thinks * workload.think_ns)


_LONGEST: WeakKeyDictionary[PricedTrace, dict[tuple[Capacity, int | None], Longest]] = (
    WeakKeyDictionary()
)


def refuse_long_runs(
    workloads: Sequence[Workload],
    capacity: Capacity,
    memory: Memory,
    drafts: DraftPolicy | None = None,
) -> None:
    """Raise `ValueError`, with the bound of the times of a run, if it exceeds `MOST_NS`.

    Parameters
    ----------
    workloads : workloads of one priced trace.
    drafts : the draft policy; None: drafts are as recorded.
    """
    longest = longest_of(workloads[0].priced, capacity, None if drafts is None else drafts.most)
    requests = max(map(len, workloads))
    largest = Size(
        requests,
        requests * longest.lengths.rounds,
        max(int(w.arrival_ns[-1]) for w in workloads),
        requests * max(w.think_ns for w in workloads),
    )
    if sum(_parts(largest, longest, memory).values()) <= MOST_NS:
        return
    for workload in workloads:
        size = Size.of(workload)
        if drafts is not None:
            size = size._replace(rounds=size.requests * longest.lengths.rounds)
        parts = _parts(size, longest, memory)
        most = max(parts, key=parts.__getitem__)
        check_ns(
            sum(parts.values()), f"a run of {len(workload)} requests, most of it due to {most}"
        )


def refuse_large_estimates(
    policies: Sequence[Policy], workloads: Sequence[Workload], capacity: Capacity
) -> None:
    """Raise `ValueError`, naming the policy, if a time that it estimates may exceed `MOST_NS`.

    Parameters
    ----------
    policies : policies as `bind` returned them.
    """
    estimating = [p for p in policies if type(p).largest_ns is not Policy.largest_ns]
    if not estimating:
        return
    lengths = longest_of(workloads[0].priced, capacity).lengths
    predicted = int(np.concatenate([w.predicted_tokens for w in workloads]).max())
    for policy in {id(p): p for p in estimating}.values():
        ns = largest_of(policy, lengths._replace(predicted_tokens=predicted))
        check_ns(ns, f"policy {name_of(policy)}, estimates for {predicted} predicted tokens")


def _parts(size: Size, longest: Longest, memory: Memory) -> dict[str, int]:
    """Return bounds of the parts of the time of a run.

    Each step runs a round of a request or gives it a part of its prompt. A request that comes back
    to memory runs a round, so that there are at most as many transfers as rounds.
    """
    back = size.rounds + size.requests
    prefills = back if memory.limited and memory.eviction.drops else size.requests
    return {
        "arrivals": size.arrival_ns,
        "think times": size.think_ns,
        "prefills": prefills * (longest.prefill_ns + longest.steps * longest.step_ns),
        "rounds": size.rounds * longest.step_ns,
        "KV transfers": back * _transfer_ns(size, longest, memory),
    }


def _transfer_ns(size: Size, longest: Longest, memory: Memory) -> int:
    """Return a bound of the time that a round waits for KV transfers."""
    if not memory.limited or memory.eviction.drops:
        return 0
    if not isinstance(memory, Offload):
        return memory.eviction.out_ns(longest.tokens) + memory.eviction.back_ns(longest.tokens)
    # all caches that are on their way, and as many again that hold their blocks
    caches = min(size.requests, memory.blocks)
    tokens = min(memory.blocks * memory.block, size.requests * longest.tokens)
    each = [memory.transfer_ns(way, 0) for way in ("swap out", "swap in")]
    all_ns = [memory.transfer_ns(way, 2 * tokens) for way in ("swap out", "swap in")]
    return 2 * caches * sum(each) + sum(all_ns)


def longest_of(priced: PricedTrace, capacity: Capacity, most: int | None = None) -> Longest:
    """Return the longest parts of a run; made once for each priced trace and capacity.

    Parameters
    ----------
    most : the longest draft that a draft policy may choose; None: drafts are as recorded.

    Raises
    ------
    ValueError
        If one of them exceeds `MOST_NS`, or the profile does not cover the batch.
    """
    made = _LONGEST.setdefault(priced, {})
    if (capacity, most) not in made:
        made[capacity, most] = _longest(priced, capacity, most)
    return made[capacity, most]


def _longest(priced: PricedTrace, capacity: Capacity, most: int | None) -> Longest:
    trace, costs, batch = priced.trace, priced.profile.costs, capacity.batch
    prompt, output, drafted = (
        int(column.max()) for column in (trace.prompt_tokens, trace.output_tokens, trace.drafted)
    )
    drafted = drafted if most is None else most
    tokens = prompt + output + drafted + 1
    # under a draft policy a round emits at least one token
    lengths = Lengths(prompt, output, 0, int(trace.rounds.max()) if most is None else output)
    round_ns = _round_ns(priced, capacity, batch * tokens, most)
    prompts = 1 if capacity.prefill == "alone" else batch
    # a dropped cache is computed again with its output
    prefilled = tokens if capacity.evict == "recompute" else prompt
    prefill_ns = most_of_prefill(costs.prefill, prompts, prefilled)
    if not capacity.in_steps:
        return Longest(lengths, tokens, prefill_ns, round_ns, 0)
    steps = 1 if capacity.budget is None else prefilled // capacity.budget + 1
    step_ns = round_ns + prefill_ns
    if costs.steps:
        step_ns = max(round_ns, _step_ns(priced, capacity, batch * tokens, drafted))
    return Longest(lengths, tokens, 0, step_ns, steps)


def _round_ns(priced: PricedTrace, capacity: Capacity, contexts: int, most: int | None) -> int:
    """Return a bound of the cost of a round of up to a batch of requests.

    Between two measured batch sizes costs are linear.
    """
    batch, rounds = capacity.batch, priced.profile.costs.rounds
    priced.profile.round_cost(batch)  # refuses a batch that is not covered
    if most is not None:
        sizes, switch_ns = capacity.drafting.graph_sizes, capacity.drafting.switch_ns
        ragged = [ragged_round(priced.profile.costs, b, most, sizes) for b in range(1, batch + 1)]
        return switch_ns + max(r.most_ns(most, contexts) for r in ragged)
    largest = min(size for size in rounds if size >= batch)
    drafted = np.unique(priced.trace.drafted).tolist()
    return max(
        terms.base_ns(n) + terms.per_token_ns(n) * contexts
        for size, terms in rounds.items()
        if size <= largest
        for n in drafted
    )


def _step_ns(priced: PricedTrace, capacity: Capacity, contexts: int, drafted: int) -> int:
    """Return a bound of the cost of a step with prompts, where such steps were timed."""
    priced.profile.step_cost(capacity.batch)
    steps = priced.profile.costs.steps
    tokens = contexts if capacity.budget is None else min(contexts, capacity.budget)
    step_ns = max(
        most_at_width(terms.base_ns, tokens)
        + most_at_width(terms.per_context_ns, tokens) * contexts
        + max(1, drafted) * terms.draft_step(contexts)
        for terms in steps.values()
    )
    check_ns(step_ns * max(steps), f"a step of {capacity.batch} requests, interpolated")
    return step_ns
