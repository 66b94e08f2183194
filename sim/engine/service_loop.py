"""Several servers in the compiled loop: the steps of `service`, in the order of `instants`.

`serve_service` always goes on with the earliest event: the end of a step, the servers' reports, an
arrival, or a decision, in this order at one time. What servers share is in `Shared`; its record is
`v.at`.
"""

from typing import Any

from lapsd.sim.engine.compiled.call import call, compiled, inlined, pointer
from lapsd.sim.engine.compiled.flat_server import FASTSERVE, NEVER, OUT_OF_RANGE, Server
from lapsd.sim.engine.compiled.flat_service import (
    ALLOWED,
    CACHED,
    COMMIT,
    DECISION,
    FILLED,
    NO_EVENT,
    NOT_ALLOWED,
    PREFILL,
    RANDOM,
    REQUEST,
    SIZE,
    TRUE_WORK,
    WAITING,
    WORK,
    Shared,
)
from lapsd.sim.engine.compiled.guardrails import allow, count_leaving, count_sent
from lapsd.sim.engine.compiled.order import enter, fail, pop, push, rank, rank_waiting
from lapsd.sim.engine.compiled.prefixes import cached_tokens, filled_tokens
from lapsd.sim.engine.compiled.remaining import count_request
from lapsd.sim.engine.compiled.reports import add_known, list_active, report_all, report_now
from lapsd.sim.engine.compiled.transfers import next_transfer_ns, why_none_runs
from lapsd.sim.engine.loop import admit, commit, decide, server_of


@compiled
def expect(v: Shared, k: int, phase: int, at_ns: int) -> None:
    """Note a server's next event. O(log servers)."""
    v.phase[k], v.ends_ns[k] = phase, at_ns
    node = (v.at.servers + k) // 2
    while node > 0:
        one, other = v.earliest[2 * node], v.earliest[2 * node + 1]
        v.earliest[node] = one if precedes(v, one, other) else other
        node //= 2


@compiled
def precedes(v: Shared, j: int, k: int) -> bool:
    """Return whether the next event of server j comes before that of server k."""
    if v.ends_ns[j] != v.ends_ns[k]:
        return bool(v.ends_ns[j] < v.ends_ns[k])
    if v.phase[j] != v.phase[k]:
        return bool(v.phase[j] < v.phase[k])
    return j < k


@compiled
def next_arrival_ns(v: Shared) -> int:
    """Return the time of the next arrival; `NEVER` if it is unknown or there is none."""
    if v.at.arrived == v.at.requests:
        return NEVER
    return int(v.jobs[v.at.arrived].arrival_ns)


@compiled
def next_report_ns(v: Shared) -> int:
    """Return the time of the servers' next reports; `NEVER` if the router sees the present."""
    return v.at.next_report_ns if v.at.report_ns else NEVER


@compiled
def end_step(v: Shared, s: Server) -> None:
    """Commit the step of a server; each finished request of a closed loop releases the next one."""
    commit(s)
    expect(v, s.at.number, DECISION, s.at.now_ns)
    v.at.done += s.at.left
    for k in range(s.at.left):
        i = s.fresh[k]
        v.jobs[i].server = s.at.number
        if v.at.ranks:
            count_leaving(v, i)
        if v.at.released < v.at.requests:
            v.jobs[v.at.released].arrival_ns = s.at.now_ns + v.at.think_ns
            v.at.released += 1


@compiled
def take_decision(v: Shared, s: Server, queue: Server, now_ns: int) -> None:
    """Let a server decide; it runs a step, or waits for a request or a KV transfer."""
    if s.at.now_ns < now_ns:
        s.at.idle_ns += now_ns - s.at.now_ns
        s.at.now_ns = now_ns
    if s.at.one_queue:
        take_from_queue(v, s, queue)
    take_in(s)
    k = s.at.number
    if decide(s):
        expect(v, k, COMMIT, s.at.ends_ns)
        v.began_ns[k] = now_ns
    else:
        ready_ns = next_transfer_ns(s) if s.at.manager >= FASTSERVE else NEVER
        expect(v, k, DECISION, ready_ns)
        if s.at.waiting > 0 and ready_ns == NEVER:
            fail(s, why_none_runs(s), 0, s.at.waiting)
    for n in range(s.at.aside):
        push(queue, s.some[n])
    s.at.aside = 0


@compiled
def take_in(s: Server) -> None:
    """Let the requests that were sent to the server wait, and rank them."""
    i = s.at.inbox_first
    while i >= 0:
        admit(s, i)
        i = s.jobs[i].next_sent
    i = s.at.inbox_first
    while i >= 0:
        rank(s, i)
        enter(s, i)
        i = s.jobs[i].next_sent
    s.at.inbox_first = s.at.inbox_last = -1
    s.at.inbox = 0
    if s.at.ages or s.at.rank_again:
        rank_waiting(s)


@compiled
def put_in_inbox(s: Server, i: int) -> None:
    """Send a request to a server."""
    s.jobs[i].next_sent = -1
    if s.at.inbox_first < 0:
        s.at.inbox_first = i
    else:
        s.jobs[s.at.inbox_last].next_sent = i
    s.at.inbox_last = i
    s.at.inbox += 1


@compiled
def take_from_queue(v: Shared, s: Server, queue: Server) -> None:
    """Take the first requests of the queue, as many as could run."""
    if queue.at.ages:
        queue.at.now_ns = s.at.now_ns
        rank_waiting(queue)
    for _ in range(min(s.at.batch, queue.at.waiting)):
        put_in_inbox(s, pop(queue))


@compiled
def put_in_queue(v: Shared, queue: Server, i: int, now_ns: int) -> None:
    """Let a request wait in the queue of all servers; idle servers decide now."""
    fill_job(v, queue, i)
    queue.jobs[i].entered_ns = queue.jobs[i].arrival_ns
    queue.at.now_ns = now_ns
    rank(queue, i)
    push(queue, i)
    for k in range(v.at.servers):
        call_server(v, k, now_ns)


@compiled
def call_server(v: Shared, k: int, now_ns: int) -> None:
    """Let a server decide now unless it runs a step."""
    if v.phase[k] == DECISION and v.ends_ns[k] > now_ns:
        expect(v, k, DECISION, now_ns)


@compiled
def fill_job(v: Shared, s: Server, i: int) -> None:
    """Fill in what a request's record has of its server."""
    job, row = v.jobs[i], s.at.costs * v.at.requests + i
    job.prefill_cost_ns = v.prefill_ns[row]
    job.reserved = v.reserved[row]
    job.size_ns = v.sizes_ns[row]
    job.true_size_ns = v.true_sizes_ns[row]
    job.state_address = s.at.state_address + i * s.at.state_bytes


@compiled
def send(v: Shared, s: Server, i: int, now_ns: int) -> None:
    """Send a request to the server that the router chose."""
    k = s.at.number
    fill_job(v, s, i)
    v.jobs[i].server = k
    put_in_inbox(s, i)
    if s.at.counts_work:
        count_request(s, i)
    if v.at.ranks:
        count_sent(v, i, k)
    call_server(v, k, now_ns)
    if v.at.sees_active:
        add_known(v, i, k)
    if v.at.report_ns:
        v.columns[WAITING * v.at.servers + k] += 1
        v.columns[WORK * v.at.servers + k] += v.jobs[i].size_ns
        if v.at.sees_truth:
            v.columns[TRUE_WORK * v.at.servers + k] += v.jobs[i].true_size_ns


@compiled
def ask_router(v: Shared, servers: Any, arrays: Server, i: int, now_ns: int) -> int:
    """Return the server that the router chooses for a request, or -1 after an error."""
    job = v.jobs[i]
    v.record[REQUEST] = i
    v.record[REQUEST + 1] = job.arrival_ns
    v.record[REQUEST + 2] = job.prompt_tokens
    v.record[REQUEST + 3] = job.predicted_tokens
    v.record[RANDOM] = v.at.random_address + 8 * v.at.draws * i
    for k in range(v.at.servers):
        row = v.costs[k] * v.at.requests + i
        v.columns[SIZE * v.at.servers + k] = v.sizes_ns[row]
        v.columns[PREFILL * v.at.servers + k] = v.prefill_ns[row]
    if v.at.sees_caches:
        for k in range(v.at.servers):
            s = server_of(servers[k], v.jobs, arrays)
            v.columns[CACHED * v.at.servers + k] = cached_tokens(s, i)
            v.columns[FILLED * v.at.servers + k] = filled_tokens(s)
    if v.at.sees_active:
        list_active(v)
    if v.at.ranks:
        allow(v, v.sizes_ns[v.costs[0] * v.at.requests + i])
    chosen = call(v.at.route, v.at.router, v.at.record_address, now_ns, 0)
    v.at.error_ns, v.at.error_request = now_ns, i
    if chosen < 0 or chosen >= v.at.servers:
        v.at.error = -chosen if chosen < 0 else OUT_OF_RANGE
        return -1
    if v.columns[ALLOWED * v.at.servers + chosen] == 0:
        v.at.error = NOT_ALLOWED
        return -1
    return chosen


@compiled
def take_arrival(v: Shared, servers: Any, arrays: Server, queue: Server, now_ns: int) -> None:
    """Send the next request to a server, or let it wait in the queue."""
    i = v.at.arrived
    v.at.arrived += 1
    if v.at.one_queue:
        put_in_queue(v, queue, i, now_ns)
        return
    if v.at.report_ns == 0 and v.at.sees_truth:  # true remaining times change all the time
        report_all(v, servers, arrays, now_ns)
    k = ask_router(v, servers, arrays, i, now_ns)
    if k >= 0:
        s = server_of(servers[k], v.jobs, arrays)
        send(v, s, i, now_ns)
        report_now(v, s, now_ns)


@inlined
def shared_of(at: Any, arrays: Shared) -> Shared:
    """Return what servers share, with the record of the service."""
    return Shared(
        at,
        pointer(arrays.jobs),
        pointer(arrays.record),
        pointer(arrays.columns),
        pointer(arrays.earliest),
        pointer(arrays.ends_ns),
        pointer(arrays.phase),
        pointer(arrays.began_ns),
        pointer(arrays.costs),
        pointer(arrays.prefill_ns),
        pointer(arrays.reserved),
        pointer(arrays.sizes_ns),
        pointer(arrays.true_sizes_ns),
        pointer(arrays.edges),
        pointer(arrays.spans),
        pointer(arrays.sent),
        pointer(arrays.active),
        pointer(arrays.first_known),
        pointer(arrays.last_known),
        pointer(arrays.next_known),
        pointer(arrays.known_tokens),
        pointer(arrays.known_prefill_ns),
        pointer(arrays.known_runs),
        pointer(arrays.begin),
        pointer(arrays.active_tokens),
        pointer(arrays.active_prefill_ns),
        pointer(arrays.active_runs),
    )


def serve_service(services: Any, shared: Shared, servers: Any, arrays: Server, work: int) -> int:
    """Go on with the earliest events until all requests are done, or so much work is done; compiled
    in `service_program`.

    Parameters
    ----------
    services : one record of SERVICE.
    servers : records of SERVER, and at last that of the queue of all servers.

    Returns
    -------
    1 if the service goes on, 0 if all requests are done or an error is noted.
    """
    v = shared_of(services[0], shared)
    queue = server_of(servers[v.at.servers], v.jobs, arrays)
    while v.at.done < v.at.requests:
        if work <= 0:
            return 1
        k = v.earliest[1]
        event_ns, other_ns = v.ends_ns[k], min(next_arrival_ns(v), next_report_ns(v))
        if min(event_ns, other_ns) == NEVER:
            v.at.error = NO_EVENT
            return 0
        s = server_of(servers[k], v.jobs, arrays)
        if event_ns <= other_ns and v.phase[k] == COMMIT:
            work -= 1
            end_step(v, s)
            report_now(v, s, event_ns)
        elif event_ns < other_ns:
            work -= 1 + s.at.running
            take_decision(v, s, queue, event_ns)
            report_now(v, s, event_ns)
        else:
            work -= 1 + v.at.servers // 8
            if next_report_ns(v) == other_ns:
                v.at.next_report_ns += v.at.report_ns
                report_all(v, servers, arrays, other_ns)
            else:
                take_arrival(v, servers, arrays, queue, other_ns)
        if s.at.error or queue.at.error or v.at.error:
            return 0
    return 0
