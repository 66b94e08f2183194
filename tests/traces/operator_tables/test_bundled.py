"""Bundled profiles of GPUs price passes as the library does; its results are recorded."""

import json

import pytest

from lapsd.traces import load_profile
from tests.traces.operator_tables.record import FILE, REQUESTS

RECORDED = json.loads(FILE.read_text(encoding="utf-8"))


def error_of(profile, row):
    if "prompt" in row:
        ns = profile.costs.prefill(row["prompt"])
    else:
        cost = profile.round_cost(row["batch"])
        ns = cost(row["drafted"], row["batch"] * row["context"])
    return abs(ns / (1e6 * row["ms"]) - 1)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_bundled_profile_prices_recorded_passes(name):
    errors = [error_of(load_profile(name), row) for row in RECORDED["passes"][name]]
    assert len(errors) == 44
    assert sum(errors) / len(errors) <= 0.05
    assert max(errors) <= 0.15


@pytest.mark.parametrize("name", REQUESTS)
def test_a_bundled_profile_says_where_it_comes_from(name):
    profile = load_profile(name)
    tables, capacity = profile.operator_tables, profile.kv_capacity
    assert profile.kind == "operator_tables"
    assert tables.library == RECORDED["library"]
    assert tables.engine == "vllm"
    assert {"measured", "estimated"} <= set(tables.operators.values())
    assert capacity.tokens > 40_000
    assert profile.provenance.command.startswith("lapsd import aiconfigurator --gpu ")
    assert profile.provenance.notes["license"].startswith("Apache-2.0")
    assert profile.fits.grid.mean_error <= 0.05
    assert profile.fits.grid.worst_error <= 0.15
    assert profile.kind_in_words == "operator tables, host time 0 µs per round"
