"""Generated cases in which requests share the blocks of equal leading parts of their prompts."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from lapsd import Capacity
from lapsd.sim.engine.prefill import PREFILLS
from lapsd.traces import Prefixes, Trace, Workload, price
from tests.builders import workloads
from tests.capacities import capacities
from tests.sim.drafting import DRAFTS, positioned
from tests.sim.equivalence import policies


def with_prefixes(trace: Trace, block: int, seed: int, reuse: float = 0.7) -> Trace:
    """Return a trace in which prompts begin as earlier ones do, up to a block drawn at random."""
    rng, lists, fresh = np.random.default_rng(seed), [], 100
    for row, full in enumerate((trace.prompt_tokens // block).tolist()):
        shared = []
        if row and rng.random() < reuse:
            other = lists[rng.integers(row)]
            shared = other[: rng.integers(len(other) + 1)][:full]
        hashes = [*shared, *range(fresh, fresh + full - len(shared))]
        fresh += full
        lists.append(hashes[: len(hashes) - int(rng.random() < 0.2)])
    return replace(trace, prefixes=Prefixes.of(lists, block))


@st.composite
def prefixed(draw: st.DrawFn, work: Workload) -> tuple[Workload, int]:
    """A workload whose prompts share leading blocks, some of whose rows run twice; and the tokens
    of these blocks.
    """
    block = draw(st.sampled_from([1, 2, 4, 8]))
    trace = with_prefixes(work.priced.trace, block, draw(st.integers(0, 99)))
    rows = work.rows.copy()
    if draw(st.booleans()):
        rows = np.sort(rows // 2)
    return replace(work, priced=price(trace, work.priced.profile), rows=rows), block


def with_cache(capacity: Capacity, block: int) -> Capacity:
    """Return a server in blocks that caches prefixes in blocks of `block` tokens."""
    name, _, rest = capacity.manager.partition(":")
    given = dict(part.split("=") for part in rest.split("+"))
    tokens = int(given["block"]) * int(given["blocks"])
    own = min(int(given["block"]), block)
    manager = f"{name}:block={own}+blocks={-(-tokens // own)}"
    return replace(capacity, manager=manager, evict="recompute", prefix_cache=True)


@st.composite
def prefix_cases(draw: st.DrawFn, prefills=tuple(PREFILLS)):
    """A workload with prefixes, a policy, and a server with a prefix cache and little memory."""
    work, block = draw(prefixed(draw(workloads(closed=True))))
    capacity = draw(capacities(work, ("paged",), prefills))
    return work, draw(policies()), with_cache(capacity, block)


@st.composite
def prefix_draft_cases(draw: st.DrawFn):
    """The same with a draft policy."""
    work, block = draw(prefixed(draw(positioned())))
    drafts = draw(DRAFTS[draw(st.sampled_from(tuple(DRAFTS)))])
    policy = replace(draw(policies().filter(lambda p: not p.clairvoyant)), drafts=drafts)
    capacity = draw(capacities(work, ("paged",), longest_draft=drafts.most))
    return work, policy, with_cache(capacity, block)
