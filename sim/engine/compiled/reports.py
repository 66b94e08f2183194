"""What a router knows of several servers, in the compiled loop: the reports of the servers, and the
active requests that it knows of. Times and names are those of `RoutedServer.report`.
"""

from typing import Any

from lapsd.sim.engine.compiled.call import compiled
from lapsd.sim.engine.compiled.flat_server import Server
from lapsd.sim.engine.compiled.flat_service import (
    ACTIVE_LENGTHS,
    COMMIT,
    KV_TOKENS,
    RUNNING,
    TRUE_WORK,
    WAITING,
    WORK,
    Shared,
)
from lapsd.sim.engine.loop import server_of


@compiled
def report(v: Shared, s: Server, now_ns: int) -> None:
    """Write what the router may know of a server now."""
    k, count = s.at.number, v.at.servers
    v.columns[WAITING * count + k] = s.at.waiting + s.at.inbox
    v.columns[RUNNING * count + k] = s.at.running
    v.columns[WORK * count + k] = s.at.work_ns
    if v.at.sees_truth:
        over_ns = now_ns - v.began_ns[k] if v.phase[k] == COMMIT else 0
        v.columns[TRUE_WORK * count + k] = max(0, s.at.true_work_ns - over_ns)
    if v.at.sees_kv_tokens:
        tokens = 0
        for n in range(s.at.running):
            job = s.jobs[s.running[n]]
            tokens += job.prompt_tokens + job.tokens
        v.columns[KV_TOKENS * count + k] = tokens
    if v.at.sees_active:
        report_active(v, k)


@compiled
def report_now(v: Shared, s: Server, now_ns: int) -> None:
    """Write what the router may know of a server that has changed, if it sees the present."""
    if v.at.report_ns == 0 and not v.at.one_queue:
        report(v, s, now_ns)


@compiled
def report_all(v: Shared, servers: Any, arrays: Server, now_ns: int) -> None:
    """Write what the router may know of all servers now."""
    for k in range(v.at.servers):
        report(v, server_of(servers[k], v.jobs, arrays), now_ns)


@compiled
def add_known(v: Shared, i: int, k: int) -> None:
    """Let the router know of a request that was sent to a server."""
    v.next_known[i] = -1
    v.known_tokens[i] = v.jobs[i].predicted_tokens
    v.known_prefill_ns[i] = v.jobs[i].prefill_cost_ns
    v.known_runs[i] = 0
    if v.first_known[k] < 0:
        v.first_known[k] = i
    else:
        v.next_known[v.last_known[k]] = i
    v.last_known[k] = i


@compiled
def report_active(v: Shared, k: int) -> None:
    """Write what the router may know of the active requests of a server now."""
    i, kept = v.first_known[k], -1
    v.first_known[k] = -1
    while i >= 0:
        job, following = v.jobs[i], v.next_known[i]
        if job.tokens < job.output_tokens:
            v.known_tokens[i] = max(0, job.predicted_tokens - job.tokens)
            v.known_prefill_ns[i] = job.prefill_cost_ns if job.rounds == 0 else 0
            v.known_runs[i] = 1 if job.running else 0
            if kept < 0:
                v.first_known[k] = i
            else:
                v.next_known[kept] = i
            kept = i
            v.next_known[i] = -1
        i = following
    v.last_known[k] = kept


@compiled
def list_active(v: Shared) -> None:
    """List the active requests that the router knows of, one server after the other."""
    count = 0
    for k in range(v.at.servers):
        v.begin[k] = count
        i = v.first_known[k]
        while i >= 0:
            v.active_tokens[count] = v.known_tokens[i]
            v.active_prefill_ns[count] = v.known_prefill_ns[i]
            v.active_runs[count] = v.known_runs[i]
            count += 1
            i = v.next_known[i]
    v.begin[v.at.servers] = count
    for word in ACTIVE_LENGTHS:
        v.record[word] = count
