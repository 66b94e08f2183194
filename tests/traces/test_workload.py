"""Workloads: the same requests for everyone, whatever the load, the error and the number of requests."""

import numpy as np
import pytest

from tests.builders import row
from traces import Arrivals, LengthPredictor, Profile, draw_workload, price, trace_from_rounds

PRICED = price(
    trace_from_rounds([row(f"r{i}", i, [i % 5] * (i + 1)) for i in range(40)]),
    Profile.constant(draft_ms=1, verify_ms=5),
)


def test_the_first_ten_of_thirty_requests_are_the_workload_of_ten():
    noisy, arrivals = LengthPredictor("noisy", 0.5), Arrivals(load=0.8)
    few, many = (draw_workload(PRICED, requests=n, seed=7, arrivals=arrivals, predictor=noisy) for n in (10, 30))
    for name in ("rows", "arrival_ns", "predicted_tokens"):
        assert np.array_equal(getattr(few, name), getattr(many, name)[:10])


def test_load_scales_arrivals_and_error_scales_predictions_of_the_same_requests():
    base = draw_workload(PRICED, requests=50, seed=1, arrivals=Arrivals(load=0.4))
    dense = draw_workload(
        PRICED, requests=50, seed=1, arrivals=Arrivals(load=0.8), predictor=LengthPredictor("noisy", 0.3)
    )
    assert np.array_equal(base.rows, dense.rows)
    assert np.abs(base.arrival_ns - 2 * dense.arrival_ns).max() <= 2
    assert np.array_equal(base.predicted_tokens, base.priced.trace.output_tokens[base.rows])
    assert not np.array_equal(base.predicted_tokens, dense.predicted_tokens)


def test_the_realised_load_of_many_requests_is_the_load_asked_for():
    work = draw_workload(PRICED, requests=200_000, seed=0, arrivals=Arrivals(load=0.7))
    assert work.realised_load == pytest.approx(0.7, rel=0.02)
    by_rate = draw_workload(PRICED, requests=200_000, seed=0, arrivals=Arrivals(rate_per_s=3.0))
    assert 200_000 / (by_rate.arrival_ns[-1] / 1e9) == pytest.approx(3.0, rel=0.02)


def test_the_noisy_predictor_is_unbiased_in_the_median_and_log_normal():
    long = price(trace_from_rounds([row("r", 0, [4] * 2_000)]), PRICED.profile)
    work = draw_workload(
        long, requests=50_000, seed=0, arrivals=Arrivals(all_at_once=True), predictor=LengthPredictor("noisy", 0.5)
    )
    error = np.log(work.predicted_tokens / 10_000)
    assert np.median(error) == pytest.approx(0, abs=0.01)
    assert error.std() == pytest.approx(0.5, rel=0.02)


def test_all_at_once_means_time_zero():
    work = draw_workload(PRICED, requests=5, seed=0, arrivals=Arrivals(all_at_once=True))
    assert work.arrival_ns.tolist() == [0] * 5
    assert np.isnan(work.realised_load)


@pytest.mark.parametrize(
    "text", ["noisy", "noisy:", "noisy:x", "noisy:-1", "noisy:nan", "regressed", "regressed:1.1", "bert", "oracle:1"]
)
def test_a_wrong_predictor_is_refused(text):
    with pytest.raises(ValueError, match="length predictor"):
        LengthPredictor.parse(text)


def test_predictors_read_back_as_they_are_written():
    for text in ("oracle", "noisy:0.5", "regressed:0.6", "learned"):
        assert str(LengthPredictor.parse(text)) == text
    with pytest.raises(ValueError, match="no column 'predicted_tokens'"):
        draw_workload(PRICED, requests=1, seed=0, arrivals=Arrivals(load=1), predictor=LengthPredictor("learned"))


def test_arrivals_out_of_bounds_are_refused():
    for bad in ({}, {"load": 1, "rate_per_s": 2}, {"load": 0}, {"load": float("inf")}, {"rate_per_s": -1}):
        with pytest.raises(ValueError, match="must be|exactly one"):
            Arrivals(**bad)
    with pytest.raises(ValueError, match="requests 0: must be at least 1"):
        draw_workload(PRICED, requests=0, seed=0, arrivals=Arrivals(load=1))
    with pytest.raises(ValueError, match="to arrive, above"):
        draw_workload(PRICED, requests=10, seed=0, arrivals=Arrivals(rate_per_s=1e-12))


def test_the_regressed_predictor_has_its_correlation_and_is_calibrated():
    """Correlation R of the logs; regressing the truth on the prediction gives slope 1: nothing is left to shrink."""
    rng = np.random.default_rng(0)
    lengths = np.maximum(2, np.exp(rng.normal(5, 1, 4_000))).astype(int)
    many = price(
        trace_from_rounds([row(str(i), 1, [0] * int(n)) for i, n in enumerate(lengths)]),
        Profile.constant(draft_ms=1, verify_ms=1),
    )
    truth = np.log(many.trace.output_tokens)
    everyone = np.arange(len(truth))
    for r in (0.3, 0.8):
        told = np.log(LengthPredictor("regressed", r).predict(everyone, many, 0))
        assert np.corrcoef(told, truth)[0, 1] == pytest.approx(r, abs=0.03)
        assert np.polyfit(told, truth, 1)[0] == pytest.approx(1, abs=0.08)
    assert np.array_equal(LengthPredictor("regressed", 1).predict(everyone, many, 0), many.trace.output_tokens)
    assert len(set(LengthPredictor("regressed", 0).predict(everyone, many, 0).tolist())) == 1
