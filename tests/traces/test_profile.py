"""Profiles: integer costs, files, and errors that name the wrong field."""

import dataclasses
import json

import pytest
from hypothesis import given, settings, strategies as st

from lapsd.traces import (
    Costs,
    FormatError,
    Linear,
    Profile,
    RoundTerms,
    StepTerms,
    load_profile,
    price,
    save_profile,
    trace_from_rounds,
)
from tests.builders import profiles, rows


@settings(max_examples=50)
@given(profiles())
def test_a_saved_profile_loads_unchanged(tmp_path_factory, profile):
    path = tmp_path_factory.mktemp("profile") / "p.json"
    save_profile(profile, path)
    assert load_profile(path) == profile


@settings(max_examples=100)
@given(profiles(), st.lists(rows(), min_size=1, max_size=5))
def test_the_decode_time_of_a_priced_trace_is_the_sum_of_its_rounds(profile, some):
    priced = price(trace_from_rounds(some), profile)
    for i, record in enumerate(some):
        context, spent = record["prompt_tokens"], 0
        for n, accepted in zip(record["drafted"], record["accepted"], strict=True):
            c = profile.costs.rounds[1]
            spent += n * (c.draft_step.base_ns + c.draft_step.per_token_ns * context)
            spent += c.verify(n + 1)(context) + c.host_ns
            context += accepted + 1
        assert priced.decode_ns[i] == spent
        prompt = record["prompt_tokens"]
        assert priced.prefill_ns[i] == (profile.costs.prefill(prompt - 1) if prompt > 1 else 0)
        assert priced.emitted[priced.trace.rounds_of(i)].sum() == record["output_tokens"]


def test_verify_costs_are_linear_between_measured_widths():
    profile = Profile.constant(draft_ms=1, verify_ms=10)
    costs = dataclasses.replace(profile.costs.rounds[1], verify_base_ns={2: 100, 4: 140, 8: 160})
    assert [costs.verify(w).base_ns for w in (1, 2, 3, 4, 6, 8, 12)] == [
        100,
        100,
        120,
        140,
        150,
        160,
        180,
    ]


def test_a_wider_verify_pass_never_costs_less_than_the_widest_measured_one():
    profile = Profile.constant(draft_ms=1, verify_ms=10)
    costs = dataclasses.replace(profile.costs.rounds[1], verify_base_ns={1: 100, 5: 90})
    assert costs.verify(50).base_ns == 90


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), 1e12])
def test_a_profile_by_hand_with_impossible_times_raises_an_error(bad):
    with pytest.raises(ValueError, match="draft_ms=.*must be between 0 and"):
        Profile.constant(draft_ms=bad, verify_ms=1)
    with pytest.raises(ValueError, match="at least 1 ns"):
        Profile.constant(draft_ms=1, verify_ms=0)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("lapsd_profile",), 3, "version 3, this lapsd reads versions 1 and 2"),
        (
            ("kind",),
            "guessed",
            "field 'kind': 'guessed': must be one of measured, wall_time_fit, imported_fit",
        ),
        (("weights",), None, "field 'weights': None: must be one of"),
        (("costs",), [], "field 'costs': not a JSON object"),
        (("costs", "prefill"), None, "field 'costs.prefill': not a JSON object"),
        (
            ("costs", "prefill", "base_ns"),
            1.5,
            "field 'costs.prefill.base_ns': 1.5 is not an integer",
        ),
        (("costs", "rounds"), {}, "field 'costs.rounds': needs at least one batch size"),
        (("costs", "rounds"), {"2": {}}, "field 'costs.rounds': needs batch size 1"),
        (("costs", "rounds", "x"), {}, "batch size 'x' is not an integer"),
        (("costs", "rounds", "01"), {}, "batch size '01' is not an integer"),
        (
            ("costs", "rounds", "1", "host_ns"),
            -1,
            "field 'costs.rounds.1.host_ns': -1 is not between 0 and",
        ),
        (
            ("costs", "rounds", "1", "host_ns"),
            True,
            "field 'costs.rounds.1.host_ns': True is not an integer",
        ),
        (("costs", "rounds", "1", "host_ns"), 10**16, "is not between 0 and"),
        (("costs", "rounds", "1", "verify_base_ns"), {}, "needs at least one width"),
        (("costs", "rounds", "1", "verify_base_ns"), {"x": 1}, "width 'x' is not an integer"),
        (
            ("costs", "rounds", "1", "verify_base_ns"),
            {"0": 1},
            "width '0' is not an integer from 1",
        ),
        (("costs", "rounds", "1", "verify_base_ns"), {"1": 0}, "0 is not between 1 and"),
        (("costs", "swap_ways"), {"pinned": {}}, "field 'costs.swap_ways.pinned.out': missing"),
        (("costs", "steps"), {"2": {}}, "field 'costs.steps.2.base_ns': missing"),
        (
            ("costs", "steps"),
            {"2": {"base_ns": {"1": 1}, "per_context_ns": {"1": 0}}},
            "needs batch size 1",
        ),
        (
            ("costs", "steps"),
            {"1": {"base_ns": {"x": 1}}},
            "number of tokens 'x' is not an integer",
        ),
        (("costs", "steps"), 5, "field 'costs.steps': not a JSON object"),
        (("stamp",), 3, "field 'stamp': not a JSON object"),
    ],
)
def test_the_error_for_a_malformed_profile_names_file_and_field(tmp_path, place, value, message):
    path = tmp_path / "p.json"
    save_profile(Profile.constant(draft_ms=1, verify_ms=10), path)
    document = json.loads(path.read_text())
    target = document
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(FormatError) as error:
        load_profile(path)
    assert f"profile {path}" in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00", "[" * 100_000])
def test_loading_a_file_that_is_not_a_profile_raises_an_error(tmp_path, content):
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(FormatError, match="profile"):
        load_profile(path)


def test_a_profile_of_version_1_loads_with_batch_size_1(tmp_path):
    path = tmp_path / "old.json"
    linear = {"base_ns": 5, "per_token_ns": 1}
    costs = {
        "draft_step": linear,
        "verify_base_ns": {"1": 7, "5": 9},
        "verify_per_token_ns": 2,
        "host_ns": 3,
    }
    costs |= {"prefill": linear, "swap_out": linear, "swap_in": linear}
    document = {
        "lapsd_profile": 1,
        "kind": "measured",
        "weights": "unknown",
        "costs": costs,
        "fits": {},
        "stamp": {},
    }
    path.write_text(json.dumps(document))
    cost = load_profile(path).round_cost()
    assert cost(4, 10) == 4 * (5 + 10) + 9 + 2 * 10 + 3


def test_round_costs_are_linear_between_measured_batch_sizes_and_not_defined_beyond():
    one = RoundTerms(Linear(10, 1), {1: 100, 5: 200}, {1: 2}, 7)
    four = RoundTerms(Linear(20, 2), {1: 400, 5: 700}, {1: 4}, 9)
    profile = dataclasses.replace(
        Profile.constant(draft_ms=1, verify_ms=1),
        costs=Costs({1: one, 4: four}, *[Linear(0, 0)] * 3),
    )
    ends = [4 * 10 + 200 + 7, 4 * 20 + 700 + 9]
    assert [profile.round_cost(b).base_ns(4) for b in (1, 4)] == ends
    assert profile.round_cost(3).base_ns(4) == ends[0] + (ends[1] - ends[0]) * 2 // 3
    assert profile.round_cost(2).per_token_ns(4) == 6 + (12 - 6) // 3
    with pytest.raises(
        ValueError, match=r"batch size 5: the profile covers 1 to 4 \(measured: 1, 4\)"
    ):
        profile.round_cost(5)


def test_a_step_with_prompts_has_its_measured_cost():
    one, three = StepTerms({1: 100, 11: 200}, {1: 3}), StepTerms({1: 120, 11: 240}, {1: 5})
    costs = Costs(
        {1: RoundTerms(Linear(0, 0), {1: 7}, {1: 0}, 0)},
        *[Linear(0, 0)] * 3,
        steps={1: one, 3: three},
    )
    step = dataclasses.replace(Profile.constant(1, 1), costs=costs).step_cost(3)
    # a chunk of 6 tokens of one prompt, of which 4 tokens were computed before
    assert step([], 0, [6], 4) == 150 + 3 * 4
    # with a round of 2 + 1 tokens at a context of 20: half way from one request to three
    assert step([2], 20, [3], 4) == (150 + 3 * 24 + 180 + 5 * 24) // 2
    with pytest.raises(
        ValueError, match=r"batch size 4: the profile covers 1 to 3 \(measured: 1, 3\)"
    ):
        dataclasses.replace(Profile.constant(1, 1), costs=costs).step_cost(4)


def test_an_unmeasured_step_with_prompts_costs_a_round_plus_a_prefill():
    two = RoundTerms(Linear(10, 1), {1: 100, 5: 200}, {1: 2}, 7)
    costs = Costs(
        {1: two, 2: two}, prefill=Linear(50, 3), swap_out=Linear(0, 0), swap_in=Linear(0, 0)
    )
    step = dataclasses.replace(Profile.constant(1, 1), costs=costs).step_cost(2)
    assert step([], 0, [6, 2], 4) == 50 + 3 * 8
    assert step([4], 30, [6], 0) == 4 * 10 + 200 + 7 + (4 + 2) * 30 + 50 + 3 * 6


def test_with_swap_selects_another_way_and_scales_transfer_times():
    profile = load_profile("reference")
    assert profile.with_swap() is profile
    naive = profile.costs.swap_ways["naive"]
    changed = profile.with_swap("naive", 2.0).costs
    assert changed.swap_out == Linear(2 * naive.out.base_ns, 2 * naive.out.per_token_ns)
    assert changed.swap_in == Linear(2 * naive.back.base_ns, 2 * naive.back.per_token_ns)
    assert changed.rounds == profile.costs.rounds
    with pytest.raises(ValueError, match="swap 'x': the ways that the profile has are: pageable"):
        profile.with_swap("x")
    with pytest.raises(ValueError, match="swap_scale=-1: must be between"):
        profile.with_swap(scale=-1)
