"""Estimates from a priced trace, in integers: mean round time and size of requests."""

from fractions import Fraction

import numpy as np
from hypothesis import given, strategies as st

from lapsd.traces import Costs, Linear, Profile, RoundTerms, price, trace_from_rounds
from tests.builders import profiles, row, traces

# a round of n drafts costs 10 n + 100 without context, and n + 1 per context token
TERMS = RoundTerms(Linear(10, 1), {1: 100}, {1: 1}, 0)
PROFILE = Profile("by_hand", "unknown", Costs({1: TERMS}, *[Linear(0, 0)] * 3))


def test_the_mean_round_time_is_at_the_median_context_rounded_down():
    # prompt + output // 2: 6 + 9 // 2 = 10, and 10 + 6 // 2 = 13; their median is 11.5
    rows = [row("a", 6, [2, 2, 2], n=2), row("b", 10, [1, 1, 1], n=2)]
    assert price(trace_from_rounds(rows), PROFILE).mean_round_ns() == 10 * 2 + 100 + (2 + 1) * 11


def test_the_mean_round_time_over_several_draft_lengths_is_rounded_once():
    # at context 11, a round costs 111 at n = 0 and 174 at n = 3; the exact means are 156 (five of
    # seven rounds draft 3), 153 (four of six) and 136.2 (two of five)
    for drafted, mean in (
        ([0, 0, 3, 3, 3, 3, 3], 156),
        ([0, 0, 3, 3, 3, 3], 153),
        ([0, 0, 0, 3, 3], 136),
    ):
        one = row("a", 11 - len(drafted) // 2, [0] * len(drafted)) | {"drafted": drafted}
        assert price(trace_from_rounds([one]), PROFILE).mean_round_ns() == mean


def test_the_mean_size_is_prefill_plus_the_request_share_of_batched_rounds():
    costs = Costs(dict.fromkeys((1, 2), TERMS), Linear(7, 50), *[Linear(0, 0)] * 2)
    trace = trace_from_rounds([row("a", 1, [0, 0], n=0), row("b", 11, [0], n=0)])
    for batch in (1, 2):
        rounds = 3 * 100 + batch * (1 + 2 + 11)  # all requests of the batch have similar contexts
        priced = price(trace, Profile("by_hand", "unknown", costs), batch)
        assert priced.mean_size_ns == (7 + 10 * 50 + rounds / batch) / 2


@given(traces(), profiles(), st.integers(1, 10**12))
def test_estimated_decode_times_are_exact_quotients_rounded_down(trace, profile, mean_round):
    found = price(trace, profile).estimated_ns(mean_round)
    assert found.dtype == np.int64
    for i in range(len(trace)):
        rounds, accepted = int(trace.rounds[i]), int(trace.accepted[trace.rounds_of(i)].sum())
        exact = Fraction(mean_round * rounds * int(trace.output_tokens[i]), accepted + rounds)
        assert found[i] == exact // 1
