"""The choice of the compiled loop: which requests run the next round.

The functions have the names of the methods of `SimPyServer`. The memory manager says which requests
are ready and fit; the policy determines their order.
"""

from lapsd.sim.engine.compiled.call import compiled
from lapsd.sim.engine.compiled.costs import next_needed
from lapsd.sim.engine.compiled.flat_server import FASTSERVE, IN_STEPS, RESIDENT, Server
from lapsd.sim.engine.compiled.memory import fits, needs, park, unpark
from lapsd.sim.engine.compiled.order import before, enter, pop, push, rank, sort_running
from lapsd.sim.engine.compiled.plans import plan_transfers
from lapsd.sim.engine.compiled.prefixes import (
    begin_counting,
    counted_blocks,
    look_up,
    schedule,
    shared_blocks,
)
from lapsd.sim.engine.compiled.transfers import is_closed, ready


@compiled
def choose(s: Server) -> None:
    """Choose the requests that run the next round; `fresh` lists the chosen requests that did not
    run the last one.
    """
    if s.at.waiting == 0 and all_fit(s):
        s.at.fresh = 0  # no request can take another one's place
        return
    sort_running(s)
    if s.at.error:
        return
    chosen = first_ready(s) if s.at.manager >= FASTSERVE else first_that_fit(s)
    if s.at.prefill == IN_STEPS:
        share_tokens(s, chosen)
    settle(s, chosen)


@compiled
def all_fit(s: Server) -> bool:
    """Return whether the running requests go on together, whatever their order."""
    if s.at.prefill == IN_STEPS or s.at.manager >= FASTSERVE:
        return False
    if not s.at.limited:
        return True
    needed = 0
    for k in range(s.at.running):
        needed += needs(s, s.running[k])
    return fits(s, needed - shared_blocks(s), s.at.running)


@compiled
def first_that_fit(s: Server) -> int:
    """List in `chosen` the first active requests in order, as many as have a batch slot and fit
    into memory together; return their number.
    """
    chosen = ran = needed = 0
    begin_counting(s)
    last = s.at.running - 1
    # mostly no waiting request goes before a running one, and one comparison shows it
    mixed = s.at.waiting > 0 and last >= 0 and before(s, s.waiting[0], s.running[last])
    while chosen < s.at.batch:
        waits = s.at.waiting > 0 and (
            ran > last or (mixed and before(s, s.waiting[0], s.running[ran]))
        )
        if not waits and ran > last:
            break
        i = s.waiting[0] if waits else s.running[ran]
        if s.at.limited:
            needed += needs(s, i)
            if s.at.hashed:
                needed -= counted_blocks(s, i)
            if not fits(s, needed, chosen + 1):
                break
        s.chosen[chosen] = pop(s) if waits else i
        ran += 0 if waits else 1
        chosen += 1
    return chosen


@compiled
def first_ready(s: Server) -> int:
    """The same with asynchronous KV transfers: of the requests that can run, after new transfers
    were issued.
    """
    put_in_order(s)
    plan_transfers(s)
    closed, chosen, needed = is_closed(s), 0, s.at.held_coming
    for k in range(s.at.ordered):
        i = s.ordered[k]
        if chosen == s.at.batch:
            break
        if ready(s, i, closed):
            needed += needs(s, i)
            if needed > s.at.room:
                break
            s.chosen[chosen] = i
            chosen += 1
    return chosen


@compiled
def put_in_order(s: Server) -> None:
    """List all active requests in order."""
    waits = ran = 0
    while ran < s.at.running:
        i = s.running[ran]
        if waits < s.at.waiting and before(s, s.waiting[waits], i):
            i = s.waiting[waits]
            waits += 1
        else:
            ran += 1
        s.ordered[waits + ran - 1] = i
    for k in range(waits, s.at.waiting):
        s.ordered[ran + k] = s.waiting[k]
    s.at.ordered = ran + s.at.waiting


@compiled
def share_tokens(s: Server, chosen: int) -> None:
    """Give chosen requests their tokens of the next step; running requests receive theirs first."""
    left = s.at.budget
    for runs in (True, False):
        for k in range(chosen):
            job = s.jobs[s.chosen[k]]
            if job.running != runs:
                continue
            if s.at.hashed:
                look_up(s, s.chosen[k])
            wanted = min(job.uncomputed_tokens, left)
            if job.uncomputed_tokens == 0:
                wanted = next_needed(s, s.chosen[k])
            job.given_tokens = wanted if wanted <= left else 0
            left -= job.given_tokens
            if s.at.hashed and job.uncomputed_tokens > 0:
                schedule(s, s.chosen[k], job.given_tokens)


@compiled
def settle(s: Server, chosen: int) -> None:
    """Let the chosen requests run, and preempt the running requests that were not chosen.

    A waiting request that was chosen but receives no tokens keeps waiting.
    """
    kept = s.at.fresh = 0
    if run_on(s, chosen):
        return
    for k in range(chosen):
        i = s.chosen[k]
        job = s.jobs[i]
        if not job.running:
            if s.at.prefill == IN_STEPS and job.given_tokens == 0:
                if s.at.manager < FASTSERVE:
                    push(s, i)
                continue
            s.fresh[s.at.fresh] = i
            s.at.fresh += 1
        job.chosen = 1
        s.chosen[kept] = i
        kept += 1
    if s.at.manager >= FASTSERVE:
        keep_waiting(s)
    for k in range(s.at.running):
        if s.jobs[s.running[k]].chosen == 0:
            preempt(s, s.running[k])
    for k in range(kept):
        run(s, s.chosen[k])
        s.running[k] = s.chosen[k]
    s.at.running = kept


@compiled
def run_on(s: Server, chosen: int) -> bool:
    """Return whether the chosen requests are the running ones, in the same order."""
    same = 0
    while same < chosen and same < s.at.running and s.chosen[same] == s.running[same]:
        same += 1
    return same == chosen == s.at.running


@compiled
def keep_waiting(s: Server) -> None:
    """Take the chosen requests off the list of waiting ones, which stays in order."""
    kept = 0
    for k in range(s.at.waiting):
        if s.jobs[s.waiting[k]].chosen == 0:
            s.waiting[kept] = s.waiting[k]
            kept += 1
    s.at.waiting = kept


@compiled
def preempt(s: Server, i: int) -> None:
    """Let a running request wait, ranked as such."""
    s.jobs[i].running = False
    s.jobs[i].preemptions += 1
    rank(s, i)
    enter(s, i)
    if s.at.manager < FASTSERVE and s.jobs[i].place == RESIDENT:
        park(s, i)


@compiled
def run(s: Server, i: int) -> None:
    """Let a chosen request run."""
    job = s.jobs[i]
    if s.at.manager < FASTSERVE and job.place == RESIDENT and not job.running:
        unpark(s, i)
    job.running = True
    job.chosen = 0
