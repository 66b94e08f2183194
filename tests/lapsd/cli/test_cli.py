"""The command line: what it prints, and how it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pandas as pd
import pytest

from lapsd import cli
from lapsd.traces import load_profile, load_trace, save_profile, save_trace
from tests.sim.experiment.test_comparison import PROFILE, TRACE


@pytest.fixture
def files(tmp_path):
    save_trace(TRACE, tmp_path / "t.parquet")
    save_profile(PROFILE, tmp_path / "p.json")
    return ["--trace", str(tmp_path / "t.parquet"), "--profile", str(tmp_path / "p.json")]


def test_compare_prints_one_row_per_policy_and_a_caption(lapsd, files):
    code, out, _ = lapsd("compare", *files, "--seeds", 3, "--versus", "laps-sd")
    assert code == 0
    for text in (
        "fcfs",
        "las",
        "lp-sjf",
        "laps-sd",
        "srpt †",
        "a test's trace",
        "mean latency of laps-sd against",
    ):
        assert text in out


def test_with_json_stdout_holds_only_json(lapsd, files):
    code, out, _ = lapsd(
        "compare", *files, "--seeds", 2, "--json", "--policy", "fcfs", "--policy", "laps-sd:K=2"
    )
    records = json.loads(out)
    assert code == 0
    assert [r["policy"] for r in records] == ["fcfs", "laps-sd:K=2"]
    keys = (
        "policy mean_latency_s p50_latency_s p90_latency_s p99_latency_s mean_slowdown max_slowdown"
        " preemptions switching_share ratio_to_bound diff_to_fcfs_s diff_low_s diff_high_s seeds"
        " requests load realised_load"
    )
    assert list(records[0]) == keys.split()


def test_out_and_plot_are_written(lapsd, files, tmp_path):
    out, plot = tmp_path / "result", tmp_path / "figure.pdf"
    code, text, _ = lapsd("compare", *files, "--seeds", 2, "--out", out, "--plot", plot)
    assert code == 0
    assert str(plot) in text
    assert plot.read_bytes().startswith(b"%PDF")
    assert len(pd.read_parquet(out)) == 2 * 7 * 30
    code, _, error = lapsd("compare", *files, "--seeds", 2, "--out", out)
    assert (code, error.count("\n")) == (2, 1)
    assert lapsd("compare", *files, "--seeds", 1, "--out", out, "--overwrite")[0] == 0
    assert len(pd.read_parquet(out)) == 7 * 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--requests", "0"], "requests=0: must be at least 1"),
        (["--load", "-1"], "load=-1.0: must be above 0"),
        (["--load", "x"], "--load 'x': needs a number"),
        (["--seeds", "0"], "seeds=0: must be at least 1"),
        (
            ["--rate", "1", "--load", "1"],
            "give either a load, a rate, all-at-once or a number of clients",
        ),
        (["--policy", "laps-sd:K=0"], "K=0 must be between 1 and 64"),
        (["--policy", "laps-sd:delta=-1"], "delta=-1.0 must be between 0 and 1"),
        (["--policy", "laps-sd:kappa=1"], "no parameter 'kappa'"),
        (["--policy", "best"], "unknown policy 'best': known are"),
        (["--trace", "nowhere.parquet"], "trace nowhere.parquet: no such file"),
        (["--profile", "nowhere.json"], "profile nowhere.json: no such file"),
        (["--length-predictor", "bert"], "length predictor 'bert'"),
        (["--kv-slots", "-1"], "kv_slots=-1: must be at least 1"),
        (["--dataset", "poems"], "dataset 'poems': the trace holds toy"),
        (["--plot", "x.doc"], "must be one of .png, .pdf, .svg"),
        (["--plot", "nowhere/x.png"], "there is no folder nowhere"),
        (["--split-seed", "-1"], "split_seed=-1"),
        (["--versus", "gittins"], "not among the policies compared"),
        (["--polcy", "fcfs"], "No such option: --polcy"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(lapsd, files, tmp_path, arguments, message):
    out = tmp_path / "result"
    given = [word for at, word in enumerate(files) if files[at - at % 2] not in arguments]
    code, stdout, error = lapsd("compare", *given, *arguments, "--out", out)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("lapsd: ")
    assert not stdout
    assert not (out / "requests.parquet").exists()


def test_an_unwritable_folder_is_refused_before_any_work(lapsd, files, tmp_path):
    (tmp_path / "file").touch()
    code, _, error = lapsd("compare", *files, "--out", tmp_path / "file" / "below")
    assert (code, error.count("\n")) == (2, 1)
    assert "below" in error


def test_batches_and_memory_are_options(lapsd):
    options = (
        "--seeds",
        1,
        "--batch",
        4,
        "--kv-tokens",
        1500,
        "--evict",
        "recompute",
        "--prefill",
        "batched",
    )
    code, out, _ = lapsd("compare", *options)
    assert code == 0
    assert "batches of up to 4, 1500 KV tokens, evict by recompute, prompts batched" in " ".join(
        out.split()
    )
    for wrong, message in (
        (("--batch", 64), "batch size 64: the profile covers"),
        (("--evict", "x"), "evict='x'"),
        (("--batch", 4, "--kv-slots", 2), "kv_slots=2: must be at least the batch size, 4"),
        (("--kv-tokens", 9), "can never fit"),
    ):
        code, _, error = lapsd("compare", "--seeds", 1, *wrong)
        assert (code, error.count("\n")) == (2, 1)
        assert message in error


def test_show_recognises_traces_and_profiles(lapsd, files):
    code, out, _ = lapsd("show", files[1])
    assert code == 0
    assert "toy" in out
    code, out, _ = lapsd("show", files[3])
    assert code == 0
    assert "verify, width 1" in out
    assert lapsd("show", "nowhere")[0] == 2


def test_the_figure_of_a_profile_uses_its_raw_timings(lapsd, files, tmp_path):
    code, out, _ = lapsd("show", "reference.json", "--plot", tmp_path / "p.png")
    assert code == 0
    assert "KV swap" in out
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    save_profile(load_profile("reference"), tmp_path / "p.json")
    (tmp_path / "samples.parquet").touch()
    code, _, error = lapsd("show", tmp_path / "p.json", "--plot", tmp_path / "q.png")
    assert code == 2
    assert "samples.parquet: not a readable Parquet file" in error
    assert not (tmp_path / "q.png").exists()


def test_show_prints_and_draws_a_trace(lapsd, files, tmp_path):
    code, out, _ = lapsd("show", "reference", "--plot", tmp_path / "t.png")
    assert code == 0
    for text in ("autocorrelation", "perceptible at round", "rounds shuffled"):
        assert text in out
    assert (tmp_path / "t.png").read_bytes()[:4] == b"\x89PNG"
    assert (
        lapsd("show", files[1], "--plot", tmp_path / "toy.svg")[0] == 0
    )  # a handful of short requests


def test_generated_traces_are_served_with_public_lengths_and_arrivals(lapsd, tmp_path):
    csv, arrivals, made = (tmp_path / name for name in ("a.csv", "a.parquet", "made.parquet"))
    times = [f"2023-11-16 18:15:{s:02}.0,{10 + s},{20 + 5 * s}" for s in range(50)]
    csv.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(times), encoding="utf-8")
    assert lapsd("import", "azure", csv, "-o", arrivals)[0] == 0
    for how in ("fitted", "recorded"):
        options = ("--lengths", arrivals, "--acceptance", how, "-o", made, "--overwrite")
        assert lapsd("generate", *options)[0] == 0
        assert load_trace(made).output_tokens.tolist() == [20 + 5 * s for s in range(50)]
        code, out, _ = lapsd(
            "compare", "--trace", made, "--arrivals", arrivals, "--seeds", 2, "--policy", "fcfs"
        )
        assert code == 0
        assert "load 0.8, arrivals as in Azure trace a.csv" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--requests", "0"], "requests=0: must be between 1 and 10000000"),
        (["--seed", "-1"], "seed=-1: must be at least 0"),
        (["--spread", "-1"], "spread=-1.0: must be between 0 and 10"),
        (["--acceptance", "dreamt"], "--acceptance dreamt: must be fitted, recorded or none"),
        (["--acceptance", "recorded"], "needs --lengths"),
        (["--trace", "nowhere.parquet"], "no such file"),
        (["--lengths", "nowhere.parquet"], "no such file"),
    ],
)
def test_impossible_arguments_of_generate_give_one_line(lapsd, tmp_path, arguments, message):
    out = tmp_path / "made.parquet"
    code, stdout, error = lapsd("generate", *arguments, "-o", out)
    assert (code, error.count("\n"), stdout) == (2, 1, "")
    assert message in error
    assert not out.exists()


def test_a_mix_of_data_sets_is_compared(lapsd):
    shown = lapsd(
        "compare", "--dataset", "code=3+prose", "--seeds", 2, "--policy", "fcfs", "--json"
    )
    assert shown[0] == 0
    for wrong, message in (
        ("code+poems", "dataset 'poems'"),
        ("code=x+prose", "a mix is NAME=SHARE"),
    ):
        code, _, error = lapsd("compare", "--dataset", wrong, "--seeds", 2)
        assert (code, error.count("\n")) == (2, 1)
        assert message in error


def test_import_writes_a_trace_and_a_profile_that_load(lapsd, tmp_path):
    from tests.traces.importers.test_spec_bench import answer, written

    source, out = written(tmp_path, answer(1), answer(2)), tmp_path / "imported.parquet"
    code, text, _ = lapsd("import", "spec-bench", source, "-o", out)
    assert code == 0
    assert "4 requests, 8 rounds, 24 tokens" in text
    assert len(load_trace(out)) == 4
    assert load_profile(tmp_path / "imported.json").kind == "wall_time_fit"
    code, _, error = lapsd("import", "spec-bench", source, "-o", out)
    assert code == 2
    assert "exists already" in error
    assert (
        lapsd(
            "import",
            "spec-bench",
            source,
            "-o",
            out,
            "--overwrite",
            "--draft-schedule",
            "constant:2",
        )[0]
        == 2
    )


def test_names_from_files_cannot_style_the_table(lapsd, files, tmp_path):
    from dataclasses import replace

    save_trace(replace(TRACE, dataset=["[red]x[/red]"] * len(TRACE)), tmp_path / "odd.parquet")
    code, out, _ = lapsd("show", tmp_path / "odd.parquet")
    assert code == 0
    assert "[red]x[/red]" in out


def test_without_torch_only_calibrate_fails(tmp_path):
    block = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'transformers']))\nfrom lapsd.cli"
        " import main\n"
    )
    for argument, code in (("compare --seeds 1 --json", 0), ("calibrate --requests 1", 2)):
        script = f"{block}sys.argv = {['lapsd', *argument.split()]}\nmain()"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == code, done.stderr
    assert done.stderr == "lapsd calibrate: needs torch: pip install 'lapsd[calibrate]'\n"


def test_an_interrupt_is_one_line_and_leaves_no_result(files, tmp_path):
    out = tmp_path / "result"
    script = "from lapsd.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        script,
        "compare",
        *files,
        "--seeds",
        "100000",
        "--out",
        str(out),
    ]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not out.exists():  # the folder is claimed when the work begins
        time.sleep(0.05)
    time.sleep(0.5)
    done.send_signal(signal.SIGINT)
    try:
        stdout, error = done.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        # Python drops an interrupt that falls into a destructor: a person presses again
        done.send_signal(signal.SIGINT)
        stdout, error = done.communicate(timeout=60)
    finally:
        done.kill()
    assert (done.returncode, stdout, error) == (130, "", "lapsd: interrupted\n")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_closed_pipe_gives_no_traceback(files, form):
    script = "from lapsd.cli import main; main()"
    command = [sys.executable, "-c", script, "compare", *files, "--seeds", "1", *form]
    done = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert done.stdout
    assert done.stderr
    done.stdout.close()
    assert done.stderr.read() == b""
    assert done.wait() == 1


def test_one_seed_gives_a_note_that_there_is_no_interval(lapsd, files):
    _, one, _ = lapsd("compare", *files, "--seeds", 1, "--versus", "fcfs")
    _, two, _ = lapsd("compare", *files, "--seeds", 2)
    assert "One seed gives no interval" in one
    assert "1 seed (no interval)" in one
    assert "nan" not in one
    assert "no interval" not in two


def test_compare_shows_slowdown_by_output_length(lapsd, files):
    _, out, _ = lapsd("compare", *files, "--seeds", 2, "--policy", "fcfs")
    shown = [
        line.split() for line in out.splitlines() if "quarter" in line or line.startswith("fcfs")
    ]
    heading, row = shown[-2:]
    assert heading[-2:] == ["longest", "quarter"]
    assert len(row) == 5


def test_a_warm_up_is_an_option(lapsd, files):
    _, out, _ = lapsd("compare", *files, "--seeds", 2, "--warmup", 10, "--policy", "fcfs")
    assert "the first 10 left out of the statistics" in " ".join(out.split())
    code, _, error = lapsd("compare", *files, "--warmup", 30)
    assert (code, error) == (2, "lapsd: warmup=30: must be below the number of requests, 30\n")


def test_verbose_shows_the_whole_provenance_of_a_trace(lapsd):
    for path in ("reference", "reference.json"):
        code, short, _ = lapsd("show", path)
        assert code == 0
        assert "{" not in short
        code, long, _ = lapsd("show", path, "--verbose")
        assert code == 0
        assert len(long) > len(short)
        assert "commit" in short


def test_settings_of_a_sweep_are_lists_ranges_and_repeated_and_may_be_spelled_with_underscores(
    lapsd, tmp_path
):
    options = (
        "--requests",
        "3:5",
        "--load",
        "0.5,0.8",
        "--load",
        "0.9",
        "--kv_slots",
        "1,unlimited",
        "--K",
        "2,3",
    )
    code, _, error = lapsd(
        "sweep", "--out", tmp_path / "s", "--policy", "laps-sd", "--seeds", 1, *options
    )
    assert code == 0, error
    records = pd.read_parquet(tmp_path / "s")
    assert len(records) == 3 * 3 * 2 * 2
    assert sorted(set(records["load"])) == [0.5, 0.8, 0.9]
    assert sorted(set(records["kv_slots"])) == ["1", "unlimited"]


def test_help_lists_every_verb_and_an_unknown_one_is_one_line(lapsd):
    _, out, _ = lapsd("--help")
    for name in cli.VERBS:
        assert f"  {name} " in out
        if name != "calibrate":  # whose help is torch's to load
            assert lapsd(name, "--help")[0] == 0
    code, _, error = lapsd("compute")
    assert (code, error.count("\n")) == (2, 1)
    assert "compute" in error


def test_a_verb_loads_no_heavy_library_before_it_needs_one():
    heavy = ("torch", "matplotlib", "scipy.stats", "distributed", "jinja2")
    code = (
        f"import lapsd.cli.compare, lapsd.cli.show, sys; print([m for m in {heavy} if m in"
        " sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_command_is_a_module_too():
    done = subprocess.run(
        [sys.executable, "-m", "lapsd", "--help"], capture_output=True, text=True, check=True
    )
    assert "compare" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["compare", "--seeds", "1"]])
def test_closed_or_full_output_gives_no_traceback(arguments):
    def run(stdout):
        command = [sys.executable, "-c", "from lapsd.cli import main; main()", *arguments]
        done = subprocess.run(
            command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )
        return done.returncode, done.stderr

    reader, writer = os.pipe()
    os.close(reader)
    assert run(writer) == (1, "")
    os.close(writer)
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            assert run(full) == (2, "lapsd: No space left on device\n")


def test_version_prints_the_version(lapsd):
    assert lapsd("--version") == (0, f"lapsd {version('lapsd')}\n", "")
