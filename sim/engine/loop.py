"""The compiled loop: the steps of `SimPyServer`, with the same names and in the same order, over
flat arrays.

`advance` takes one decision of one server and runs one round or step; `serve_all` runs servers to
the end, and `service_loop` runs several that share requests. Each function takes the server `s`,
whose record is `s.at`. The choice of requests is in `compiled/choice.py`, memory in
`compiled/memory.py` and `compiled/transfers.py`. Results are those of the specification, to the
nanosecond. The loop knows nothing of Python objects; the module `compiled/runs.py` makes the
arrays.
"""

from typing import Any

from lapsd.sim.engine.compiled.call import call, compiled, inlined, pointer
from lapsd.sim.engine.compiled.choice import choose
from lapsd.sim.engine.compiled.costs import next_round, prefill_ns, recompute_ns, step_ns
from lapsd.sim.engine.compiled.drafts import draft, note_round
from lapsd.sim.engine.compiled.flat_server import (
    ALONE,
    BATCHED,
    FASTSERVE,
    IN_STEPS,
    NEVER,
    ON_EVENT,
    ON_ROUND,
    DraftTables,
    PrefixTables,
    Server,
    StepTables,
)
from lapsd.sim.engine.compiled.job import ARRIVAL, COMPLETION
from lapsd.sim.engine.compiled.memory import make_room, release
from lapsd.sim.engine.compiled.order import (
    enter,
    fail,
    job_address,
    rank,
    rank_waiting,
    set_aside,
    sort_by_arrival,
)
from lapsd.sim.engine.compiled.prefixes import drop_unused
from lapsd.sim.engine.compiled.remaining import count_leaving, count_round
from lapsd.sim.engine.compiled.transfers import (
    make_room as make_room_overlapping,
    next_transfer_ns,
    release as release_blocks,
    why_none_runs,
)


@compiled
def advance(s: Server) -> int:
    """Take one decision and run one round or step, or wait; return a measure of the work."""
    everyone = s.at.ages or s.at.rank_again or s.at.manager >= FASTSERVE
    work = 1 + s.at.running + s.at.parked + (s.at.waiting if everyone else 0)
    arrive(s)
    if decide(s):
        commit(s)
    elif s.at.error == 0:
        wait(s)
    return work


@compiled
def decide(s: Server) -> bool:
    """Take one decision; return whether a round or step begins, which ends at `ends_ns`."""
    if s.at.running + s.at.waiting == 0:
        return False
    choose(s)
    if s.at.one_queue:
        set_aside(s)
    if s.at.error or s.at.running == 0:
        return False
    start_ns = 0
    if s.at.manager >= FASTSERVE:
        start_ns = make_room_overlapping(s)
    elif s.at.limited:
        start_ns = make_room(s)
    start_ns += prefill(s, s.at.now_ns + start_ns)
    s.at.step_ns = draft(s) + step_ns(s)
    s.at.ends_ns = s.at.now_ns + start_ns + s.at.step_ns
    return True


@compiled
def arrive(s: Server) -> None:
    """Let the requests that have arrived wait, and rank them."""
    first = s.at.arrived
    while s.at.arrived < s.at.requests and s.jobs[s.at.arrived].arrival_ns <= s.at.now_ns:
        admit(s, s.at.arrived)
        s.at.arrived += 1
    for i in range(first, s.at.arrived):
        rank(s, i)
        enter(s, i)
    if s.at.ages or s.at.rank_again:
        rank_waiting(s)


@compiled
def admit(s: Server, i: int) -> None:
    """Let a request that has arrived enter its first queue."""
    s.jobs[i].entered_ns = s.jobs[i].arrival_ns
    event(s, ARRIVAL, i)


@compiled
def event(s: Server, kind: int, i: int) -> None:
    """Tell the policy of an arrival or a completion."""
    if s.at.on_event:
        s.out[0] = kind
        changed = call(s.at.on_event, s.at.policy, job_address(s, i), s.at.now_ns, s.at.out_address)
        if changed < 0:
            fail(s, -changed, ON_EVENT, i)
        elif changed:
            s.at.rank_again = 1


@compiled
def wait(s: Server) -> None:
    """Let the time pass to the next arrival or the end of the next KV transfer."""
    next_ns, transfer_ns = NEVER, NEVER
    if s.at.arrived < s.at.requests:
        next_ns = s.jobs[s.at.arrived].arrival_ns
    if s.at.manager >= FASTSERVE:
        transfer_ns = next_transfer_ns(s)
    if s.at.waiting > 0 and transfer_ns == NEVER:
        fail(s, why_none_runs(s), 0, s.at.waiting)
        return
    next_ns = min(next_ns, transfer_ns)
    s.at.idle_ns += next_ns - s.at.now_ns
    s.at.now_ns = next_ns


@compiled
def prefill(s: Server, start_ns: int) -> int:
    """Start the new requests among `fresh`; return the time that their prompts take before the
    round.
    """
    end_ns, tokens, squares = start_ns, 0, 0
    for k in range(s.at.fresh):
        job = s.jobs[s.fresh[k]]
        missing = job.prompt_tokens - 1 - job.cached_tokens
        if not job.started and missing > 0:
            tokens += missing
            squares += missing**2
    together_ns = prefill_ns(s, tokens, squares) if tokens > 0 else 0
    for k in range(s.at.fresh):
        job = s.jobs[s.fresh[k]]
        if job.started:
            continue
        job.started = True
        job.first_service_ns = end_ns
        if s.at.prefill == ALONE:
            job.prefill_ns = job.prefill_cost_ns
            if job.cached_tokens > 0:
                job.prefill_ns = recompute_ns(s, job.prompt_tokens - 1 - job.cached_tokens)
            end_ns += job.prefill_ns
        elif s.at.prefill == BATCHED:
            job.prefill_ns = together_ns
    return together_ns if s.at.prefill == BATCHED else end_ns - start_ns


@compiled
def commit(s: Server) -> None:
    """Commit the step for the requests that were part of it, in order of arrival where that order
    matters; finished requests, which `fresh` then lists, leave.
    """
    step_ns, left, done = s.at.step_ns, 0, 0
    s.at.now_ns = s.at.ends_ns
    s.at.rounds += 1
    if s.at.writes_in_rounds:
        sort_by_arrival(s)
    for k in range(s.at.running):
        i = s.running[k]
        job = s.jobs[i]
        if job.uncomputed_tokens > 0:
            job.uncomputed_tokens -= job.given_tokens
            job.prefill_ns += step_ns if job.given_tokens > 0 else 0
        elif s.at.prefill != IN_STEPS or job.given_tokens > 0:
            commit_round(s, i, step_ns)
        if job.tokens < job.output_tokens:
            s.running[left] = i
            left += 1
            continue
        at = done  # in order of arrival
        while at > 0 and s.fresh[at - 1] > i:
            s.fresh[at] = s.fresh[at - 1]
            at -= 1
        s.fresh[at] = i
        done += 1
    s.at.running = left
    s.at.left = done
    for k in range(done):
        leave(s, s.fresh[k])


@compiled
def commit_round(s: Server, i: int, round_ns: int) -> None:
    """Commit a request's round, and let the policy take it in."""
    job = s.jobs[i]
    drafted, accepted, emitted = next_round(s, i)
    if s.at.counts_work:
        count_round(s, i, drafted, emitted)
    if s.at.choose_drafts:
        note_round(s, i, drafted, accepted)
    job.service_ns += round_ns
    job.tokens += emitted
    job.drafted += drafted
    job.accepted += accepted
    job.rounds += 1
    if job.rounds == 1:
        job.first_token_ns = s.at.now_ns
        job.first_tokens = emitted
    if s.at.on_round:
        queue = job.queue
        error = call(s.at.on_round, s.at.policy, job_address(s, i), s.at.now_ns, s.at.out_address)
        if error:
            fail(s, error, ON_ROUND, i)
        if job.queue != queue:
            job.entered_ns = s.at.now_ns


@compiled
def leave(s: Server, i: int) -> None:
    """Let a finished request leave; in a closed loop it releases the next one."""
    if s.at.manager >= FASTSERVE:
        release_blocks(s, i)
    elif s.at.limited:
        release(s, i)
    if s.at.counts_work:
        count_leaving(s, i)
    s.jobs[i].running = False
    s.jobs[i].finish_ns = s.at.now_ns
    s.at.done += 1
    if s.at.released < s.at.requests:
        s.jobs[s.at.released].arrival_ns = s.at.now_ns + s.at.think_ns
        s.at.released += 1
    event(s, COMPLETION, i)


@inlined
def server_of(at: Any, jobs: Any, arrays: Server) -> Server:
    """Return one server, with its own requests and the lists that servers share."""
    steps, drafts, prefixes = arrays.steps, arrays.drafts, arrays.prefixes
    return Server(
        at,
        jobs,
        pointer(arrays.keys),
        pointer(arrays.waiting[at.requests_at :]),
        pointer(arrays.running[at.batch_at :]),
        pointer(arrays.chosen),
        pointer(arrays.fresh),
        pointer(arrays.parked[at.requests_at :]),
        pointer(arrays.ordered),
        pointer(arrays.some),
        pointer(arrays.waits_ns),
        pointer(arrays.out),
        pointer(arrays.rounds),
        pointer(arrays.round_base_ns[at.rounds_at :]),
        pointer(arrays.round_per_token_ns[at.rounds_at :]),
        pointer(arrays.prefill_at[at.prefill_row :]),
        pointer(arrays.prefill_tokens[at.prefill_entry :]),
        pointer(arrays.prefill_ns[at.prefill_entry :]),
        pointer(arrays.hashes),
        StepTables(
            pointer(steps.sizes[at.step_sizes :]),
            pointer(steps.base_at[at.step_row :]),
            pointer(steps.context_at[at.step_row :]),
            pointer(steps.base_tokens[at.step_base :]),
            pointer(steps.base_ns[at.step_base :]),
            pointer(steps.context_tokens[at.step_context :]),
            pointer(steps.per_context_ns[at.step_context :]),
            pointer(steps.draft_base_ns[at.step_draft :]),
            pointer(steps.draft_per_token_ns[at.step_draft :]),
        ),
        DraftTables(
            pointer(drafts.step),
            pointer(drafts.columns),
            pointer(drafts.lengths),
            pointer(drafts.decoding),
            pointer(drafts.runs),
            pointer(drafts.verify_at[at.verify_row :]),
            pointer(drafts.verify_base[at.verify_entry :]),
            pointer(drafts.verify_per_token[at.verify_entry :]),
            pointer(drafts.draft_terms[at.draft_terms :]),
            pointer(drafts.rates),
            pointer(drafts.confidence),
            pointer(drafts.beyond),
            pointer(drafts.confidences),
        ),
        PrefixTables(
            pointer(prefixes.users[at.prefixes_at :]),
            pointer(prefixes.computed[at.prefixes_at :]),
            pointer(prefixes.listed[at.prefixes_at :]),
            pointer(prefixes.older[at.prefixes_at :]),
            pointer(prefixes.newer[at.prefixes_at :]),
            pointer(prefixes.counted[at.prefixes_at :]),
            pointer(prefixes.choice[at.number :]),
        ),
    )


def serve_all(servers: Any, arrays: Server, work: int) -> int:
    """Run servers one after the other until all requests are done, or so much work is done;
    compiled in `program`.

    Parameters
    ----------
    servers : records of SERVER
    arrays : the requests of all servers, and lists that are long enough for each.

    Returns
    -------
    Number of the server that is not done; the number of servers if all are.
    """
    for k in range(len(servers)):
        at = servers[k]
        end = at.first + at.requests
        s = server_of(at, pointer(arrays.jobs[at.first : end]), arrays)
        while at.done < at.requests:
            if work <= 0 or at.error:
                return k
            work -= advance(s)
        drop_unused(s, 0)  # the next server begins without
    return len(servers)
