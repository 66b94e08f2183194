"""`lapsd validate`: what is wrong is said in a line, before any model is loaded."""

from dataclasses import replace

import pytest

import lapsd.cli.validate_live as cli
from lapsd.traces import Profile, load_trace, save_profile, save_trace, trace_from_rounds
from lapsd.traces.provenance import Model, Provenance
from tests.builders import row

BOTH = {"target": Model(name="reference"), "draft": Model(name="reference")}


@pytest.fixture(autouse=True)
def no_models(monkeypatch):
    def refuse(*args, **more):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(cli, "load_pair", refuse)
    monkeypatch.setattr(cli, "load_tokenizer", refuse)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--clock sun", "--clock sun: must be busy or wall"),
        ("--engine sglang", "--engine sglang: must be own or vllm"),
        ("--seeds 0", "--seeds 0: must be at least 1"),
        ("--load 0", "load 0.0: must be above 0"),
        ("--policy nobody", "unknown policy 'nobody'"),
        ("--html page.txt", "--html page.txt: the file's ending must be .html"),
        ("--plot page.txt", "--plot page.txt: the file's ending must be one of"),
        ("--resume", "--resume: needs --out"),
        ("--batch 4 --kv-slots 2", "kv_slots 2: must be at least the batch size, 4"),
        ("--length-predictor column:mine", "the trace has no column 'predicted_tokens:mine'"),
        (
            "--target ./nowhere",
            "is of reference + reference, but ./nowhere + reference are to be served",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(options, message, capsys):
    assert cli.main(options.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_trace_without_predictions_or_a_profile_of_other_models_is_refused(tmp_path, capsys):
    trace = trace_from_rounds([row("a", 5, [2, 1]), row("b", 6, [3])], Provenance(**BOTH))
    save_trace(trace, tmp_path / "bare.parquet")
    assert cli.main(["--trace", str(tmp_path / "bare.parquet")]) == 2
    assert (
        "length predictor learned: the trace has no column 'predicted_tokens'"
        in capsys.readouterr().err
    )
    other = replace(
        Profile.constant(1, 3), provenance=Provenance(target=Model(name="a"), draft=Model(name="b"))
    )
    save_profile(other, tmp_path / "other.json")
    assert cli.main(["--profile", str(tmp_path / "other.json")]) == 2
    assert "is of a + b, but reference + reference are to be served" in capsys.readouterr().err


def test_fcfs_is_always_there_and_first():
    assert [p.name for p in cli._policies(["las", "fcfs"])] == ["fcfs", "las"]
    assert [p.name for p in cli._policies(None)] == [
        "fcfs",
        "las",
        "lp-sjf",
        "lp-srpt",
        "laps-sd",
        "kernel-gittins",
        "srpt",
    ]


def test_prompts_are_those_of_the_traces_data_sets():
    trace = load_trace("reference").only("arithmetic")
    texts = cli._texts(trace, None, "prompt")
    assert {dataset for dataset, _, _ in texts} == {"arithmetic"}
    assert len(texts) >= len(trace)
