"""Guardrails in the compiled loop, as `lapsd.sim.engine.guardrails`."""

from lapsd.sim.engine.compiled.call import compiled
from lapsd.sim.engine.compiled.flat_service import ALLOWED, Shared


@compiled
def rank_of(v: Shared, size_ns: int) -> int:
    """Return the rank of a size."""
    rank = 0
    while rank + 1 < v.at.ranks and size_ns >= v.edges[rank + 1]:
        rank += 1
    return rank


@compiled
def least_sent(v: Shared, rank: int) -> int:
    """Return the smallest counter of a rank."""
    least = v.sent[rank * v.at.servers]
    for k in range(1, v.at.servers):
        least = min(least, v.sent[rank * v.at.servers + k])
    return least


@compiled
def allow(v: Shared, size_ns: int) -> None:
    """Write which servers a request of a size may be sent to."""
    set_back(v)
    rank = rank_of(v, size_ns)
    least = least_sent(v, rank)
    for k in range(v.at.servers):
        counter = v.sent[rank * v.at.servers + k]
        safe = counter + size_ns <= least + v.spans[rank] or counter == least
        v.columns[ALLOWED * v.at.servers + k] = 1 if safe else 0


@compiled
def set_back(v: Shared) -> None:
    """Set counters of servers without requests back."""
    for rank in range(v.at.ranks):
        least = least_sent(v, rank)
        for k in range(v.at.servers):
            if v.active[k] == 0:
                v.sent[rank * v.at.servers + k] = least


@compiled
def count_sent(v: Shared, i: int, server: int) -> None:
    """Count a request that is sent to a server."""
    size_ns = v.sizes_ns[v.costs[0] * v.at.requests + i]
    v.sent[rank_of(v, size_ns) * v.at.servers + server] += size_ns
    v.active[server] += 1


@compiled
def count_leaving(v: Shared, i: int) -> None:
    """Count a request that leaves its server."""
    v.active[v.jobs[i].server] -= 1
