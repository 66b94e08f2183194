"""Asynchronous KV transfers in the compiled loop, with the names of the methods of `Offload`.

`ordered` holds all active requests in order, `parked` the requests whose cache is on its way.
"""

from lapsd.sim.engine.compiled.call import compiled
from lapsd.sim.engine.compiled.costs import in_ns, kv_tokens, out_ns, quantising_ns, transferred
from lapsd.sim.engine.compiled.flat_server import (
    ALISE,
    COMING,
    DOES_NOT_FIT,
    FASTSERVE,
    LEAVING,
    NEVER,
    NO_TRANSFER,
    NOWHERE,
    RESIDENT,
    SWAPPED_OUT,
    Server,
)
from lapsd.sim.engine.compiled.memory import needs, park, unpark
from lapsd.sim.engine.compiled.order import last


@compiled
def free(s: Server) -> int:
    """Return the number of blocks that no cache holds."""
    return s.at.room - s.at.held


@compiled
def soon_free(s: Server) -> int:
    """Return the number of blocks that no cache holds once those on their way out have left."""
    return free(s) + s.at.held_leaving


@compiled
def hold(s: Server, i: int, blocks: int) -> None:
    """Let a request hold so many blocks."""
    s.at.held += blocks - s.jobs[i].held
    s.jobs[i].held = blocks


@compiled
def land(s: Server) -> bool:
    """Complete the transfers that have ended; return whether there were any."""
    landed, k = False, 0
    while k < s.at.parked:
        i = s.parked[k]
        if s.jobs[i].transfer_ns > s.at.now_ns:
            k += 1
            continue
        landed = True
        unpark(s, i)
        if s.jobs[i].place == LEAVING:
            s.at.held_leaving -= s.jobs[i].held
            hold(s, i, 0)
            s.jobs[i].place = SWAPPED_OUT
            s.at.swapped_out += 1
        else:
            s.at.held_coming -= s.jobs[i].held
            s.jobs[i].place = RESIDENT
            s.at.resident += 1
    return landed


@compiled
def evict(s: Server, i: int) -> None:
    """Begin to swap a resident request's cache out."""
    job = s.jobs[i]
    job.place = LEAVING
    s.at.resident -= 1
    s.at.held_leaving += job.held
    tokens = kv_tokens(s, i) - job.uncomputed_tokens
    s.at.host_tokens += tokens
    ns = out_ns(s, transferred(s, tokens)) + quantising_ns(s, tokens)
    s.at.out_free_ns = max(s.at.now_ns, s.at.out_free_ns) + ns
    job.switch_ns += ns
    job.transfer_ns = s.at.out_free_ns
    park(s, i)


@compiled
def fetch(s: Server, i: int) -> None:
    """Begin to swap a request's cache in."""
    job = s.jobs[i]
    job.place = COMING
    s.at.swapped_out -= 1
    hold(s, i, needs(s, i))
    s.at.held_coming += job.held
    tokens = kv_tokens(s, i) - job.uncomputed_tokens
    s.at.host_tokens -= tokens
    ns = in_ns(s, transferred(s, tokens)) + quantising_ns(s, tokens)
    s.at.in_free_ns = max(s.at.now_ns, s.at.in_free_ns) + ns
    job.switch_ns += ns
    job.transfer_ns = s.at.in_free_ns
    park(s, i)


@compiled
def is_closed(s: Server) -> bool:
    """Return whether host memory is so full that no newcomer may start."""
    return s.at.host > 0 and 10 * (s.at.host - s.at.host_tokens) < s.at.host


@compiled
def ready(s: Server, i: int, closed: bool) -> bool:
    """Return whether a request can run now."""
    return s.jobs[i].place == RESIDENT or not (s.jobs[i].started or closed)


@compiled
def make_room(s: Server) -> int:
    """Give the running requests their blocks, swapping out others where blocks are lacking; return
    the time until the caches on their way out have left enough of them.
    """
    needed = 0
    for k in range(s.at.running):
        i = s.running[k]
        if s.jobs[i].place != RESIDENT:
            s.jobs[i].place = RESIDENT
            s.at.resident += 1
        hold(s, i, needs(s, i))
        needed += s.jobs[i].held
    waiting = waiting_residents(s)
    # all that is held, but for the caches on their way out, may exceed the room
    lacking = s.at.held - s.at.held_leaving - s.at.room
    while waiting and lacking > 0:
        k = last(s, s.some, waiting)
        i = s.some[k]
        waiting -= 1
        s.some[k] = s.some[waiting]
        lacking -= s.jobs[i].held
        evict(s, i)
    start_ns = until_free(s, lacking + s.at.held_leaving)
    if s.at.manager == ALISE and not s.at.overlap:
        start_ns = max(start_ns, s.at.out_free_ns, s.at.in_free_ns)
    return start_ns - s.at.now_ns


@compiled
def waiting_residents(s: Server) -> int:
    """List the resident requests that do not run in `some`; return their number."""
    count = 0
    if s.at.resident > s.at.running:
        for k in range(s.at.waiting):
            i = s.waiting[k]
            if s.jobs[i].place == RESIDENT:
                s.some[count] = i
                count += 1
    return count


@compiled
def until_free(s: Server, lacking: int) -> int:
    """Return when so many blocks have become free, the caches that leave first counted first."""
    end_ns = s.at.now_ns - 1
    while lacking > 0:
        later_ns = next_out_ns(s, end_ns)
        if later_ns < 0:
            break
        end_ns = later_ns
        for k in range(s.at.parked):
            job = s.jobs[s.parked[k]]
            if job.place == LEAVING and job.transfer_ns == end_ns:
                lacking -= job.held
    return max(s.at.now_ns, end_ns)


@compiled
def next_out_ns(s: Server, after_ns: int) -> int:
    """Return the first end of a swap-out after a time; -1: there is none."""
    first_ns = -1
    for k in range(s.at.parked):
        job = s.jobs[s.parked[k]]
        later = job.place == LEAVING and job.transfer_ns > after_ns
        if later and (first_ns < 0 or job.transfer_ns < first_ns):
            first_ns = job.transfer_ns
    return first_ns


@compiled
def next_transfer_ns(s: Server) -> int:
    """Return when the next transfer ends; `NEVER`: none is under way."""
    first_ns = NEVER
    for k in range(s.at.parked):
        first_ns = min(first_ns, s.jobs[s.parked[k]].transfer_ns)
    return first_ns


@compiled
def why_none_runs(s: Server) -> int:
    """Return the error of a run in which requests wait and none can ever run."""
    if s.at.manager < FASTSERVE:
        return DOES_NOT_FIT
    closed = is_closed(s)
    for k in range(s.at.waiting):
        if ready(s, s.waiting[k], closed):
            return DOES_NOT_FIT
    return NO_TRANSFER


@compiled
def release(s: Server, i: int) -> None:
    """Free the blocks of a finished request."""
    s.jobs[i].place = NOWHERE
    s.at.resident -= 1
    hold(s, i, 0)
