"""Extreme profiles, traces and settings: the answer is that of exact integers, or one line."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, Alise, Gittins, LapsSD, PolicyContext, TimeModel
from lapsd.sim.experiment.prepared_scenario import policy_context
from lapsd.traces import (
    Costs,
    Linear,
    Profile,
    RoundTerms,
    Swap,
    Workload,
    price,
    trace_from_rounds,
)
from lapsd.traces.bounds import MOST_NS, MOST_TOKENS
from lapsd.traces.costs import MAX_NS, Piecewise, Quadratic
from lapsd.traces.predictors import Noisy, Regressed

COSTS = st.sampled_from([0, 1, 999, 10**6, 10**9, 10**12, MAX_NS - 1, MAX_NS])
TIMES = st.sampled_from([0, 1, 10**9, 10**15, 10**17, 8 * 10**17])
TOKENS = st.sampled_from([0, 1, 2, 18_448, 200_000, MOST_TOKENS])
DRAFTED = st.sampled_from([0, 1, 7, 1_000])


@st.composite
def profiles(draw):
    """Profiles whose costs reach the largest that a file may hold."""
    line = st.builds(Linear, COSTS, COSTS)
    table = st.dictionaries(st.sampled_from([1, 2, 64, 4_096]), COSTS, min_size=1)
    prefill = st.one_of(
        line, st.builds(Quadratic, COSTS, COSTS, COSTS), st.builds(Piecewise, table, COSTS)
    )
    base = st.dictionaries(st.sampled_from([1, 2, 8, 64]), COSTS.filter(bool), min_size=1)
    terms = st.builds(RoundTerms, line, base, table, COSTS)
    rounds = {size: draw(terms) for size in (1, 4)}
    swap = Swap(draw(line), draw(line))
    costs = Costs(rounds, draw(prefill), swap.out, swap.back)
    return Profile("by_hand", "unknown", costs).with_swap(scale=draw(st.sampled_from([1.0, 1e6])))


@st.composite
def traces(draw):
    """Traces of one to three requests of few rounds, some with very long prompts."""
    rows = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        drafted = draw(st.lists(DRAFTED, min_size=1, max_size=3))
        accepted = [draw(st.integers(0, n)) for n in drafted]
        rows.append(
            {
                "request_id": name,
                "dataset": "d",
                "prompt_tokens": draw(TOKENS),
                "output_tokens": sum(accepted) + len(accepted),
                "drafted": drafted,
                "accepted": accepted,
            }
        )
    return trace_from_rounds(rows)


def prefill_ns(cost, tokens):
    """Return the cost of a prompt, by the documented formulas."""
    if isinstance(cost, Piecewise):
        return width_ns(cost.base_ns, tokens) + cost.per_square_ps * tokens**2 // 1_000
    square = getattr(cost, "per_square_ps", 0) * tokens**2 // 1_000
    return cost.base_ns + cost.per_token_ns * tokens + square


def width_ns(table, width):
    """Return a table's value at a width, by the documented interpolation."""
    known = sorted(table)
    if width <= known[0] or len(known) == 1:
        return table[known[0]]
    right = next((w for w in known if w >= width), known[-1])
    left = max(w for w in known if w < right)
    value = table[left] + (table[right] - table[left]) * (width - left) // (right - left)
    return value if width <= right else max(value, table[right])


def times_of(trace, costs):
    """Return the rounds and the prefill of each request in exact integers."""
    terms = costs.rounds[1]
    for row in range(len(trace)):
        context, rounds = int(trace.prompt_tokens[row]), []
        for n, accepted in zip(
            trace.drafted[trace.rounds_of(row)].tolist(),
            trace.accepted[trace.rounds_of(row)].tolist(),
            strict=True,
        ):
            draft = n * (terms.draft_step.base_ns + terms.draft_step.per_token_ns * context)
            verify = width_ns(terms.verify_base_ns, n + 1)
            verify += width_ns(terms.verify_per_token_ns, n + 1) * context
            rounds.append(draft + verify + terms.host_ns)
            context += accepted + 1
        to_cache = int(trace.prompt_tokens[row]) - 1
        yield rounds, prefill_ns(costs.prefill, to_cache) if to_cache > 0 else 0


def one_line(error):
    """Assert that an error is one line that names a value and its bound."""
    assert "\n" not in str(error)
    assert "must be at most" in str(error)
    return str(error)


@settings(settings.get_profile("unshrunk"), max_examples=120)
@given(profiles(), traces())
def test_prices_are_exact_or_refused(profile, trace):
    try:
        priced = price(trace, profile)
    except ValueError as error:
        one_line(error)
        return
    for row, (rounds, prefill) in enumerate(times_of(trace, profile.costs)):
        assert priced.round_ns[trace.rounds_of(row)].tolist() == rounds
        assert int(priced.prefill_ns[row]) == prefill
        assert int(priced.decode_ns[row]) == sum(rounds)
        assert int(priced.size_ns[row]) == sum(rounds) + prefill <= 2 * MOST_NS
    mean = priced.mean_round_ns()
    estimates = [
        mean * int(r) * int(n) // int(a + r)
        for r, n, a in zip(
            trace.rounds, trace.output_tokens, trace.per_request(trace.accepted), strict=True
        )
    ]
    assert priced.estimated_ns(mean).tolist() == estimates


CAPACITIES = st.builds(
    Capacity,
    batch=st.sampled_from([1, 2]),
    kv_slots=st.sampled_from([2, "unlimited"]),
    evict=st.sampled_from(["swap", "recompute"]),
    prefill=st.sampled_from(["alone", "batched", "mixed", "chunked"]),
    token_budget=st.sampled_from([2_048, 10**15]),
)
POLICIES = st.sampled_from([FCFS(), LapsSD(gamma=1, delta=1.0), Alise(overrun=1000.0), Gittins()])


@settings(settings.get_profile("unshrunk"), max_examples=60)
@given(profiles(), traces(), CAPACITIES, POLICIES, TIMES, TIMES, st.sampled_from([None, 1]))
def test_runs_are_those_of_exact_integers_or_refused(
    profile, trace, capacity, policy, gap_ns, think_ns, clients
):
    """The specification counts in Python's integers, the compiled loop in 64 bits."""
    try:
        priced = price(trace, profile)
    except ValueError as error:
        one_line(error)
        return
    requests = np.arange(3) % len(trace)
    arrival_ns = np.arange(3) * (0 if clients else gap_ns)
    predicted = np.array([1, 400, MOST_TOKENS])
    work = Workload(priced, requests, arrival_ns, predicted, 0, clients, think_ns)
    context = policy_context(priced)
    ends = []
    for engine in ("simpy", "compiled"):
        try:
            run = simulate(work, policy, context=context, capacity=capacity, engine=engine)
        except ValueError as error:
            ends.append(str(error))
        else:
            columns = (run.arrival_ns, run.finish_ns, run.service_ns, run.switch_ns)
            ends.append([column.tolist() for column in columns] + [run.end_ns, run.idle_ns])
    assert ends[0] == ends[1]
    if isinstance(ends[0], str) and "token_budget" not in ends[0]:
        one_line(ends[0])


def test_time_models_and_estimates_are_exact_for_many_past_rounds():
    model = TimeModel(0, 3, 50_000_000, rounds=10**9 - 1, tokens=3 * 10**9)
    expected = 10**6 * (3 * 1_000 + 50_000_000) * (10**9 - 1) // (3 * 10**9)
    assert model.decode_ns(1_000, 10**6) == expected


@pytest.mark.parametrize("predictor", [Noisy(10.0), Regressed(0.5)])
def test_predictions_are_bounded_and_keep_their_order(predictor):
    rows = [
        {
            "request_id": str(n),
            "dataset": "d",
            "prompt_tokens": 1,
            "output_tokens": n,
            "drafted": [n],
            "accepted": [n - 1],
        }
        for n in (1, 10, 1_000, 30_000)
    ]
    trace = trace_from_rounds(rows)
    predicted = predictor.predict(np.tile(np.arange(4), 500), trace, 0).reshape(-1, 4)
    assert predicted.min() >= 1
    assert predicted.max() <= MOST_TOKENS


def test_a_large_estimate_is_refused_by_both_programs():
    profile = Profile.constant(draft_ms=0, verify_ms=1e6)
    trace = trace_from_rounds(
        [
            {
                "request_id": "a",
                "dataset": "d",
                "prompt_tokens": 1,
                "output_tokens": 1,
                "drafted": [0],
                "accepted": [0],
            }
        ]
    )
    priced = price(trace, profile)
    work = Workload(priced, np.zeros(1, int), np.zeros(1, int), np.array([MOST_TOKENS]))
    for engine in ("simpy", "compiled"):
        with pytest.raises(ValueError, match="policy laps-sd, estimates for .* must be at most"):
            simulate(work, LapsSD(), context=PolicyContext(10**12, [10**12]), engine=engine)
