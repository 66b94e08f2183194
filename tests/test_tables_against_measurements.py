"""Tests of the comparison of operator tables with measurements (docs/guides/gpu-costs.md)."""

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lapsd.traces import Linear, Profile, load_profile

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guides" / "gpu-costs.md"
IMPORTED = ("llama-7b-h100", "llama-7b-l40s")  # profiles on the page that are not bundled


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("tables_against_measurements")


@pytest.fixture
def wall_times(script):
    return importlib.import_module("wall_times")


def written(folder: Path, *, drafts: bool, ms_per_pass: float) -> Path:
    """Write answers whose wall time is a constant per pass, and return their file."""
    rng = np.random.default_rng(int(drafts))
    lines = []
    for question in range(40):
        rounds = int(rng.integers(5, 60))
        emitted = rng.integers(1, 3, rounds).tolist() if drafts else [1] * rounds
        choice = {
            "turns": ["word " * sum(emitted)],
            "decoding_steps": [rounds],
            "new_tokens": [sum(emitted)],
            "wall_time": [rounds * ms_per_pass / 1e3],
            "accept_lengths": emitted,
        }
        lines.append(json.dumps({"question_id": question, "choices": [choice]}))
    kind = "sps-68m" if drafts else "vanilla"
    file = folder / f"spec_bench__synthetic-{kind}.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def asked(folder: Path) -> Path:
    """Write questions of many lengths, and return their file."""
    lines = [json.dumps({"question_id": q, "turns": ["why " * (3 + 7 * q)]}) for q in range(40)]
    file = folder / "questions.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def fits(folder: Path, profile: Profile, factor: float) -> None:
    """Write files of fits whose steps take a constant times those of a profile at batch size 1."""
    line = profile.costs.rounds[1].verify(1)
    step = [factor * line.base_ns / 1e6, factor * line.per_token_ns / 1e6, 0.0]
    document = {
        "facebook/opt-13b": {
            "1": {
                "decoding_large_small_bs_threshold": 95,
                "prefill": [20.0, 0.1, 0.0],
                "decoding_smallbs": step,
                "decoding_largebs": step,
            }
        }
    }
    for engine in ("distserve", "vllm"):
        file = folder / f"synthetic__a100__{engine}.json"
        file.write_text(json.dumps(document), encoding="utf-8")


def test_host_times_of_passes_and_draft_steps_are_found_in_wall_times(tmp_path, wall_times):
    profile = load_profile("llama-7b-h200")
    requests = wall_times.Requests.read(
        written(tmp_path, drafts=True, ms_per_pass=1), asked(tmp_path), drafts=True
    )
    known = requests.priced_ms(profile) + 3 * requests.passes + 0.5 * requests.drafted
    found = replace(requests, wall_ms=known).host(profile)
    assert found.values == pytest.approx([3, 0.5])
    assert found.p90 < 1e-9


def test_terms_of_a_profile_are_found_in_its_own_times(tmp_path, wall_times):
    """The pass over a prompt counts as a pass: it takes as long, and its tokens in addition."""
    profile = Profile.constant(2.0, 10.0)
    rounds = {1: replace(profile.costs.rounds[1], verify_per_token_ns={1: 4_000})}
    prefill = Linear(10_000_000, 300_000)
    profile = replace(profile, costs=replace(profile.costs, rounds=rounds, prefill=prefill))
    for drafts, expected in ((True, [10, 2, 4, 0.3]), (False, [10, 0, 4, 0.3])):
        requests = wall_times.Requests.read(
            written(tmp_path, drafts=drafts, ms_per_pass=1), asked(tmp_path), drafts=drafts
        )
        assert requests.terms(requests.priced_ms(profile)).values == pytest.approx(expected)


def test_sections_print_tables_of_synthetic_files(tmp_path, script):
    written(tmp_path, drafts=False, ms_per_pass=25)
    written(tmp_path, drafts=True, ms_per_pass=30)
    fits(tmp_path, load_profile("opt-13b-a100-tables"), 2.0)
    figure = tmp_path / "figure.png"
    out = run(script, tmp_path, asked(tmp_path), "--figure", str(figure))
    first_row = re.findall(r"^\| 1 \| .*$", out, re.MULTILINE)
    assert len(first_row) == 2
    assert all(row.count("(0.50)") == len(script.CONTEXTS) for row in first_row)
    measured = re.findall(r"^\| measured \| (\d+)", out, re.MULTILINE)
    assert measured == ["25", "30"]
    assert figure.stat().st_size > 1_000


def test_sections_without_files_say_what_they_need(tmp_path, script):
    out = run(script, tmp_path, tmp_path / "questions.jsonl")
    assert out.count("skipped: ") == 2
    assert "__vllm.json" in out
    assert "questions.jsonl" in out


def test_no_profile_is_faster_than_its_lower_bounds(tmp_path, script):
    shares = re.findall(r"\b(\d+)% \|", run(script, tmp_path, tmp_path / "none"))
    assert len(shares) == 2 * 5
    assert all(40 < int(share) < 100 for share in shares)


def rows_of_page(*, measurements: bool) -> list[str]:
    """Return the rows of the page's tables that compare profiles, but for profiles not bundled."""
    text = PAGE.read_text(encoding="utf-8").partition("## Checks against other measurements")[2]
    before, _, after = text.partition("### First principles")
    rows = re.findall(r"^\| .* \|$", before if measurements else after, re.MULTILINE)
    return [r for r in rows if "---" not in r and not any(name in r for name in IMPORTED)]


def test_the_page_shows_the_lower_bounds_that_the_script_prints(tmp_path, script):
    printed = run(script, tmp_path, tmp_path / "none").splitlines()
    rows = rows_of_page(measurements=False)
    assert len(rows) >= 6
    assert [row for row in rows if row not in printed] == []


def test_the_page_shows_the_comparisons_that_the_script_prints(public_data, script):
    questions = public_data / "prompts" / "spec_bench_question.jsonl.gz"
    more = ("--acceptance", str(public_data / "acceptance"))
    printed = run(script, public_data / "costs", questions, *more).splitlines()
    rows = rows_of_page(measurements=True)
    assert len(rows) >= 30
    assert [row for row in rows if row not in printed] == []


def run(script, folder: Path, questions: Path, *options: str) -> str:
    """Run the script and return what it prints."""
    typer = importlib.import_module("typer")
    app = typer.Typer()
    app.command()(script.main)
    paths = ["--costs", str(folder), "--acceptance", str(folder), "--questions", str(questions)]
    result = CliRunner().invoke(app, [*paths, *options])
    assert result.exit_code == 0, result.output
    return result.output
