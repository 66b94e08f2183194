"""The record of a request in the compiled program, and the number of keys of a rank.

The first fields are the fields of `policies.Job`; a policy sees no others. The others belong to the
loop. Knows nothing of Numba.
"""

import numpy as np

KEYS = 4  # int64 keys of a rank; a shorter rank is filled with zeros

# error codes of a policy's methods
NOT_A_NUMBER = 1  # a part of the rank is NaN
RAISED = 2  # the method raised an exception

# kinds of events
ARRIVAL, COMPLETION = 0, 1
EVENT_KINDS = ("arrival", "completion")

POLICY_FIELDS = (
    ("index", "i8"),
    ("arrival_ns", "i8"),
    ("prompt_tokens", "i8"),
    ("predicted_tokens", "i8"),
    ("rounds", "i8"),
    ("tokens", "i8"),
    ("service_ns", "i8"),
    ("drafted", "i8"),
    ("accepted", "i8"),
    ("queue", "i8"),
    ("started", "?"),
    ("running", "?"),
)
WRITABLE = frozenset({"queue"})  # by a policy

# addresses: of the float64 rates accepted / drafted after 0, 1, ... committed rounds, and of the
# State that the policy keeps of the request (0 without one)
ADDRESSES = (("rates_address", "i8"), ("state_address", "i8"))

# what the loop keeps of a request: see `Request`, and `paged` and `transfers` for the last ones
LOOP_FIELDS = (
    # fields that every round reads stand together
    ("entered_ns", "i8"),
    ("first_round", "i8"),
    ("output_tokens", "i8"),
    ("uncomputed_tokens", "i8"),
    ("given_tokens", "i8"),
    ("place", "i8"),
    ("held", "i8"),
    ("chosen", "i8"),
    ("prefill_cost_ns", "i8"),
    ("prefill_ns", "i8"),
    ("cached_tokens", "i8"),
    ("first_service_ns", "i8"),
    ("first_token_ns", "i8"),
    ("finish_ns", "i8"),
    ("switch_ns", "i8"),
    ("preemptions", "i8"),
    ("first_tokens", "i8"),
    ("parked_at", "i8"),
    ("reserved", "i8"),
    ("owned", "i8"),
    ("unowned_before", "i8"),
    ("next_owner", "i8"),
    ("previous_owner", "i8"),
    ("transfer_ns", "i8"),
    # with a prefix cache: the blocks of its prompt that have a hash
    ("first_hash", "i8"),
    ("hashes", "i8"),
    # with several servers: see `service_loop`
    ("server", "i8"),
    ("next_sent", "i8"),
    ("size_ns", "i8"),
    ("true_size_ns", "i8"),
    # with a draft policy: see `drafts`
    ("first_position", "i8"),
    ("first_rate", "i8"),
    ("next_drafted", "i8"),
    ("rejected", "i8"),
    ("seen_tokens", "i8"),
    ("seen_drafted", "i8"),
    ("seen_accepted", "i8"),
    ("seen_rejected", "i8"),
)

JOB = np.dtype([*POLICY_FIELDS, *ADDRESSES, *LOOP_FIELDS], align=True)
