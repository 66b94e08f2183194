"""Recorded arrivals, their importers, and gaps between arrivals."""

import gzip

import numpy as np
import pytest

from lapsd.traces import (
    Arrivals,
    ArrivalTrace,
    FormatError,
    Profile,
    draw_workload,
    load_arrivals,
    price,
    save_arrivals,
    trace_from_rounds,
)
from lapsd.traces.importers import Azure, Mooncake
from tests.builders import row

PRICED = price(
    trace_from_rounds([row(str(k), 1, [0] * k, n=1) for k in (1, 2, 3)]), Profile.constant(2, 8)
)


def recorded(*seconds):
    at = np.round(np.array(seconds) * 1e9).astype(np.int64)
    return ArrivalTrace(at, np.ones_like(at), np.ones_like(at), "toy")


def test_the_public_azure_trace_has_its_known_statistics(public_data):
    found = Azure().read(public_data / "arrivals" / "AzureLLMInferenceTrace_conv.csv.gz").trace
    assert len(found) == 19_366
    assert round(found.rate_per_s, 2) == 5.53
    assert round(found.cv, 2) == 1.09
    assert (round(found.output_tokens.mean()), np.median(found.output_tokens)) == (211, 129)
    assert np.percentile(found.output_tokens, 99) == 601


def test_arrivals_of_the_public_mooncake_trace_lie_near_multiples_of_three_seconds(public_data):
    found = Mooncake().read(public_data / "arrivals" / "mooncake_conversation_trace.jsonl.gz").trace
    assert len(found) == 12_031
    distance = (found.arrival_ns + 10**9) % (3 * 10**9) - 10**9
    assert np.abs(distance).max() <= 3 * 10**6  # within 3 ms


def test_azure_timestamps_keep_tenths_of_microseconds(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,3,4\n"
        "2023-11-16 18:15:47.6805901,5,6\n"
    )
    assert Azure().read(path).trace.arrival_ns.tolist() == [0, 1_000_000_100]


def test_saved_arrivals_load_unchanged(tmp_path):
    before = recorded(0, 1, 1, 4.5)
    save_arrivals(before, tmp_path / "a.parquet")
    after = load_arrivals(tmp_path / "a.parquet")
    assert after.arrival_ns.tolist() == before.arrival_ns.tolist()
    assert str(after) == "toy"


def test_a_workload_uses_recorded_gaps_in_order_from_a_random_start_at_the_given_load():
    gaps = recorded(0, 1, 4, 6)  # 1, 3 and 2 seconds
    arrivals = Arrivals(load=0.5, recorded=gaps)
    work = draw_workload(PRICED, requests=30, seed=3, arrivals=arrivals)
    found = np.diff(work.arrival_ns, prepend=0) / (PRICED.mean_size_ns / 0.5)
    start = [0.5, 1.5, 1.0].index(round(float(found[0]), 6))
    assert found == pytest.approx(np.roll([0.5, 1.5, 1.0], -start)[np.arange(30) % 3])
    few = draw_workload(PRICED, requests=10, seed=3, arrivals=arrivals)
    assert few.arrival_ns.tolist() == work.arrival_ns[:10].tolist()
    starts = {round(float(arrivals.unit_gaps(1, seed)[0]), 6) for seed in range(30)}
    assert starts == {0.5, 1.5, 1.0}


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_random_gaps_have_the_given_coefficient_of_variation(cv):
    arrivals = Arrivals(rate_per_s=2.0, cv=cv)
    work = draw_workload(PRICED, requests=200_000, seed=5, arrivals=arrivals)
    gaps = np.diff(work.arrival_ns)
    assert gaps.mean() == pytest.approx(0.5e9, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)
    few = draw_workload(PRICED, requests=10, seed=5, arrivals=arrivals)
    assert few.arrival_ns.tolist() == work.arrival_ns[:10].tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arrivals(clients=0), "clients=0: must be at least 1"),
        (lambda: Arrivals(load=1, clients=2), "give either a load"),
        (lambda: Arrivals(load=1, think_s=2), "think=2: applies only to a number of clients"),
        (lambda: Arrivals(clients=1, think_s=-2), "think=-2: must be at least 0"),
        (lambda: Arrivals(load=1, cv=0), "cv=0: must be above 0"),
        (
            lambda: Arrivals(load=1, cv=2, recorded=recorded(0, 1)),
            "cv=2: does not apply to recorded arrivals",
        ),
        (
            lambda: Arrivals(all_at_once=True, recorded=recorded(0, 1)),
            "recorded arrivals need a load or a rate",
        ),
        (lambda: recorded(0, 0), "2 arrivals at one instant"),
        (lambda: recorded(0, 2, 1), "arrival 2 is before arrival 1"),
        (lambda: load_arrivals("nowhere.parquet"), "arrivals nowhere.parquet: no such file"),
    ],
)
def test_invalid_arrivals_raise_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        (Azure(), "TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,3\n", "line 2: needs TIMESTAMP"),
        (
            Azure(),
            "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,3,4\n",
            "line 2: needs TIMESTAMP",
        ),
        (Azure(), "", "no requests"),
        (
            Mooncake(),
            '{"timestamp": -1, "input_length": 3, "output_length": 4}\n',
            "line 1, field 'timestamp'",
        ),
        (Mooncake(), "[]\n", "line 1: not a JSON object"),
    ],
)
def test_the_error_for_a_damaged_file_names_its_line(reader, text, message, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        reader.read(path)
    cut = tmp_path / "a.gz"
    cut.write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(FormatError, match=r"a\.gz"):
        reader.read(cut)


def test_another_parquet_file_is_not_an_arrivals_file(tmp_path):
    import pandas as pd

    pd.DataFrame({"arrival_ns": [0, 1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(FormatError, match="not an arrivals file of lapsd"):
        load_arrivals(tmp_path / "a.parquet")
