"""Memory managers in the compiled loop whose KV transfers stall the batch: `slots`, `tokens`,
`reserve` and `paged`, with the names of the methods of `lapsd.sim.engine.memory`.
"""

from lapsd.sim.engine.compiled.call import compiled
from lapsd.sim.engine.compiled.costs import in_ns, kv_needed, kv_tokens, out_ns, recompute_ns
from lapsd.sim.engine.compiled.flat_server import (
    IN_STEPS,
    NOWHERE,
    PAGED,
    RESERVE,
    RESIDENT,
    SLOTS,
    TOKENS,
    Server,
)
from lapsd.sim.engine.compiled.line import free_blocks, free_owned, lacks, leave_line, take_free
from lapsd.sim.engine.compiled.order import last
from lapsd.sim.engine.compiled.prefixes import drop_for_room, enter_cache, leave_cache


@compiled
def needs(s: Server, i: int) -> int:
    """Return the slots, tokens or blocks that a request needs in its next round."""
    if s.at.manager == SLOTS:
        return 1
    if s.at.manager == RESERVE:
        return s.jobs[i].reserved
    if s.at.manager == TOKENS:
        return kv_needed(s, i)
    held, tokens = s.jobs[i].held, kv_needed(s, i)
    # few rounds need another block, and a division in each was a third of the time of `paged`
    return held if tokens <= held * s.at.block else -(-tokens // s.at.block)


@compiled
def keeps(s: Server, i: int) -> int:
    """Return the slots, tokens or blocks that a waiting resident request occupies."""
    if s.at.manager == SLOTS:
        return 1
    if s.at.manager == RESERVE:
        return s.jobs[i].reserved
    return kv_tokens(s, i) if s.at.manager == TOKENS else s.jobs[i].held


@compiled
def fits(s: Server, needed: int, requests: int) -> bool:
    """Return whether memory has room for what so many requests need."""
    return needed <= s.at.room and requests <= s.at.slots


@compiled
def park(s: Server, i: int) -> None:
    """Note that a resident request waits."""
    s.parked[s.at.parked] = i
    s.jobs[i].parked_at = s.at.parked
    s.at.parked += 1


@compiled
def unpark(s: Server, i: int) -> None:
    """Note that a resident request waits no longer, or is no longer resident."""
    s.at.parked -= 1
    other, k = s.parked[s.at.parked], s.jobs[i].parked_at
    s.parked[k] = other
    s.jobs[other].parked_at = k


@compiled
def make_room(s: Server) -> int:
    """Evict waiting requests until the running requests have room, and bring in the caches that
    running requests lack; return the time that both take.
    """
    start_ns = 0
    if s.at.parked:
        needed = 0
        for k in range(s.at.running):
            needed += needs(s, s.running[k])
        for k in range(s.at.parked):
            needed += keeps(s, s.parked[k])
        evict_all = s.at.manager == PAGED and not s.at.parks
        while s.at.parked and (evict_all or not fits(s, needed, s.at.running + s.at.parked)):
            i = s.parked[last(s, s.parked, s.at.parked)]
            needed -= keeps(s, i)
            start_ns += evict(s, i)
    for k in range(s.at.fresh):
        if s.jobs[s.fresh[k]].place != RESIDENT:
            start_ns += bring_in(s, s.fresh[k])
    if s.at.manager == PAGED:
        take_blocks(s)
    return start_ns


@compiled
def evict(s: Server, i: int) -> int:
    """Take a waiting request's cache out of memory; return the time that this takes."""
    job = s.jobs[i]
    unpark(s, i)
    job.place = NOWHERE
    computed = kv_tokens(s, i) - job.uncomputed_tokens
    ns = 0 if s.at.drops else out_ns(s, computed)
    if s.at.drops:
        job.uncomputed_tokens = max(0, kv_tokens(s, i) - 1)
    if s.at.hashed:
        leave_cache(s, i)
    elif s.at.manager == PAGED:
        give_back_blocks(s, i, (computed - 1) // s.at.block)
    job.switch_ns += ns
    return ns


@compiled
def give_back_blocks(s: Server, i: int, full: int) -> None:
    """Free the blocks of an evicted request, which owns the full ones if it is computed again."""
    job = s.jobs[i]
    if s.at.drops and full >= 1:
        free_blocks(s, job.held - full)
        free_owned(s, i, full)
        job.uncomputed_tokens = lacks(s, i)
    else:
        free_blocks(s, job.held)
    job.held = 0


@compiled
def bring_in(s: Server, i: int) -> int:
    """Give a request a cache, its own or a new one; return the time that this takes."""
    job = s.jobs[i]
    if s.at.hashed:
        enter_cache(s, i)
    job.place = RESIDENT
    if s.at.manager == PAGED:
        job.held = job.owned
        if job.owned:
            leave_line(s, i)
    if not job.started or (s.at.drops and s.at.prefill == IN_STEPS):
        return 0
    if s.at.drops:
        ns = recompute_ns(s, job.uncomputed_tokens)
        job.uncomputed_tokens = 0
    else:
        ns = in_ns(s, kv_tokens(s, i) - job.uncomputed_tokens)
    job.switch_ns += ns
    return ns


@compiled
def take_blocks(s: Server) -> None:
    """Give the running requests the blocks that their next round needs."""
    for k in range(s.at.running):
        i = s.running[k]
        more = needs(s, i) - s.jobs[i].held
        s.jobs[i].held += more
        if s.at.hashed:
            s.at.held += more
        else:
            take_free(s, more)
    if s.at.hashed:
        drop_for_room(s)


@compiled
def release(s: Server, i: int) -> None:
    """Free the memory of a finished request."""
    s.jobs[i].place = NOWHERE
    if s.at.hashed:
        leave_cache(s, i)
    elif s.at.manager == PAGED:
        free_blocks(s, s.jobs[i].held)
        s.jobs[i].held = 0
