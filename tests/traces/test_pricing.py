"""What is estimated of a priced trace: the mean round and whole requests, in integers."""

from fractions import Fraction

import numpy as np
from hypothesis import given, strategies as st

from lapsd.traces import Costs, Linear, Profile, RoundTerms, price, trace_from_rounds
from tests.builders import profiles, row, traces

# a round of n drafts costs 10 n + 100 at no context, and n + 1 more a context token
TERMS = RoundTerms(Linear(10, 1), {1: 100}, {1: 1}, 0)
PROFILE = Profile("by_hand", "unknown", Costs({1: TERMS}, *[Linear(0, 0)] * 3))


def test_the_mean_round_is_that_of_the_median_context_rounded_down():
    # prompt + output // 2: 6 + 9 // 2 = 10, and 10 + 6 // 2 = 13; their median is 11.5
    rows = [row("a", 6, [2, 2, 2], n=2), row("b", 10, [1, 1, 1], n=2)]
    assert price(trace_from_rounds(rows), PROFILE).mean_round_ns() == 10 * 2 + 100 + (2 + 1) * 11


def test_of_several_draft_lengths_it_is_the_mean_over_rounds_rounded_once():
    # at context 11: n = 0 costs 111, n = 3 costs 174; of seven rounds five draft 3: 156 exactly; of
    # six four: 153
    for drafted, mean in (
        ([0, 0, 3, 3, 3, 3, 3], 156),
        ([0, 0, 3, 3, 3, 3], 153),
        ([0, 0, 0, 3, 3], 136),
    ):
        one = row("a", 11 - len(drafted) // 2, [0] * len(drafted)) | {"drafted": drafted}
        assert price(trace_from_rounds([one]), PROFILE).mean_round_ns() == mean  # 136.2 of the last


def test_the_mean_size_is_prefill_and_a_share_of_rounds_that_a_batch_runs_together():
    costs = Costs(dict.fromkeys((1, 2), TERMS), Linear(7, 50), *[Linear(0, 0)] * 2)
    trace = trace_from_rounds([row("a", 1, [0, 0], n=0), row("b", 11, [0], n=0)])
    for batch in (1, 2):
        rounds = 3 * 100 + batch * (1 + 2 + 11)  # beside others of like contexts
        priced = price(trace, Profile("by_hand", "unknown", costs), batch)
        assert priced.mean_size_ns == (7 + 10 * 50 + rounds / batch) / 2


@given(traces(), profiles(), st.integers(1, 10**12))
def test_estimates_of_whole_requests_are_exact_quotients_rounded_down(trace, profile, mean_round):
    found = price(trace, profile).estimated_ns(mean_round)
    assert found.dtype == np.int64
    for i in range(len(trace)):
        rounds, accepted = int(trace.rounds[i]), int(trace.accepted[trace.rounds_of(i)].sum())
        exact = Fraction(mean_round * rounds * int(trace.output_tokens[i]), accepted + rounds)
        assert found[i] == exact // 1
