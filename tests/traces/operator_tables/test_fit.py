"""Costs fitted to operator times: exact where times are linear, close beyond the grid."""

import numpy as np
import pytest

from lapsd.traces.costs import Linear
from lapsd.traces.operator_tables.fit import Grid, Pair, fit_costs, fit_errors, fit_line
from lapsd.traces.operator_tables.library import Layers, Memory
from lapsd.traces.operator_tables.model_times import ModelTimes
from lapsd.traces.operator_tables.shapes import Shape
from lapsd.traces.profile import Profile
from tests.traces.operator_tables.tables import KV_MS, Formula, attention, layers, model

GRID = Grid((1, 2, 4, 8, 16, 32, 64), tuple(range(1, 10)), 2_048, 60_000)
PAIR = Pair(model(), model(n=1, n_kv=1))


def profile(pair=PAIR, only=None, grid=GRID):
    costs = fit_costs(pair, grid, Linear(0, 5), only)
    return Profile("operator_tables", "unknown", costs)


def test_a_line_is_found_exactly():
    tokens = np.array([16, 100, 900, 2_000])
    assert fit_line(tokens, (3_000_000 + 70 * tokens) / 1e6) == Linear(3_000_000, 70)


def test_a_slope_below_a_nanosecond_is_rounded_so_that_the_error_is_least():
    tokens = np.geomspace(16, 100_000, 20).astype(int)
    ms = (50_000 + 0.4 * tokens) / 1e6
    line = fit_line(tokens, ms)
    errors = np.abs((line.base_ns + line.per_token_ns * tokens) / (1e6 * ms) - 1)
    assert line.per_token_ns in (0, 1)
    assert errors.mean() < 0.2


def test_terms_never_fall_below_zero():
    tokens = np.array([16, 100, 900])
    falling = fit_line(tokens, np.array([5.0, 4.0, 3.0]))
    assert falling.per_token_ns == 0
    assert falling.base_ns >= 0


def test_rounds_have_the_times_of_the_tables():
    round_ns = profile().round_cost(16)(4, 16 * 700)
    assert round_ns / 1e6 == pytest.approx(PAIR.round_ms(16, 4, 700), rel=0.01)


def test_attention_costs_the_same_at_all_widths():
    terms = profile().costs.rounds[8]
    assert dict(terms.verify_per_token_ns) == {1: round(1e6 * KV_MS * 8)}


def test_products_bend_where_the_tables_bend():
    terms = profile().costs.rounds[64]
    flat, bent = (terms.verify(w).base_ns for w in (3, 9))
    attention = 0.5 + KV_MS * 64 * 8  # at no context, each request still reads its own token
    assert flat / 1e6 == pytest.approx(4.0 * 1.01 + attention, rel=0.01)  # 192 tokens
    assert bent / 1e6 == pytest.approx(0.02 * 576 * 1.01 + attention, rel=0.01)


def test_a_prompt_has_its_time_at_each_length_of_the_grid():
    prefill = profile().costs.prefill
    for tokens in (1, 256, 2_048):
        assert prefill(tokens) / 1e6 == pytest.approx(PAIR.prompts_ms([(tokens, 0)]), rel=1e-4)
    three = PAIR.prompts_ms([(600, 0)] * 3)
    assert prefill.several([600] * 3) / 1e6 == pytest.approx(three, rel=0.03)


def test_a_step_with_a_prompt_includes_the_draft_steps_of_the_others():
    step = profile().step_cost(16)
    without, with_drafts = (step([n] * 15, 15 * 400, [500], 0) for n in (0, 4))
    draft = PAIR.draft.verify(15, 1, 400)
    more_tokens = 0.02 * 60 * 1.01
    assert (with_drafts - without) / 1e6 == pytest.approx(4 * draft + more_tokens, rel=0.15)
    true = PAIR.prompts_ms([(500, 0)], 15, 4, 400)
    assert with_drafts / 1e6 == pytest.approx(true, rel=0.05)


def test_errors_are_measured_between_the_points_of_the_grid():
    made = profile()
    fits = fit_errors(PAIR, GRID, made)
    assert fits.grid.samples > 1_000
    assert 0 < fits.grid.mean_error <= 0.03
    assert fits.grid.worst_error <= 0.15
    coarse = Grid((1, 64), (1, 9), 2_048, 60_000)
    worse = fit_errors(PAIR, coarse, profile(grid=coarse))
    assert worse.grid.mean_error > fits.grid.mean_error


def test_without_a_draft_model_drafts_are_free_or_refused():
    ngram = profile(Pair(PAIR.target, None))
    assert ngram.round_cost(1).base_ns(4) == ngram.costs.rounds[1].verify(5).base_ns
    plain = profile(Pair(PAIR.target, None), only=0, grid=Grid((1, 2), (1,), 2_048))
    with pytest.raises(ValueError, match="draft tokens 4"):
        plain.round_cost(1).base_ns(4)


def test_contexts_are_bounded_by_memory():
    assert GRID.longest_at(1) == 2_048
    assert GRID.longest_at(64) == 60_000 // 64
    assert GRID.split(5_000) == [(1_667, 0), (1_667, 0), (1_666, 0)]


def test_a_target_without_linear_products_is_fitted_at_each_width():
    tables = Formula()
    tables.attention_shapes = {"GenerationAttention": frozenset(), "ContextAttention": frozenset()}
    joined = attention("MlaModuleGeneration", 8, 8)
    made = Layers((joined,), layers().prompt, Memory(10**9, 1_000, 10**8))
    target = ModelTimes(tables, Shape("made by hand", {}, {}), made)
    terms = profile(Pair(target, None)).costs.rounds[4]
    assert sorted(terms.verify_per_token_ns) == list(GRID.widths)
    # each of 4 · w tokens reads a context
    assert terms.verify_per_token_ns[3] == pytest.approx(3 * terms.verify_per_token_ns[1], rel=0.02)
