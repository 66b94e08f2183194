"""End-to-end tests of `lapsd calibrate` with the reference pair, and of its error messages."""

import contextlib
import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lapsd import compare
from lapsd.calibrate import generate, record
from lapsd.calibrate.timing import cells
from lapsd.cli.calibrate_pair import main
from lapsd.traces import at_draft_length, load_profile, load_trace, to_frame
from lapsd.traces.provenance import Model

QUICK = ["--quick", "--batches", "1", "--device", "cpu"]
SMALL = ["--requests", "3", "--max-new-tokens", "24", *QUICK]


@pytest.fixture(autouse=True)
def _short_contexts(calibrated, monkeypatch):
    """Time contexts of at most 256 tokens: half the time of a calibration. `folder` has all.

    Calibrations of the reference pair take the rates of the hardware from that of `folder`.
    """
    measure, rates = record.floors, load_profile(calibrated[0] / "profile.json").floors

    def once(pair, *of):
        return rates if pair.target_name == "reference" else measure(pair, *of)

    monkeypatch.setattr(record, "_longest", lambda pair: 256)
    monkeypatch.setattr(record, "floors", once)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A folder of a calibration, and what the command wrote to stderr."""
    out, written = tmp_path_factory.mktemp("calibration"), io.StringIO()
    with contextlib.redirect_stderr(written):
        assert main([*SMALL, "--greedy", "--out", str(out)]) == 0
    return out, written.getvalue()


@pytest.fixture
def folder(calibrated):
    return calibrated[0]


def test_the_trace_agrees_with_the_recorded_rounds(folder):
    trace, rounds = load_trace(folder / "trace.parquet"), pd.read_parquet(folder / "rounds.parquet")
    assert trace.datasets == ["code", "prose", "arithmetic"]
    assert len(trace) == 9
    assert trace.output_tokens.max() <= 24
    assert (trace.drafted == 4).all()
    assert np.array_equal(rounds["accepted"], trace.accepted)
    assert rounds["request_id"].drop_duplicates().tolist() == trace.request_id
    assert (rounds["draft_ns"] + rounds["verify_ns"] <= rounds["total_ns"]).all()


def test_the_profile_has_measured_costs_and_provenance(folder):
    profile = load_profile(folder / "profile.json")
    assert (profile.kind, profile.weights) == ("measured", "reference")
    terms = profile.costs.rounds[1]
    assert sorted(terms.verify_base_ns) == [1, 2, 5, 9]
    assert terms.draft_step.base_ns < terms.verify(5).base_ns
    assert set(profile.costs.swap_ways) == {"pageable", "naive", "int8"}
    assert profile.costs.swap_out(512) > 0
    known = profile.provenance
    assert known.target == Model(name="reference", parameters=6951168, type="llama")
    assert known.greedy_check.exact
    assert known.greedy_check.tokens > 30
    assert known.command.startswith("lapsd calibrate")
    fits, alone = profile.fits, profile.fits.notes["alone"]
    assert {"draft_step", "verify_5", "prefill", "recompute", "swap_out", "swap_in"} <= set(
        fits.terms
    )
    assert fits.round.none_accepted is not None
    assert 0 < fits.notes["swap_notes"]["int8_relative_error"] < 0.05
    assert profile.floors.bytes_per_second["copy"] > 1e8
    assert alone["verify_ns"] > alone["draft_step_ns"] > 0
    pays = profile.speculation
    assert [row.draft_tokens for row in pays.table] == list(range(17))
    assert pays.best_draft_tokens[1] == 0 or pays.check.measured_tokens_per_s > 0
    samples = pd.read_parquet(folder / "samples.parquet")
    assert set(samples["term"]) >= {"cell", "prefill", "swap_out int8", "swap_in naive"}
    assert load_trace(folder / "trace.parquet").provenance.command == known.command


def test_compare_runs_on_a_calibrated_trace_and_profile(folder):
    result = compare(
        load_trace(folder / "trace.parquet"),
        load_profile(folder / "profile.json"),
        requests=5,
        seeds=2,
    )
    assert len(result.records) == 7
    assert all(r["ratio_to_bound"] >= 1 for r in result.records)


def test_the_same_seed_gives_the_same_acceptances(folder, tmp_path):
    for seed in ("0", "0", "1"):
        assert (
            main(
                [
                    *SMALL,
                    "--seed",
                    seed,
                    "--out",
                    str(tmp_path),
                    "--overwrite",
                    "--prompts",
                    "arithmetic",
                ]
            )
            == 0
        )
        trace = load_trace(tmp_path / "trace.parquet")
        (tmp_path / f"{seed}.json").open("a").write(json.dumps(trace.accepted.tolist()) + "\n")
    first, second = (tmp_path / "0.json").read_text().splitlines()
    assert first == second
    assert (tmp_path / "1.json").read_text().splitlines()[0] != first


def test_prompts_from_a_file_are_decoded(tmp_path):
    (tmp_path / "mine.jsonl").write_text(
        '{"prompt": "def add(a, b):"}\n{"prompt": "Question: 1 + 1?\\nAnswer:"}\n'
    )
    arguments = [
        "--prompts",
        str(tmp_path / "mine.jsonl"),
        "--requests",
        "2",
        "--max-new-tokens",
        "8",
        *QUICK,
    ]
    assert (
        main(
            [
                *arguments,
                "--out",
                str(tmp_path / "out"),
                "--draft-tokens",
                "2",
                "--temperature",
                "0.5",
            ]
        )
        == 0
    )
    trace = load_trace(tmp_path / "out" / "trace.parquet")
    assert trace.request_id == ["mine-1", "mine-2"]
    assert (trace.drafted == 2).all()


def test_one_token_of_one_request_is_enough_to_calibrate(tmp_path):
    arguments = ["--requests", "1", "--max-new-tokens", "1", "--prompts", "code", *QUICK]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert len(load_trace(tmp_path / "trace.parquet")) == 1
    assert load_profile(tmp_path / "profile.json").costs.rounds[1].verify(5).base_ns > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--requests", "0"], "requests=0: must be between 1"),
        (["--draft-tokens", "0"], "draft_tokens=0: must be between 1"),
        (["--max-new-tokens", "0"], "max_new_tokens=0: must be between 1"),
        (["--max-new-tokens", "2000"], "leaves no room for a prompt in a context of 1024"),
        (["--requests", "5000", "--prompts", "prose"], "requests 5000: only"),
        (["--temperature", "-1"], "temperature=-1.0"),
        (["--greedy", "--temperature", "1"], "give only one of them"),
        (["--seed", "-1"], "--seed -1"),
        (["--device", "abacus"], "device='abacus'"),
        (["--dtype", "int4"], "dtype='int4'"),
        (["--target", "./nowhere"], "no such folder"),
        (["--prompts", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--draft-tokens", "many"], "--draft-tokens 'many': must be whole numbers separated by"),
        (["--draft-tokens", "4,4"], "must be different numbers"),
        (["--batches", "0"], "batches=0: must be between 1"),
        (["--budget", "0"], "--budget 0: must be a number of seconds above 0, or unlimited"),
        (["--budget", "nan"], "--budget nan: must be a number of seconds above 0, or unlimited"),
        (["--budget", "soon"], "--budget soon: must be a number of seconds above 0"),
        (["--chat"], "--chat: the tokenizer of reference has no chat template"),
        (["--resume"], "has no journal.jsonl, so there is nothing to resume"),
        (["--resume", "--overwrite"], "give only one of them"),
        (["--random-weights", "llama-7b"], "must be TARGET+DRAFT"),
        (["--random-weights", "gpt+gpt"], "random weights 'gpt': not one of llama-7b"),
        (["--random-weights", "a+b", "--chat"], "cannot be combined with --target"),
        (["--drafts", "4"], "No such option"),
    ],
)
def test_invalid_calibrate_options_give_one_line_and_exit_code_2(
    tmp_path, capsys, arguments, message
):
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_error_for_a_too_long_prompt_names_it(tmp_path, capsys):
    (tmp_path / "long.jsonl").write_text(json.dumps({"prompt": "word " * 3_000}))
    assert (
        main(
            [
                "--prompts",
                str(tmp_path / "long.jsonl"),
                "--requests",
                "1",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 2
    )
    assert "prompt long-1: " in capsys.readouterr().err


def test_a_calibration_is_overwritten_only_with_the_option(folder, capsys):
    assert main([*SMALL, "--out", str(folder)]) == 2
    assert "; choose another --out or give --overwrite" in capsys.readouterr().err


def test_calibrate_runs_without_simpy():
    script = (
        "import sys; sys.modules['simpy'] = None; sys.argv = ['lapsd', 'calibrate', '--requests',"
        " '0']\n"
    )
    script += "from lapsd.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_each_draft_length_gives_one_trace(tmp_path):
    arguments = [*SMALL, "--greedy", "--prompts", "arithmetic", "--draft-tokens", "4,1"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    long, short = (load_trace(tmp_path / f"trace-n{n}.parquet") for n in (4, 1))
    assert (long.drafted == 4).all()
    assert (short.drafted == 1).all()
    assert long.request_id == short.request_id
    assert (
        at_draft_length(long, 1, np.random.default_rng(0)).accepted.tolist()
        == short.accepted.tolist()
    )
    assert not (tmp_path / "trace.parquet").exists()
    profile = load_profile(tmp_path / "profile.json")
    assert set(profile.fits.round_by_draft_tokens) == {1, 4}


def test_a_resumed_calibration_gives_the_same_trace(folder, tmp_path, capsys, monkeypatch):
    def stop_at(request):
        def stopped(*args, **options):
            if options.get("request") == request:
                raise KeyboardInterrupt
            return generate(*args, **options)

        return stopped

    arguments = [*SMALL, "--greedy", "--out", str(tmp_path)]
    monkeypatch.setattr("lapsd.calibrate.recording.generate", stop_at(4))
    assert main(arguments) == 130
    message = capsys.readouterr().err
    assert "interrupted: 4 of 9 requests are saved in" in message.splitlines()[-1]
    assert main(arguments) == 2
    assert "unfinished calibration; give --resume" in capsys.readouterr().err
    journal = tmp_path / "journal.jsonl"
    with journal.open("a") as file:
        file.write('{"request_id": "half a li')  # as if killed while writing
    assert main([*arguments, "--resume", "--seed", "1"]) == 2
    assert "cannot be resumed: seed was 0, and is 1" in capsys.readouterr().err
    monkeypatch.setattr("lapsd.calibrate.recording.generate", stop_at(7))
    assert main([*arguments, "--resume"]) == 130
    assert "7 of 9" in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*arguments, "--resume"]) == 0
    assert not journal.exists()
    whole, pieced = (to_frame(load_trace(f / "trace.parquet")) for f in (folder, tmp_path))
    pd.testing.assert_frame_equal(whole, pieced)


def test_a_budget_leaves_out_requests_and_batch_sizes_and_names_them(tmp_path, capsys):
    arguments = ["--requests", "3", "--max-new-tokens", "8", "--batches", "1,2", "--device", "cpu"]
    assert main([*arguments, "--budget", "0.01", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("lapsd calibrate: left out to stay within 0.01 s: 3 of 9 requests;")
    assert "cells (batch sizes 2)" in lines[-1]
    trace, profile = load_trace(tmp_path / "trace.parquet"), load_profile(tmp_path / "profile.json")
    assert trace.dataset == ["code", "prose", "arithmetic"] * 2
    assert list(profile.costs.rounds) == [1]
    assert profile.provenance.left_out[0] == "3 of 9 requests"
    assert profile.provenance.notes["budget_s"] == 0.01
    assert trace.provenance.left_out == profile.provenance.left_out


def test_each_stage_is_one_line_on_stderr_without_a_terminal(calibrated):
    folder, written = calibrated
    stages = [line.split(":")[0] for line in written.splitlines()]
    named = [stage for stage in stages if not stage.startswith(("warning", "threads"))]
    assert named == [
        "decoding requests",
        "timing prefills",
        "timing swaps",
        "timing blocks of rounds",
        "predicting lengths",
        "comparing draft lengths",
    ]
    assert load_profile(folder / "profile.json").provenance.left_out == ()


def test_random_weights_are_only_timed(tmp_path, capsys):
    arguments = [
        "--random-weights",
        "tiny-target+tiny-draft",
        "--quick",
        "--batches",
        "1,2",
        "--device",
        "cpu",
    ]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    profile = load_profile(tmp_path / "profile.json")
    assert profile.weights == "random"
    assert list(profile.costs.rounds) == [1, 2]
    assert profile.round_cost(2)(4, 100) > 0
    assert profile.fits.notes["swap_notes"]["int8_relative_error"] is None
    assert profile.speculation is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["profile.json", "samples.parquet"]


def test_ctrl_c_during_timing_keeps_the_finished_timings(tmp_path, capsys, monkeypatch):
    visit = cells._Bench.visit

    def stopped(bench, some):
        if some[0][1].batch == 2:
            raise KeyboardInterrupt
        return visit(bench, some)

    monkeypatch.setattr(cells._Bench, "visit", stopped)
    monkeypatch.setattr(
        "lapsd.calibrate.record.design", lambda *a: sorted(cells.design(*a), key=lambda c: c.batch)
    )
    arguments = [
        "--random-weights",
        "tiny-target+tiny-draft",
        "--quick",
        "--batches",
        "1,2",
        "--device",
        "cpu",
    ]
    assert main([*arguments, "--out", str(tmp_path)]) == 130
    assert "is marked incomplete" in capsys.readouterr().err
    profile = load_profile(tmp_path / "profile.json")
    assert list(profile.costs.rounds) == [1]
    assert profile.provenance.incomplete[0].startswith("batch 2")
    assert profile.provenance.incomplete[0].endswith("interrupted")
