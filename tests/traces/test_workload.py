"""Workloads: the requests do not depend on the load, the prediction error or their number."""

import numpy as np
import pytest

from lapsd.sim.experiment.predictor_spec import parse_predictor
from lapsd.traces import Arrivals, Profile, draw_workload, price, trace_from_rounds
from tests.builders import row

PRICED = price(
    trace_from_rounds([row(f"r{i}", i, [i % 5] * (i + 1)) for i in range(40)]),
    Profile.constant(draft_ms=1, verify_ms=5),
)


def test_the_first_ten_of_thirty_requests_equal_the_workload_of_ten():
    noisy, arrivals = parse_predictor("noisy:0.5"), Arrivals(load=0.8)
    few, many = (
        draw_workload(PRICED, requests=n, seed=7, arrivals=arrivals, predictor=noisy)
        for n in (10, 30)
    )
    for name in ("rows", "arrival_ns", "predicted_tokens"):
        assert np.array_equal(getattr(few, name), getattr(many, name)[:10])


def test_load_and_prediction_error_do_not_change_the_drawn_requests():
    base = draw_workload(PRICED, requests=50, seed=1, arrivals=Arrivals(load=0.4))
    dense = draw_workload(
        PRICED,
        requests=50,
        seed=1,
        arrivals=Arrivals(load=0.8),
        predictor=parse_predictor("noisy:0.3"),
    )
    assert np.array_equal(base.rows, dense.rows)
    assert np.abs(base.arrival_ns - 2 * dense.arrival_ns).max() <= 2
    assert np.array_equal(base.predicted_tokens, base.priced.trace.output_tokens[base.rows])
    assert not np.array_equal(base.predicted_tokens, dense.predicted_tokens)


def test_the_realised_load_of_many_requests_is_near_the_given_load():
    work = draw_workload(PRICED, requests=200_000, seed=0, arrivals=Arrivals(load=0.7))
    assert work.realised_load == pytest.approx(0.7, rel=0.02)
    by_rate = draw_workload(PRICED, requests=200_000, seed=0, arrivals=Arrivals(rate_per_s=3.0))
    assert 200_000 / (by_rate.arrival_ns[-1] / 1e9) == pytest.approx(3.0, rel=0.02)


def test_all_at_once_requests_arrive_at_time_zero():
    work = draw_workload(PRICED, requests=5, seed=0, arrivals=Arrivals(all_at_once=True))
    assert work.arrival_ns.tolist() == [0] * 5
    assert np.isnan(work.realised_load)


def test_arrivals_out_of_range_raise_an_error():
    for bad in (
        {},
        {"load": 1, "rate_per_s": 2},
        {"load": 0},
        {"load": float("inf")},
        {"rate_per_s": -1},
    ):
        with pytest.raises(ValueError, match="must be|give either"):
            Arrivals(**bad)
    with pytest.raises(ValueError, match="requests=0: must be at least 1"):
        draw_workload(PRICED, requests=0, seed=0, arrivals=Arrivals(load=1))
    with pytest.raises(ValueError, match="to arrive, above"):
        draw_workload(PRICED, requests=10, seed=0, arrivals=Arrivals(rate_per_s=1e-12))
