"""The Spec-Bench importer, on a file made here and on the public ones."""

import json

import numpy as np
import pytest

from traces import FormatError, to_frame
from traces.spec_bench import DraftSchedule, import_spec_bench


def answer(question=1, lengths=((6, 3, 1), (2,)), **changes):
    choice = {
        "turns": ["x" * 30, "y" * 6],
        "decoding_steps": [len(turn) for turn in lengths],
        "new_tokens": [sum(turn) for turn in lengths],
        "wall_time": [0.1 * len(turn) for turn in lengths],
        "accept_lengths": [length for turn in lengths for length in turn],
    }
    return {"question_id": question, "category": "qa", "model_id": "m", "choices": [choice | changes]}


def written(tmp_path, *answers):
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(a if isinstance(a, str) else json.dumps(a) for a in answers))
    return path


def test_a_turn_becomes_a_request_with_its_draft_lengths_reconstructed(tmp_path):
    trace = import_spec_bench(written(tmp_path, answer())).trace
    assert trace.request_id == ["1-0", "1-1"]
    assert trace.output_tokens.tolist() == [10, 2]
    # five are drafted first; all five stand, so seven; two stand, so six. A turn starts anew at five
    assert trace.drafted.tolist() == [5, 7, 6, 5]
    assert trace.accepted.tolist() == [5, 2, 0, 1]
    assert trace.prompt_tokens.tolist() == [0, 0]
    assert trace.metadata["missing"] == ["prompt_tokens (0)"]


def test_prompt_lengths_are_estimated_from_the_conversation_so_far(tmp_path):
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question_id": 1, "turns": ["q" * 15, "r" * 9]}))
    trace = import_spec_bench(written(tmp_path, answer()), questions=questions).trace
    # 12 tokens in 36 characters of answers: 15 characters are 5 tokens; then 5 + 10 answered + 3
    assert trace.prompt_tokens.tolist() == [5, 18]


def test_the_draft_length_never_falls_below_one():
    assert DraftSchedule("heuristic", 3).drafted([0, 0, 0, 0, 1, 0]) == [3, 2, 1, 1, 1, 3]
    assert DraftSchedule("constant", 3).drafted([0, 3]) == [3, 3]


def test_known_costs_are_found_in_wall_times(tmp_path):
    rng = np.random.default_rng(0)
    answers = []
    for i in range(60):
        lengths = [int(x) for x in rng.integers(1, 4, size=rng.integers(5, 60))]
        rounds, drafted = len(lengths), sum(DraftSchedule("constant", 4).drafted([x - 1 for x in lengths]))
        wall = 0.020 * rounds + 0.002 * drafted if i % 2 else 0.020 * rounds + 0.002 * drafted * 1.0001
        answers.append(answer(i, (lengths,), wall_time=[wall], turns=["x"]))
    profile = import_spec_bench(written(tmp_path, *answers), draft_schedule="constant:4").profile
    # with a constant draft length only the sum of both terms can be known
    assert profile.round_cost()(4, 100) == pytest.approx(28_000_000, rel=1e-3)
    assert profile.kind == "wall_time_fit"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        ("{}", "'choices[0].decoding_steps' is no list"),
        (answer(decoding_steps=[3, 2]), "'decoding_steps' adds up to 5, 'accept_lengths' holds 4"),
        (answer(decoding_steps=[4]), "1 turns in 'decoding_steps', 2 in 'new_tokens'"),
        (answer(accept_lengths=[6, 3, 0, 2]), "below 1"),
        (answer(accept_lengths=[6, 3, "a", 2]), "'choices[0].accept_lengths' is no list"),
        (answer(lengths=((7, 1), (2,))), "turn 0: round 0 accepted 6 draft tokens where heuristic:5 had drafted 5"),
        (answer(new_tokens=[11, 2]), "field 'output_tokens': 11"),
    ],
)
def test_a_malformed_answer_is_refused_by_line(tmp_path, line, message):
    path = written(tmp_path, answer(), line)
    with pytest.raises(FormatError) as error:
        import_spec_bench(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["tree", "tree:5", "heuristic", "constant:0", "constant:x"])
def test_an_unknown_schedule_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="draft schedule"):
        import_spec_bench(written(tmp_path, answer()), draft_schedule=text)


def test_a_truncated_gzip_file_is_refused(tmp_path, public_data):
    path = tmp_path / "half.jsonl.gz"
    source = next((public_data / "acceptance").glob("mt_bench*"))
    path.write_bytes(source.read_bytes()[:20_000])
    with pytest.raises(FormatError, match=r"half\.jsonl\.gz"):
        import_spec_bench(path)


def test_the_public_vicuna_trace_gives_its_known_figures(public_data):
    source = public_data / "acceptance" / "spec_bench__vicuna-7b-v1.3-sps-68m-float16-temp-0.0.jsonl.gz"
    imported = import_spec_bench(source, questions=public_data / "prompts" / "spec_bench_question.jsonl.gz")
    trace = imported.trace
    assert (len(trace), trace.rounds.sum(), trace.output_tokens.sum()) == (560, 40_632, 92_564)
    assert trace.output_tokens.sum() / trace.rounds.sum() == pytest.approx(2.2781, abs=5e-5)
    assert trace.accepted.sum() / trace.drafted.sum() == pytest.approx(0.3941, abs=5e-5)
    frame = to_frame(trace)
    assert frame["acceptance"].mean() == pytest.approx(0.3414, abs=5e-5)
    assert frame["acceptance"].std(ddof=0) == pytest.approx(0.1054, abs=5e-5)
    assert frame["output_tokens"].mean() == pytest.approx(165.3, abs=0.05)
    assert frame["output_tokens"].median() == 120.5
    per_round = frame.groupby("dataset")["output_tokens"].sum() / frame.groupby("dataset")["rounds"].sum()
    known = {"translation": 1.454, "math_reasoning": 2.089, "qa": 2.237, "summarization": 2.424, "rag": 2.464,
             "coding": 2.763}  # fmt: skip
    assert {name: round(per_round[name], 3) for name in known} == known
    assert imported.profile.fits["request"]["median_error"] < 0.09


def test_the_public_mt_bench_trace_gives_its_known_figures(public_data):
    trace = import_spec_bench(next((public_data / "acceptance").glob("mt_bench*"))).trace
    assert (len({i.split("-")[0] for i in trace.request_id}), trace.rounds.sum()) == (80, 18_347)
    assert trace.output_tokens.sum() / trace.rounds.sum() == pytest.approx(2.351, abs=5e-4)
