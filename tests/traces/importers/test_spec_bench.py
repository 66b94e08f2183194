"""The Spec-Bench importer, on files made here and on public files."""

import json

import numpy as np
import pytest

from lapsd.traces import (
    FormatError,
    Profile,
    at_draft_length,
    load_profile,
    price,
    save_profile,
    to_frame,
    trace_from_rounds,
)
from lapsd.traces.derived.draft_schedule import DraftSchedule
from lapsd.traces.importers import SpecBench


def answer(question=1, lengths=((6, 3, 1), (2,)), **changes):
    choice = {
        "turns": ["x" * 30, "y" * 6],
        "decoding_steps": [len(turn) for turn in lengths],
        "new_tokens": [sum(turn) for turn in lengths],
        "wall_time": [0.1 * len(turn) for turn in lengths],
        "accept_lengths": [length for turn in lengths for length in turn],
    }
    return {
        "question_id": question,
        "category": "qa",
        "model_id": "m",
        "choices": [choice | changes],
    }


def written(tmp_path, *answers):
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(a if isinstance(a, str) else json.dumps(a) for a in answers))
    return path


def test_each_turn_becomes_a_request_with_reconstructed_draft_lengths(tmp_path):
    trace = SpecBench().read(written(tmp_path, answer())).trace
    assert trace.request_id == ["1-0", "1-1"]
    assert trace.output_tokens.tolist() == [10, 2]
    # the first round drafts five and accepts all, so the next drafts seven; that accepts two, so
    # the next drafts six; a new turn starts at five
    assert trace.drafted.tolist() == [5, 7, 6, 5]
    assert trace.accepted.tolist() == [5, 2, 0, 1]
    assert trace.prompt_tokens.tolist() == [0, 0]
    assert trace.provenance.missing == ("prompt_tokens (0)",)


def test_prompt_lengths_are_estimated_from_the_conversation_up_to_the_turn(tmp_path):
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question_id": 1, "turns": ["q" * 15, "r" * 9]}))
    trace = SpecBench(questions).read(written(tmp_path, answer())).trace
    # answers have 12 tokens in 36 characters, so 15 characters are 5 tokens; the second prompt has
    # 5 + 10 tokens of the first turn and 3 of its own
    assert trace.prompt_tokens.tolist() == [5, 18]


def test_the_heuristic_draft_length_is_at_least_one():
    assert DraftSchedule("heuristic", 3).drafted([0, 0, 0, 0, 1, 0]) == [3, 2, 1, 1, 1, 3]
    assert DraftSchedule("constant", 3).drafted([0, 3]) == [3, 3]


def timed(tmp_path, schedule):
    """Return the profile fitted to turns that take 20 ms per round and 2 ms per draft token."""
    rng, rule, answers = np.random.default_rng(0), DraftSchedule.parse(schedule), []
    for i in range(60):
        lengths = [int(x) for x in rng.integers(1, 4, size=rng.integers(5, 60))]
        if rule.kind == "heuristic":  # lengths that the heuristic can produce
            lengths = [6, *(min(x, 2) for x in lengths)]
        drafted = sum(rule.drafted([x - 1 for x in lengths]))
        wall = 0.020 * len(lengths) + 0.002 * drafted
        answers.append(answer(i, (lengths,), wall_time=[wall], turns=["x"]))
    return SpecBench(draft_schedule=schedule).read(written(tmp_path, *answers)).profile


def test_the_fit_to_wall_times_recovers_known_costs_if_draft_lengths_differ(tmp_path):
    profile = timed(tmp_path, "heuristic:5")
    assert profile.kind == "wall_time_fit"
    assert profile.costs.rounds[1].draft_step.base_ns == pytest.approx(2_000_000, rel=1e-3)
    assert profile.round_cost()(6, 100) == pytest.approx(32_000_000, rel=1e-3)


def test_a_fit_to_one_draft_length_covers_only_that_length(tmp_path):
    """The costs of rounds and draft tokens cannot be separated if all drafts are equally long.

    An earlier version returned 0 ms per round and 7 ms per draft token, one of many equally good
    fits.
    """
    profile = timed(tmp_path, "constant:4")
    terms = profile.costs.rounds[1]
    assert (terms.draft_step.base_ns, terms.verify(5).base_ns) == (
        0,
        pytest.approx(28_000_000, rel=1e-6),
    )
    save_profile(profile, tmp_path / "p.json")
    again = load_profile(tmp_path / "p.json")
    assert again.round_cost()(4, 100) == terms.verify(5).base_ns
    rows = {
        "request_id": "a",
        "dataset": "d",
        "prompt_tokens": 1,
        "output_tokens": 3,
        "drafted": [4, 4],
        "accepted": [1, 0],
        "acceptable": [1, 0, 0],
    }
    trace = trace_from_rounds([rows])
    assert price(trace, again).decode_ns.tolist() == [2 * terms.verify(5).base_ns]
    for n in (0, 3, 5):
        with pytest.raises(
            ValueError,
            match=f"draft tokens {n}: the profile was fitted to rounds of 4 draft tokens",
        ):
            price(at_draft_length(trace, n, np.random.default_rng(0)), again)
    assert Profile.constant(1, 2).round_cost()(9, 0) == 11_000_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        ("{}", "'choices[0].decoding_steps' is not a list"),
        (answer(decoding_steps=[3, 2]), "'decoding_steps' adds up to 5, 'accept_lengths' holds 4"),
        (answer(decoding_steps=[4]), "1 turns in 'decoding_steps', 2 in 'new_tokens'"),
        (answer(accept_lengths=[6, 3, 0, 2]), "below 1"),
        (answer(accept_lengths=[6, 3, "a", 2]), "'choices[0].accept_lengths' is not a list"),
        (
            answer(lengths=((7, 1), (2,))),
            "turn 0: round 0 accepted 6 draft tokens, but heuristic:5 drafts 5",
        ),
        (answer(new_tokens=[11, 2]), "field 'output_tokens': 11"),
    ],
)
def test_the_error_for_a_malformed_answer_names_file_and_line(tmp_path, line, message):
    path = written(tmp_path, answer(), line)
    with pytest.raises(FormatError) as error:
        SpecBench().read(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_the_error_for_unknown_draft_lengths_suggests_a_constant_schedule(tmp_path):
    path = written(tmp_path, answer(), answer(2, ((9, 3), (13,))))
    with pytest.raises(
        FormatError, match=r"line 2, turn 0: round 0 accepted 8.*draft_schedule constant:12 \(the"
    ):
        SpecBench().read(path)
    trace = SpecBench(draft_schedule="constant:12").read(path).trace
    assert set(trace.drafted.tolist()) == {12}


def test_the_error_for_a_missing_question_names_it(tmp_path):
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question_id": 1, "turns": ["q"]}))
    with pytest.raises(FormatError, match=r"line 1: question 81 is not in .*questions\.jsonl"):
        SpecBench(questions).read(written(tmp_path, answer(81)))
    with pytest.raises(
        FormatError, match=r"line 1: question 1 has fewer turns in .*questions\.jsonl"
    ):
        SpecBench(questions).read(written(tmp_path, answer(1)))


@pytest.mark.parametrize("text", ["tree", "tree:5", "heuristic", "constant:0", "constant:x"])
def test_an_unknown_draft_schedule_raises_an_error(tmp_path, text):
    with pytest.raises(ValueError, match="draft schedule"):
        SpecBench(draft_schedule=text)


def test_the_error_for_a_truncated_gzip_file_names_it(tmp_path, public_data):
    path = tmp_path / "half.jsonl.gz"
    source = next((public_data / "acceptance").glob("mt_bench*"))
    path.write_bytes(source.read_bytes()[:20_000])
    with pytest.raises(FormatError, match=r"half\.jsonl\.gz"):
        SpecBench().read(path)


def test_the_public_vicuna_trace_has_its_known_statistics(public_data):
    source = (
        public_data / "acceptance" / "spec_bench__vicuna-7b-v1.3-sps-68m-float16-temp-0.0.jsonl.gz"
    )
    imported = SpecBench(public_data / "prompts" / "spec_bench_question.jsonl.gz").read(source)
    trace = imported.trace
    assert (len(trace), trace.rounds.sum(), trace.output_tokens.sum()) == (560, 40_632, 92_564)
    assert trace.output_tokens.sum() / trace.rounds.sum() == pytest.approx(2.2781, abs=5e-5)
    assert trace.accepted.sum() / trace.drafted.sum() == pytest.approx(0.3941, abs=5e-5)
    frame = to_frame(trace)
    assert frame["acceptance"].mean() == pytest.approx(0.3414, abs=5e-5)
    assert frame["acceptance"].std(ddof=0) == pytest.approx(0.1054, abs=5e-5)
    assert frame["output_tokens"].mean() == pytest.approx(165.3, abs=0.05)
    assert frame["output_tokens"].median() == 120.5
    per_round = (
        frame.groupby("dataset")["output_tokens"].sum() / frame.groupby("dataset")["rounds"].sum()
    )
    known = {
        "translation": 1.454,
        "math_reasoning": 2.089,
        "qa": 2.237,
        "summarization": 2.424,
        "rag": 2.464,
        "coding": 2.763,
    }
    assert {name: round(per_round[name], 3) for name in known} == known
    terms = imported.profile.costs.rounds[1]
    assert (round(terms.verify(1).base_ns / 1e6, 2), round(terms.draft_step.base_ns / 1e6, 2)) == (
        21.48,
        2.47,
    )
    assert imported.profile.fits.request.median_error < 0.09
    assert imported.profile.costs.only_draft_tokens is None


def test_the_public_mt_bench_trace_has_its_known_statistics(public_data):
    trace = SpecBench().read(next((public_data / "acceptance").glob("mt_bench*"))).trace
    assert (len({i.split("-")[0] for i in trace.request_id}), trace.rounds.sum()) == (80, 18_347)
    assert trace.output_tokens.sum() / trace.rounds.sum() == pytest.approx(2.351, abs=5e-4)


def test_the_public_vicuna_trace_with_a_constant_schedule_gives_one_draft_length(public_data):
    source = (
        public_data / "acceptance" / "spec_bench__vicuna-7b-v1.3-sps-68m-float16-temp-0.0.jsonl.gz"
    )
    with pytest.raises(FormatError, match=r"draft_schedule constant:60 \(the largest number"):
        SpecBench(draft_schedule="constant:5").read(source)
    imported = SpecBench(draft_schedule="constant:60").read(source)
    assert set(imported.trace.drafted.tolist()) == {60}
    profile = imported.profile
    assert profile.costs.rounds[1].draft_step.base_ns == 0
    assert 20e6 < profile.round_cost()(60, 0) < 60e6
    assert profile.warnings()[-1] == (
        "fitted to rounds of 60 draft tokens only: covers no other draft length"
    )
