"""Tests that fits recover known costs despite jitter and interruptions."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lapsd.calibrate.fitting.linear import errors, fit_linear, fit_mean
from lapsd.traces import Linear


def test_a_known_line_is_recovered_despite_jitter_and_interruptions():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 1_000, size=2_000)
    truth = 4_000_000 + 900 * tokens
    ns = truth * rng.normal(1, 0.05, size=2_000)
    ns[rng.random(2_000) < 0.02] *= 10  # 2 % of the samples are interrupted
    fit = fit_linear(tokens, ns.astype(np.int64))
    assert isinstance(fit.term.base_ns, int)
    assert isinstance(fit.term.per_token_ns, int)
    assert fit.term.base_ns == pytest.approx(4_000_000, rel=0.02)
    assert fit.term.per_token_ns == pytest.approx(900, rel=0.1)
    assert fit.error.median_error < 0.06
    assert fit.error.samples == 1_000


def test_the_fitted_cost_is_the_mean_of_costs_with_jitter():
    ns = np.random.default_rng(1).lognormal(15, 0.15, size=4_000)
    fit = fit_linear(np.zeros(4_000, dtype=np.int64), ns.astype(np.int64))
    assert fit.term.base_ns == pytest.approx(ns.mean(), rel=0.02)


def test_fitted_bases_and_slopes_are_not_negative():
    tokens = np.arange(1, 101)
    falling = fit_linear(tokens, 1_000_000 - 1_000 * tokens).term
    through_zero = fit_linear(tokens, 50 * tokens).term
    assert falling.per_token_ns == 0
    assert through_zero.base_ns >= 0
    assert through_zero.per_token_ns == pytest.approx(50, abs=1)


def test_a_single_sample_gives_a_constant_cost():
    assert fit_linear(np.array([7]), np.array([5_000])).term(7) == pytest.approx(5_000, abs=10)


def test_errors_are_relative_to_measured_values():
    found = errors(np.array([110.0, 90.0, 100.0]), np.array([100.0, 100.0, 100.0]))
    assert found.median_error == pytest.approx(0.1)
    assert found.samples == 3


@given(
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 10**9)), min_size=1, max_size=30),
    st.sampled_from([0, 1]),
)
def test_costs_of_fit_mean_add_up_to_the_sum_of_samples(samples, least):
    """This also holds if the longest samples were slow.

    Then the base of an unconstrained line would be below its lower bound.
    """
    tokens, ns = np.array(samples).T
    term = fit_mean(tokens, ns, least)
    assert term.base_ns >= least
    assert term.per_token_ns >= 0
    off = sum(term(t) for t in tokens.tolist()) - int(ns.sum())
    assert abs(off) <= len(tokens) * (1 if ns.mean() >= least else least)


def test_fit_mean_recovers_an_exact_line():
    tokens = np.arange(1, 200)
    assert fit_mean(tokens, 7 * tokens + 500) == Linear(500, 7)
