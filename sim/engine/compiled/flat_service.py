"""Several servers as a record and flat arrays: what they share, and what a router reads.

Knows nothing of Numba.
"""

from typing import Any, NamedTuple

import numpy as np

from lapsd.policies.routers.base import COLUMNS, OF_ACTIVE

COMMIT, DECISION = 0, 1  # what a server does next, at `ends_ns`
NOT_ALLOWED, NO_EVENT = 13, 14  # error codes, after those of servers

FIELDS = (
    "servers",
    "requests",
    "arrived",
    "released",
    "done",
    "think_ns",
    "one_queue",
    "route",  # method of the router, its parameters, and the record that it reads
    "router",
    "record_address",
    "draws",
    "random_address",
    "report_ns",
    "next_report_ns",
    "sees_truth",
    "sees_kv_tokens",
    "sees_caches",
    "sees_active",
    "ranks",  # of guardrails; 0: none
    "error",
    "error_ns",
    "error_request",
)
SERVICE = np.dtype([(name, "i8") for name in FIELDS], align=True)

# words of the record that the router reads: numbers, then the address and length of each array
NUMBERS = ("index", "arrival_ns", "prompt_tokens", "predicted_tokens", "count", "state")
ROUTE = {name: word for word, name in enumerate(NUMBERS)}
for _name in ("random", *COLUMNS, *OF_ACTIVE):
    ROUTE[_name] = len(NUMBERS) + 2 * (len(ROUTE) - len(NUMBERS))
WORDS = len(NUMBERS) + 2 * (1 + len(COLUMNS) + len(OF_ACTIVE))
REQUEST, RANDOM = ROUTE["index"], ROUTE["random"]
ACTIVE_LENGTHS = tuple(ROUTE[name] + 1 for name in OF_ACTIVE[1:])

ALLOWED, WAITING, RUNNING = (COLUMNS.index(n) for n in ("allowed", "waiting", "running"))
WORK, SIZE, TRUE_WORK = (COLUMNS.index(n) for n in ("work_ns", "size_ns", "true_work_ns"))
PREFILL = COLUMNS.index("prefill_ns")
KV_TOKENS, CACHED, FILLED = (
    COLUMNS.index(n) for n in ("kv_tokens", "cached_tokens", "filled_tokens")
)


class Shared(NamedTuple):
    """The record of a service, and arrays over S servers, N requests and C kinds of costs; in the
    compiled loop they are pointers (`call.pointer`).

    Attributes
    ----------
    at : record of SERVICE
    jobs : records of JOB (N,)
    record : int64 (WORDS,)
        What the router reads; see `ROUTE`.
    columns : int64 (columns * S,)
        Its arrays, one after the other, as the servers last reported.
    earliest : int64 (2 * S,)
        A tree of servers: entry S + k is server k, and entry n > 0 the one of entries 2n and 2n + 1
        whose next event comes first.
    ends_ns, phase : int64 (S,)
        The time of each server's next event, and which: `COMMIT` or `DECISION`.
    began_ns : int64 (S,)
        When its present step began.
    costs : int64 (S,)
        The kind of costs of each server.
    prefill_ns, reserved, sizes_ns, true_sizes_ns : int64 (C * N,)
        Of each request with each kind of costs: its prefill, reserved tokens, predicted and true
        time.
    edges, spans : int64 (ranks + 1,), (ranks,)
        Of guardrails: ends of ranks, and how far counters may differ.
    sent : int64 (ranks * S,)
        Counters of guardrails.
    active : int64 (S,)
        With guardrails, active requests.
    first_known, last_known : int64 (S,)
        Where the router sees active requests: those of each server that its last report lists or
        that were sent to it since, as a list in order of arrival; -1: none.
    next_known, known_tokens, known_prefill_ns, known_runs : int64 (N,)
        The next request of that list, and what the router knows of each.
    begin : int64 (S + 1,)
    active_tokens, active_prefill_ns, active_runs : int64 (N,)
        As in `Servers`, filled when the router is asked.
    """

    at: Any
    jobs: Any
    record: Any
    columns: Any
    earliest: Any
    ends_ns: Any
    phase: Any
    began_ns: Any
    costs: Any
    prefill_ns: Any
    reserved: Any
    sizes_ns: Any
    true_sizes_ns: Any
    edges: Any
    spans: Any
    sent: Any
    active: Any
    first_known: Any
    last_known: Any
    next_known: Any
    known_tokens: Any
    known_prefill_ns: Any
    known_runs: Any
    begin: Any
    active_tokens: Any
    active_prefill_ns: Any
    active_runs: Any
