"""Tests that terms are recovered from rounds with known costs, and tests of the grid."""

import dataclasses
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lapsd.calibrate import Sampling
from lapsd.calibrate.fitting.terms import Timings, assemble, warnings_of
from lapsd.calibrate.models.graphs import CaptureError
from lapsd.calibrate.models.shapes import SHAPES, config_of
from lapsd.calibrate.timing.cells import Cell, Grid, _Bench, _expected_s, design, time_grid
from lapsd.calibrate.timing.floors import pass_bytes
from lapsd.calibrate.timing.kv_transfers import TransferTimes
from lapsd.calibrate.timing.prefill import time_prefills
from lapsd.traces.provenance import Fits
from tests.calibrate.tiny import tiny_pair

BASE = {1: 900_000, 2: 950_000, 3: 1_000_000, 5: 1_100_000, 9: 1_400_000, 17: 2_000_000}


def cost(batch: int, width: int, tokens: int) -> tuple[int, int, int]:
    """Return draft, verify and host ns of a fictitious machine."""
    draft = (width - 1) * (100_000 * (1 + batch) // 2 + 20 * tokens)
    return draft, BASE[width] * (3 + batch) // 4 + (200 + 20 * width) * tokens, 50_000


def timings(noise: float, real: bool, batches=(1, 2, 8)) -> Timings:
    rng = np.random.default_rng(0)

    def noisy(value: float) -> int:
        return round(value * np.exp(noise * rng.standard_normal()))

    rows = []
    for i, cell in enumerate(design(4_000, batches)):
        for _ in range(5):
            draft, verify, host = (
                noisy(v) for v in cost(cell.batch, cell.width, sum(cell.contexts))
            )
            rows.append(
                (
                    i,
                    cell.role,
                    cell.batch,
                    cell.width,
                    sum(cell.contexts),
                    draft,
                    verify,
                    draft + verify + host,
                )
            )
    columns = ["cell", "role", "batch", "width", "tokens", "draft_ns", "verify_ns", "total_ns"]
    rounds = []
    for request in range(12):
        for i in range(40):
            context = 50 + 40 * request + 3 * i
            draft, verify, host = (noisy(v) for v in cost(1, 5, context))
            rounds.append(
                (str(request), i, 4, i % 5, context, draft, verify, draft + verify + host)
            )
    names = [
        "request_id",
        "round",
        "drafted",
        "accepted",
        "context",
        "draft_ns",
        "verify_ns",
        "total_ns",
    ]
    tokens = [64, 128, 256, 512]
    prefills = pd.DataFrame(
        [
            (1, t, noisy(1e5 + 5_000 * t), role)
            for t in (8, 100, 1_000)
            for role in ("fit", "held_out")
        ]
        * 4,
        columns=["batch", "tokens", "ns", "role"],
    )
    three = tokens * 3
    transfers = {
        "pageable": TransferTimes(
            three, [noisy(1_000 + 70 * t) for t in three], [500 + 60 * t for t in three], 7_424.0
        )
    }
    grid = Grid(pd.DataFrame(rows, columns=columns), [], 0.0)
    return Timings(pd.DataFrame(rounds, columns=names) if real else None, grid, prefills, transfers)


@pytest.mark.parametrize("real", [True, False])
def test_costs_without_noise_are_recovered(real):
    costs, fits = assemble(timings(0.0, real), 4)
    assert list(costs.rounds) == [1, 2, 8]
    for batch, terms in costs.rounds.items():
        for width, tokens in ((1, 128), (3, 700), (5, 2_000), (17, 4_000)):
            draft, verify, host = cost(batch, width, tokens)
            assert terms.verify(width)(tokens) == pytest.approx(verify, rel=0.01)
            assert (width - 1) * terms.draft_step(tokens) == pytest.approx(draft, rel=0.02)
            assert terms.host_ns == pytest.approx(host, rel=0.01)
    assert costs.swap_out(100) == pytest.approx(8_000, rel=0.01)
    assert fits.grid.median_error < 0.005
    assert fits.terms["recompute"].median_error < 0.005
    if real:
        assert abs(fits.round.closure) < 0.005
        assert None not in (fits.round.none_accepted, fits.round.all_accepted)
    assert warnings_of(fits, timings(0.0, real).grid) == []


def test_noise_increases_the_errors_but_not_the_closure():
    _, fits = assemble(timings(0.3, True), 4)
    assert fits.round.median_error > 0.08
    assert abs(fits.round.closure) < 0.05
    worse = replace(fits, round=replace(fits.round, median_error=0.2))
    assert any("more than 10 %" in w for w in warnings_of(worse, timings(0, True).grid))


def test_a_drift_of_the_machine_gives_a_warning():
    warnings = warnings_of(
        Fits(), Grid(pd.DataFrame(), ["batch 32, width 5, context 4096: out of GPU memory"], 0.08)
    )
    assert warnings[0].startswith("unstable: the time of the same rounds changed by +8%")
    assert "1 cells were not timed; the first one: batch 32" in warnings[1]


def test_a_profile_needs_batch_size_1():
    empty = timings(0.0, False)
    samples = empty.grid.samples
    without = dataclasses.replace(
        empty, grid=dataclasses.replace(empty.grid, samples=samples[samples["batch"] > 1])
    )
    with pytest.raises(ValueError, match="no cell of batch size 1"):
        assemble(without, 4)


def test_the_design_fits_into_the_context_and_has_held_out_cells():
    for longest in (20, 64, 128, 1_024, 4_160):
        cells = design(longest, (1, 4))
        assert all(max(c.contexts) + 2 * c.width <= longest for c in cells)
        assert {c.batch for c in cells} == {1, 4}
        assert {c.width for c in cells if c.role == "fit" and c.batch == 4} == {
            w for w in (1, 2, 3, 5, 9, 17) if 2 * w <= longest
        }
    mixed = [c for c in design(4_160) if len(set(c.contexts)) > 1]
    assert len(mixed) == 8
    assert all(c.role == "held_out" for c in mixed)
    assert design(1_024) == design(1_024)


def test_a_grid_times_every_cell_until_its_deadline():
    pair = tiny_pair(0.1)
    cells = design(100, (1, 2), (1, 3))
    grid = time_grid(pair, cells, Sampling(0.7), quick=True)
    assert grid.skipped == []
    assert set(grid.samples["cell"]) == set(range(len(cells)))
    assert (grid.samples["draft_ns"] + grid.samples["verify_ns"] <= grid.samples["total_ns"]).all()
    single = grid.samples[grid.samples["batch"] == 1]
    assert (single["tokens"] <= 128).all()
    late = time_grid(pair, cells, Sampling(), deadline=0.0)
    assert len(late.skipped) == len({str(c) for c in cells})
    assert late.skipped[0].endswith("no time left")
    # concatenation with an empty grid does not change the types of columns
    both = pd.concat([grid.samples, late.samples], ignore_index=True)
    numbers = [c for c in both if c != "role"]
    assert both[numbers].dtypes.equals(grid.samples[numbers].dtypes)
    assert (both[numbers].dtypes == "int64").all()


def test_a_shortened_grid_times_batch_size_1_once_under_any_deadline():
    pair, cells = tiny_pair(0.1), design(100, (1, 2), (1, 3))
    grid = time_grid(pair, cells, Sampling(), deadline=0.0, shorten=True)
    assert grid.passes == {1: 1}
    assert set(grid.samples["batch"]) == {1}
    assert len(grid.late) == len({str(c) for c in cells if c.batch == 2})
    assert grid.without_late().skipped == []
    whole = time_grid(pair, cells, Sampling(), quick=True, shorten=True)
    assert whole.passes == {1: 1, 2: 1}
    assert whole.samples["batch"].is_monotonic_increasing


def test_a_visit_is_expected_to_take_as_long_as_the_last_one_of_its_batch_size():
    assert _expected_s(4, {}) == 0
    assert _expected_s(4, {1: 2.0}) == 8
    assert _expected_s(4, {1: 2.0, 4: 3.0}) == 3
    assert _expected_s(1, {2: 4.0}) == 2


def test_prefills_are_repeated_at_least_twice_under_any_deadline():
    pair = tiny_pair(0.1)
    late = time_prefills(pair, 40, (1, 2), deadline=0.0)
    assert (late["batch"] == 1).all()
    assert (late.groupby("tokens").size() == 2).all()
    whole = time_prefills(pair, 70, (1, 2))
    assert (whole[whole["batch"] == 1].groupby("tokens").size() == 5).all()
    assert set(whole[whole["batch"] == 2]["tokens"]) == {128}


def test_mixed_contexts_without_the_lean_engine_are_skipped():
    grid = time_grid(
        tiny_pair(0.1, engine="hf"),
        [Cell(2, (30,)), Cell(2, (30, 30)), Cell(2, (30, 40))],
        Sampling(),
        quick=True,
    )
    assert grid.skipped == ["batch 2, width 2, context mixed: mixed contexts need the lean engine"]


def test_an_error_in_one_cell_skips_only_that_cell(monkeypatch):
    step = _Bench._batch_step

    def failing(bench, cell):
        if cell.width == 3:
            raise RuntimeError("CUDA error: an illegal memory access\nand more lines")
        return step(bench, cell)

    monkeypatch.setattr(_Bench, "_batch_step", failing)
    cells = [Cell(w, (30, 30)) for w in (1, 2, 3, 5)]
    grid = time_grid(tiny_pair(0.1), cells, Sampling(), quick=True)
    assert set(grid.samples["cell"]) == {0, 1, 3}
    assert grid.skipped == [
        "batch 2, width 3, context 30: RuntimeError: CUDA error: an illegal memory access"
    ]


def test_a_failed_capture_ends_the_grid(monkeypatch):
    class Failing:
        def capture(self, function):
            raise CaptureError("no")

    pair = dataclasses.replace(tiny_pair(0.1), graphs=Failing())
    with pytest.raises(CaptureError):
        time_grid(pair, [Cell(2, (30, 30))], Sampling(), quick=True)


def test_shapes_have_the_published_numbers_of_parameters():
    import torch
    from transformers import AutoModelForCausalLM

    published = {"llama-7b": 6_738_415_616, "llama-13b": 13_015_864_320, "opt-125m": 125_239_296}
    for name, parameters in published.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config_of(name))
        assert sum(p.numel() for p in model.parameters()) == parameters
    assert SHAPES["llama-68m"][1]["hidden_size"] == 768
    with torch.device("meta"):
        seven = AutoModelForCausalLM.from_config(config_of("llama-7b"), dtype=torch.bfloat16)
    # 6.61 billion weights without the embedding table, and 32 layers x 2 x 4,096 numbers per token
    assert pass_bytes(seven, 512) == 2 * (6_738_415_616 - 32_000 * 4_096) + 2 * 512 * 32 * 2 * 4_096


def test_drift_is_computed_from_all_cells_of_several_passes(monkeypatch):
    visits = []

    def slowing(bench, some):
        slower = 1_000_000 + 100_000 * len(visits)
        visits.append(some)
        return [(i, (30, 0, slower, slower)) for i, _ in some for _ in range(3)]

    monkeypatch.setattr("lapsd.calibrate.timing.cells._Bench.visit", slowing)
    grid = time_grid(tiny_pair(0.1), [Cell(1, (c,)) for c in (20, 30, 40, 50)], Sampling())
    assert [len(v) for v in visits] == [4, 4, 4]
    assert len(grid.samples) == 36
    assert grid.drift == pytest.approx(0.2)
    assert grid.unstable
