"""One server as a record and flat arrays: what the compiled loop reads and writes.

`SERVER` is the record: the capacity, the costs, the policy, and the state of the server. `Server`
holds the record with the arrays of one run. Knows nothing of Numba.
"""

from typing import Any, NamedTuple

import numpy as np

from lapsd.sim.engine.compiled.job import KEYS

NEVER = 2**62  # a time or a count that no run reaches

# memory managers, ways to prefill prompts, and places of a request's KV cache
SLOTS, TOKENS, RESERVE, PAGED, FASTSERVE, ALISE = range(6)
ALONE, BATCHED, IN_STEPS = range(3)
NOWHERE, RESIDENT, LEAVING, COMING, SWAPPED_OUT = range(5)
NOT_QUANTISED, MOVED_QUANTISED, ALL_QUANTISED = range(3)

# a recorded round: drafted tokens from this bit on, accepted ones in the bits of this mask
DRAFTED, ACCEPTED = 32, 2**32 - 1

# Methods that a policy may have, and error codes of the server, which follow those of `job`
RANK, ON_ROUND, ON_EVENT, REMAINING_NS, WAKE, CHOOSE = range(6)
METHODS = ("rank", "on_round", "on_event", "remaining_ns", "wake")
DOES_NOT_FIT, NO_TRANSFER, OUT_OF_RANGE = 10, 11, 12

# a key of a request: its rank, whether it waits, and its entry into the queue; then its index
WAITS, ENTERED, WIDTH = KEYS, KEYS + 1, KEYS + 2

CAPACITY = (
    "requests",
    "think_ns",
    "batch",
    "manager",
    "limited",  # whether memory can be lacking at all
    "room",  # slots, tokens or blocks
    "slots",  # with `tokens`, which limits both
    "block",
    "hashed",  # blocks of memory in a block that has a hash; 0: prefixes are not cached
    "parks",  # paged: whether waiting requests keep their blocks until these are needed
    "drops",  # whether an evicted cache is computed again
    "prefill",
    "budget",
    "host",
    "high",
    "low",
    "int8",
    "quantise_ns",
    "overlap",
)
COSTS = (
    "out_base_ns",
    "out_per_token_ns",
    "in_base_ns",
    "in_per_token_ns",
    "prefill_in_pieces",  # whether a table holds the following two
    "prefill_base_ns",
    "prefill_per_token_ns",
    "prefill_per_square_ps",
    "draft_lengths",  # columns of the tables of rounds
    "timed_steps",  # whether steps with prompts have costs of their own
)
POLICY = (
    "policy",
    *METHODS,
    "ages",
    "writes_in_rounds",  # whether `on_round` may write to arrays of the policy
)
DRAFTS = (
    "choose_drafts",  # method of the draft policy; 0: drafts are as recorded
    "draft_policy",
    "step_address",
    "lengths_address",
    "verify_base_address",
    "verify_per_token_address",
    "most",
    "padded",
    "switch_ns",
    "late",  # whether the policy sees requests as they were a round ago
    "sees_truth",
    "confident",
    "columns",  # the columns that the policy reads, as bits
)
ADDRESSES = ("jobs_address", "keys_address", "out_address")
# one of several servers: what it shares with others, and what a router sees of it
SHARED = (
    "number",
    "one_queue",  # whether requests that have not started wait in the queue of all servers
    "counts_work",  # whether the remaining times of requests are added up
    "token_ns",
    "kv_capacity",
    "costs",  # which of the servers' costs it has
    "state_address",  # of the State of request 0, and the bytes of one
    "state_bytes",
    "draft_state_address",
)
# where a server's own part of each shared array begins
STARTS = (
    "requests_at",
    "batch_at",
    "rounds_at",
    "prefill_row",
    "prefill_entry",
    "step_sizes",
    "step_row",
    "step_base",
    "step_context",
    "step_draft",
    "verify_row",
    "verify_entry",
    "draft_terms",
    "prefixes_at",
)
STATE = (
    "now_ns",
    "ends_ns",  # of the present step, and what its rounds take
    "step_ns",
    "left",  # requests that left at the end of the latest step
    "aside",
    "inbox_first",  # the requests that were sent to it since its latest decision
    "inbox_last",
    "inbox",
    "work_ns",
    "true_work_ns",
    "arrived",  # so many requests have arrived,
    "released",  # and of so many the arrival is known
    "done",
    "rounds",
    "idle_ns",
    "waiting",  # numbers of entries of the lists of `Server`
    "running",
    "fresh",
    "parked",
    "ordered",
    "resident",  # numbers of requests by place
    "swapped_out",
    "rank_again",  # whether the policy's own state changed
    "held",  # blocks: of all caches, of those on their way out, and of those on their way in
    "held_leaving",
    "held_coming",
    "host_tokens",
    "first_owner",  # the line of free blocks
    "last_owner",
    "unowned_at_end",
    "uses",  # of prompt blocks that have a hash by resident requests,
    "used",  # and the number of such blocks with users,
    "unused",  # and of computed ones without, which form a list
    "first_unused",
    "last_unused",
    "out_free_ns",  # when the engine of swap-outs, and of swap-ins, has done its last transfer
    "in_free_ns",
    "last_requests",  # of the latest step with decoding requests, and of the one before
    "last_drafted",
    "last_accepted",
    "last_length",
    "before_requests",
    "before_drafted",
    "before_accepted",
    "before_length",
    "error",
    "error_method",
    "error_ns",
    "error_request",
)
SERVER = np.dtype(
    [
        ("first", "i8"),
        *[
            (n, "i8")
            for n in (*CAPACITY, *COSTS, *POLICY, *DRAFTS, *ADDRESSES, *SHARED, *STARTS, *STATE)
        ],
    ],
    align=True,
)


class StepTables(NamedTuple):
    """Costs of steps with prompts, by number of requests and number of tokens.

    Attributes
    ----------
    sizes : int64 (4 * (batch + 1),)
        For each number of requests the rows of the tables below and above it, and the fraction of
        the way between them.
    base_at, context_at : int64 (rows + 1,)
        The entries of each row in the following arrays.
    base_tokens, base_ns, context_tokens, per_context_ns : int64
        Numbers of tokens, ascending, and costs: without context, and per token of the contexts.
    draft_base_ns, draft_per_token_ns : int64 (rows,)
        Costs of a draft step: without context, and per token of the decoding requests' contexts.
    """

    sizes: Any
    base_at: Any
    context_at: Any
    base_tokens: Any
    base_ns: Any
    context_tokens: Any
    per_context_ns: Any
    draft_base_ns: Any
    draft_per_token_ns: Any


class DraftTables(NamedTuple):
    """Arrays that a draft policy reads and writes, and the costs of its drafts.

    Attributes
    ----------
    step : int64 (WORDS,)
        The record that the policy reads; see `compiled/drafts.py`.
    columns : int64 (8 * batch,)
        The arrays of that record, one after the other.
    lengths, decoding : int64 (batch,)
        Draft lengths of a step, and the requests that they belong to.
    runs : int64 (output positions of all rows,)
        How many proposals are accepted in a row from a position.
    verify_at : int64 (batch + 2,)
        The entries of each number of requests in the following two.
    verify_base, verify_per_token : int64
        As in `RaggedRound`.
    draft_terms : int64 (3 * (batch + 1),)
        As in `RaggedRound`: base, per token and divisor.
    rates : float64 (most rounds of all requests,)
        Accepted over drafted tokens, by request and committed rounds.
    confidence : float64 (output positions of all rows,)
    beyond : float64 (1,)
    confidences : float64 (batch * most,)
    """

    step: Any
    columns: Any
    lengths: Any
    decoding: Any
    runs: Any
    verify_at: Any
    verify_base: Any
    verify_per_token: Any
    draft_terms: Any
    rates: Any
    confidence: Any
    beyond: Any
    confidences: Any


class PrefixTables(NamedTuple):
    """The cached blocks of prompts in a server; see `compiled/prefixes.py`.

    Attributes
    ----------
    users, computed, listed, older, newer : int64 (different hashes of the trace,)
        By hash: the requests that use the block, whether its tokens are computed, whether it is in
        the list of computed blocks without users, and its neighbours there.
    counted : int64 (different hashes of the trace,)
        The last choice for which the block was counted.
    choice : int64 (1,)
        The number of the present choice.
    """

    users: Any
    computed: Any
    listed: Any
    older: Any
    newer: Any
    counted: Any
    choice: Any


DRAFT_FLOATS = ("rates", "confidence", "beyond", "confidences")


class Server(NamedTuple):
    """The record of a server, the requests of one run, and lists of their indices.

    Arrays have one dimension; in the compiled loop they are pointers (`call.pointer`).

    Attributes
    ----------
    at : record of SERVER
    jobs : records of JOB (requests,)
    keys : int64 (requests * WIDTH,)
        Key of each waiting request, and of each running one at the last decision.
    waiting : int64 (requests,)
        A heap by key; in order if the manager's KV transfers are asynchronous.
    running : int64 (batch,)
    chosen, fresh : int64 (batch,)
        The chosen requests of the present decision, and those among them that did not run before.
    parked : int64 (requests,)
        Waiting requests whose cache is resident; with asynchronous KV transfers, requests whose
        cache is on its way.
    ordered, some : int64 (requests,)
        With asynchronous KV transfers: all active requests in order, and a part of them.
    waits_ns : int64 (requests,)
        Estimated waiting time of a request.
    out : int64 (1,)
        An argument of a method of the policy.
    rounds : int64 (recorded rounds,)
        Drafted and accepted tokens of a round in one word: see `DRAFTED` and `ACCEPTED`.
    round_base_ns, round_per_token_ns : int64 ((batch + 1) * draft_lengths,)
    prefill_at, prefill_tokens, prefill_ns : int64
        A table of prefills by tokens, as those of `StepTables`, where there is one.
    hashes : int64 (prompt blocks of all rows,)
        The hash of each block, as a number from 0 on.
    steps : StepTables
    drafts : DraftTables
    prefixes : PrefixTables
    """

    at: Any
    jobs: Any
    keys: Any
    waiting: Any
    running: Any
    chosen: Any
    fresh: Any
    parked: Any
    ordered: Any
    some: Any
    waits_ns: Any
    out: Any
    rounds: Any
    round_base_ns: Any
    round_per_token_ns: Any
    prefill_at: Any
    prefill_tokens: Any
    prefill_ns: Any
    hashes: Any
    steps: StepTables
    drafts: DraftTables
    prefixes: PrefixTables
