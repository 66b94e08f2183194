"""Intervals: against scipy, and by how often they cover."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from lapsd import mean_interval, paired_difference, ratio_of_means
from lapsd.sim.experiment.statistics import percentile, ratio_by_seed


def test_a_paired_difference_equals_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.gamma(2, size=(2, 15))
    ours = paired_difference(a, b)
    theirs = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.value == pytest.approx((a - b).mean())


def test_one_seed_gives_an_estimate_without_an_interval():
    for interval in (mean_interval([3.0]), ratio_of_means([3.0], [1.0])):
        assert interval.value == 3.0
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)


def test_the_interval_of_a_ratio_of_means_has_its_nominal_coverage():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(2_000):
        base = rng.gamma(4, size=20)
        value = 0.7 * base + rng.gamma(2, 0.1, size=20)
        ratio = ratio_of_means(value, base)
        covered += ratio.low <= (0.7 * 4 + 0.2) / 4 <= ratio.high
    assert 0.93 <= covered / 2_000 <= 0.97  # the odds of a false alarm are below 1e-4


def test_seed_contributions_to_a_ratio_have_its_mean_and_interval():
    rng = np.random.default_rng(2)
    base = rng.gamma(4, size=(3, 20))
    values = 0.7 * base + rng.gamma(2, 0.1, size=(3, 20))
    for said, of, to in zip(ratio_by_seed(values, base), values, base, strict=True):
        assert tuple(mean_interval(said)) == pytest.approx(tuple(ratio_of_means(of, to)))


def test_a_sample_does_not_differ_from_itself():
    assert paired_difference([1, 2, 3], [1, 2, 3]) == (0, 0, 0)
    assert ratio_of_means([1, 2, 3], [1, 2, 3]) == (1, 1, 1)


@given(
    st.integers(1, 40).flatmap(
        lambda c: st.lists(st.lists(st.integers(0, 2**53), min_size=c, max_size=c), min_size=1)
    ),
    st.sampled_from([0.0, 50.0, 90.0, 95.0, 99.0, 100.0]) | st.floats(0, 100),
)
def test_percentiles_equal_numpys(rows, percent):
    values = np.array(rows)
    for some in (values, values / 3):
        assert (percentile(some, percent) == np.percentile(some, percent, axis=1)).all()
