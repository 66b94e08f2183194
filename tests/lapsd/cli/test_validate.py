"""`lapsd validate` reports wrong options in one line, before any model is loaded."""

from dataclasses import dataclass, replace

import pytest

import lapsd.cli.validate_live as cli
from lapsd.calibrate.models.loading import load_tokenizer
from lapsd.policies import FCFS, LAS
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
        ("--budget -1", "--budget -1: must be a number of seconds above 0, or unlimited"),
        ("--load 0", "load=0.0: must be above 0"),
        ("--policy unheard-of", "unknown policy 'unheard-of'"),
        ("--policy absent.Mine", "policy absent.Mine: cannot import absent"),
        ("--html page.txt", "--html page.txt: the file's ending must be .html"),
        ("--plot page.txt", "--plot page.txt: the file's ending must be one of"),
        ("--resume", "--resume: needs --out"),
        ("--held-out --engine vllm", "--held-out: needs --engine own"),
        ("--held-out --draft-policy off", "--held-out: excludes --draft-policy"),
        ("--batch 4 --kv-slots 2", "kv_slots=2: must be at least the batch size, 4"),
        ("--length-predictor column:mine", "the trace has no column 'predicted_tokens:mine'"),
        (
            "--target ./nowhere",
            "is of the models reference + reference, but the models to serve are ./nowhere",
        ),
    ],
)
def test_wrong_options_are_reported_in_one_line(options, message, capsys):
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
    assert (
        "is of the models a + b, but the models to serve are reference" in capsys.readouterr().err
    )


@dataclass(frozen=True)
class LowerIsBetter(LAS):
    """A user's policy that inherits the name `las`."""


@dataclass(frozen=True)
class Broken(FCFS):
    """A user's policy with a mistake."""

    def rank(self, job, now_ns):
        return (job.no_such_attribute,)


def test_a_policy_that_raises_is_refused_before_any_model_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "load_tokenizer", load_tokenizer)
    out = tmp_path / "out"
    assert cli.main(["--policy", f"{__name__}.Broken", "--requests", "3", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "policy Broken: rank of request 0 at" in error
    assert "no_such_attribute" in error
    assert not out.exists()


def test_a_users_own_policy_does_not_replace_one_of_the_same_name():
    policies = cli._policies(["las", f"{__name__}.LowerIsBetter"])
    assert [type(p) for p in policies] == [FCFS, LAS, LowerIsBetter]


def test_fcfs_always_runs_first():
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


def test_prompts_come_from_the_data_sets_in_the_trace():
    trace = load_trace("reference").only("arithmetic")
    texts = cli._texts(trace, None, "prompt")
    assert {dataset for dataset, _, _ in texts} == {"arithmetic"}
    assert len(texts) >= len(trace)
