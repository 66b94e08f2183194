"""Costs of rounds whose requests send different numbers of tokens, against values by hand."""

from dataclasses import replace

import pytest

from lapsd.traces import Costs, Linear, RoundTerms, ragged_round

FREE = Linear(0, 0)
# verifications of 1 and 3 tokens per request; half as long again at batch size 3
TERMS = RoundTerms(Linear(10, 1), {1: 100, 3: 160}, {1: 2, 3: 4}, 5)
LARGE = RoundTerms(Linear(30, 3), {1: 200, 3: 320}, {1: 4, 3: 8}, 5)
COSTS = Costs({1: TERMS, 3: LARGE}, FREE, FREE, FREE)


def test_the_cost_depends_on_the_tokens_of_all_requests_and_on_the_longest_draft():
    cost = ragged_round(COSTS, 1, 2)
    assert cost.verify_base.tolist() == [105, 105, 135, 165]
    assert cost.verify_per_token.tolist() == [2, 2, 3, 4]
    assert cost(3, 2, 10) == 165 + 2 * 10 + (4 + 2 * 1) * 10
    assert cost(2, 2, 10) == 135 + 2 * 10 + (3 + 2 * 1) * 10  # one draft token is not sent


def test_a_batch_sends_tokens_at_widths_times_its_size():
    cost = ragged_round(COSTS, 3, 2)
    # widths 1 and 3 are 3 and 9 tokens; in between 320 - 200 over 6 tokens
    assert cost.verify_base.tolist() == [205, 205, 205, 205, 225, 245, 265, 285, 305, 325]
    assert cost(5, 2, 0) == 245 + 2 * 30


def test_between_two_batch_sizes_costs_are_linear():
    cost = ragged_round(COSTS, 2, 2)
    assert cost.divisor == 2
    # 2 requests, 2 tokens: width 1 at both sizes; the mean of 105 and 205, of 10 and 30
    assert cost(2, 0, 0) == 155
    assert cost(6, 2, 0) == (165 + 325) // 2 + 2 * 20


def test_a_verification_takes_the_time_of_the_next_captured_graph():
    cost = ragged_round(COSTS, 1, 2, graph_sizes=(2, 3))
    assert cost.verify_base.tolist() == [135, 135, 135, 165]
    beyond = ragged_round(COSTS, 1, 2, graph_sizes=(1, 2))
    assert beyond.verify_base.tolist() == [105, 105, 135, 165]


def test_what_the_profile_does_not_price_is_refused():
    only = replace(COSTS, only_draft_tokens=3)
    with pytest.raises(ValueError, match="covers rounds of 3 draft tokens only"):
        ragged_round(only, 1, 2)
    with pytest.raises(ValueError, match="drafts of 3 tokens: .* up to 3 tokens per request"):
        ragged_round(COSTS, 1, 3)
    with pytest.raises(ValueError, match="batch size 4: the profile covers 1 to 3"):
        ragged_round(COSTS, 4, 2)
    huge = replace(COSTS, rounds={1: replace(TERMS, verify_base_ns={1: 1, 3: 2**62})})
    with pytest.raises(ValueError, match="more than 64 bits can hold"):
        ragged_round(huge, 1, 2)
