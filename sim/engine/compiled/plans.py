"""Plans of `fastserve` and `alise` in the compiled loop: which caches to swap out and in."""

from lapsd.sim.engine.compiled.call import call, compiled
from lapsd.sim.engine.compiled.flat_server import (
    ALISE,
    NEVER,
    REMAINING_NS,
    RESIDENT,
    SWAPPED_OUT,
    WAKE,
    Server,
)
from lapsd.sim.engine.compiled.memory import needs
from lapsd.sim.engine.compiled.order import fail, job_address
from lapsd.sim.engine.compiled.transfers import evict, fetch, free, is_closed, land, soon_free


@compiled
def plan_transfers(s: Server) -> None:
    """Complete the transfers that have ended, and issue new ones."""
    land(s)
    plan(s)
    if land(s):  # transfers that take no time make room at once
        plan(s)
        land(s)


@compiled
def plan(s: Server) -> None:
    """Issue transfers as the manager does."""
    if s.at.manager == ALISE:
        plan_alise(s)
    else:
        plan_fastserve(s)


@compiled
def plan_fastserve(s: Server) -> None:
    """Swap out the last requests until a batch of blocks is soon free; else swap in the first."""
    evicted, k = False, s.at.ordered
    while soon_free(s) < s.at.batch and s.at.resident > 1 and k > 0:
        k -= 1
        if s.jobs[s.ordered[k]].place == RESIDENT:
            evict(s, s.ordered[k])
            evicted = True
    if evicted or s.at.swapped_out == 0:
        return
    closed, able = is_closed(s), 0
    for k in range(s.at.ordered):
        i = s.ordered[k]
        if able == s.at.batch:
            break
        if closed and not s.jobs[i].started:
            continue
        able += 1
        if s.jobs[i].place == SWAPPED_OUT:
            coming = s.at.held_coming > 0
            kept = s.at.batch if s.at.resident > 0 or coming else 0  # else none could run
            if needs(s, i) + kept > free(s):
                break
            fetch(s, i)


@compiled
def turns_of(s: Server) -> int:
    """Return how many of the first requests have their turn."""
    turns = blocks = 0
    while turns < min(s.at.batch, s.at.ordered):
        blocks += needs(s, s.ordered[turns])
        if blocks > s.at.room:
            break
        turns += 1
    return turns


@compiled
def plan_alise(s: Server) -> None:
    """Swap out the longest waits above the high watermark; swap in the shortest below the low
    one.
    """
    full = s.at.room - soon_free(s) > s.at.high
    if s.at.swapped_out == 0 and not full:
        return
    turns = turns_of(s)
    others = list_others(s, turns)
    end = end_of_candidates(s, turns, full)
    if end == 0:
        return
    estimate_waits(s, turns, end)
    if full:
        others = offload(s, others)
    fetch_first(s, turns, others, full)


@compiled
def list_others(s: Server, turns: int) -> int:
    """List in `some` the resident requests that do not have their turn; return their number."""
    others = 0
    for turn in range(turns, s.at.ordered):
        if s.jobs[s.ordered[turn]].place == RESIDENT:
            s.some[others] = s.ordered[turn]
            others += 1
    return others


@compiled
def end_of_candidates(s: Server, turns: int, full: bool) -> int:
    """Return up to where in order waiting times are needed; 0: no cache can be transferred."""
    end, comes, leaves = 0, False, False
    for turn in range(s.at.ordered):
        i = s.ordered[turn]
        if s.jobs[i].place == SWAPPED_OUT:
            fits = not full and s.at.room - free(s) + needs(s, i) <= s.at.low
            if turn < turns or fits:
                comes, end = True, turn + 1
        elif s.jobs[i].place == RESIDENT and turn >= turns:
            leaves, end = True, turn + 1
    return end if comes or (full and leaves) else 0


@compiled
def estimate_waits(s: Server, turns: int, end: int) -> None:
    """Write the estimated waiting times of the first requests in order whose caches may be
    transferred.
    """
    before_ns = 0
    for turn in range(end):
        i = s.ordered[turn]
        place = s.jobs[i].place
        if turn < turns:
            s.waits_ns[i] = 0
        elif place in (RESIDENT, SWAPPED_OUT):
            s.waits_ns[i] = min(before_ns // turns, rises_in_ns(s, i))
        if s.at.remaining_ns:
            left_ns = call(s.at.remaining_ns, s.at.policy, job_address(s, i), s.at.now_ns, 0)
            if left_ns < 0:
                fail(s, -left_ns, REMAINING_NS, i)
            before_ns += min(left_ns, NEVER - before_ns)  # the sum of both may exceed 64 bits


@compiled
def rises_in_ns(s: Server, i: int) -> int:
    """Return the time until a waiting request's rank falls, as the policy estimates it."""
    if s.at.wake == 0 or s.jobs[i].running:
        return NEVER
    wake_ns = call(s.at.wake, s.at.policy, job_address(s, i), s.at.now_ns, 0)
    if wake_ns < 0:
        fail(s, -wake_ns, WAKE, i)
    return wake_ns - s.at.now_ns


@compiled
def longest(s: Server, others: int, waiting: bool) -> int:
    """Return the place in `some` of the longest wait, the last in order of equal ones; -1: none.

    With `waiting`, only requests that do not run are considered.
    """
    at = -1
    for k in range(others):
        i = s.some[k]
        if waiting and s.jobs[i].running:
            continue
        if at < 0 or s.waits_ns[i] >= s.waits_ns[s.some[at]]:
            at = k
    return at


@compiled
def swap_out(s: Server, k: int, others: int) -> int:
    """Swap out entry k of `some` and take it off the list; return what is left of the list."""
    evict(s, s.some[k])
    for later in range(k + 1, others):
        s.some[later - 1] = s.some[later]
    return others - 1


@compiled
def offload(s: Server, others: int) -> int:
    """Swap out the longest waits down to the low watermark; return what is left of `some`."""
    while s.at.room - soon_free(s) > s.at.low:
        k = longest(s, others, True)
        if k < 0:
            break
        others = swap_out(s, k, others)
    return others


@compiled
def fetch_first(s: Server, turns: int, others: int, full: bool) -> None:
    """Swap in the shortest waits, making room for the requests that have their turn."""
    lacking = False
    # the requests that have their turn wait 0, and are the first in order
    for turn in range(turns):
        i = s.ordered[turn]
        if s.jobs[i].place != SWAPPED_OUT:
            continue
        room = needs(s, i)
        while others and soon_free(s) < room:
            others = swap_out(s, longest(s, others, False), others)
        if free(s) >= room:
            fetch(s, i)
        else:
            lacking = True
    if not (full or lacking):  # not into what another request's turn waits for
        fetch_before_turn(s, turns)


@compiled
def fetch_before_turn(s: Server, turns: int) -> None:
    """Swap in the shortest waits of other requests, up to the low watermark."""
    while True:
        first = -1
        for turn in range(turns, s.at.ordered):
            i = s.ordered[turn]
            shorter = first < 0 or s.waits_ns[i] < s.waits_ns[first]
            fits = s.at.room - free(s) + needs(s, i) <= s.at.low
            if shorter and fits and s.jobs[i].place == SWAPPED_OUT:
                first = i
        if first < 0:
            return
        fetch(s, first)
