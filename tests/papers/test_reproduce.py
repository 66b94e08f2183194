"""Tests of a reproduction at a tiny size: it writes all files and lists unanswered questions."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from lapsd import cli
from lapsd.papers.inputs import Size
from lapsd.papers.laps_sd.claims import latency, queues, switching
from lapsd.papers.laps_sd.paper import LAPS_SD
from lapsd.papers.laps_sd.questions import interpretations
from lapsd.papers.papers import PAPERS
from lapsd.papers.question import Question
from lapsd.papers.report import Figure, Section
from lapsd.papers.reproduction import reproduce
from lapsd.traces import load_profile, load_trace, save_profile, save_trace
from lapsd.traces.errors import run_command

TINY = Size("tiny", 6, 6, 4, 4, 4, (0, 1), (0, 1), (0.8,), (0.5, 1), 120)
FIGURES = range(1, 14)
FEW = (latency.QUESTION, switching.QUESTION, queues.QUESTION)  # figures 5, 2 and 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("reproduction") / "r"
    assert reproduce(out, size=TINY, workers=1) == []
    return out


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory):
    """The reproduction of `FEW` questions."""
    out = tmp_path_factory.mktemp("small") / "r"
    assert reproduce(out, paper=replace(LAPS_SD, questions=FEW), size=TINY, workers=1) == []
    return out


@pytest.fixture
def lapsd(capsys, monkeypatch):
    """Run `lapsd reproduce --quick` of `FEW` questions at the tiny size in this process.

    Returns the exit code, stdout and stderr.
    """
    monkeypatch.setitem(PAPERS, "laps-sd", replace(LAPS_SD, quick=TINY, questions=FEW))

    def run(*arguments):
        given = [str(word) for word in arguments]
        workers = [] if {"--draw-only", "--workers"} & {*given} else ["--workers", "1"]
        words = ["reproduce", "--quick", *workers, *given]
        return (
            run_command("lapsd", lambda: cli.app(words, standalone_mode=False)),
            *capsys.readouterr(),
        )

    return run


class Page(HTMLParser):
    """Collect the tags of a page and the targets of its links and images."""

    def __init__(self, text):
        super().__init__()
        self.open, self.targets, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.targets += [v for k, v in attributes if k in ("src", "href")]
        if tag not in ("meta", "img", "br", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_figure_is_written_in_both_formats(folder):
    for number in FIGURES:
        assert (folder / "figures" / f"figure-{number:02d}.png").read_bytes()[:4] == b"\x89PNG"
        assert (folder / "figures" / f"figure-{number:02d}.pdf").read_bytes()[:4] == b"%PDF"


def test_the_claims_have_verdicts_and_all_figures(folder):
    text = (folder / "claims.md").read_text(encoding="utf-8")
    verdicts = re.findall(
        r"\*\*Verdict: (holds|holds in part|does not hold here|not tested)\.\*\*", text
    )
    assert len(verdicts) == 4
    assert verdicts[2] == "not tested"  # the bundled profile was measured on a CPU
    assert not re.search(r"\bnan\b|\| *None|None *\||\{[{%]|[%}]\}(?! \|)", text)
    shown = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert len(shown) == len(FIGURES)
    assert all((folder / name).is_file() for name in shown)
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_the_report_is_one_file_that_needs_no_network(folder):
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert not page.open
    assert page.tags.count("img") == len(FIGURES)
    assert "script" not in page.tags
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in page.targets)


def test_tables_and_runs_can_be_read(folder):
    latency = pd.read_csv(folder / "tables" / "latency.csv")
    assert set(latency["dataset"]) == {"code", "prose", "arithmetic", "all"}
    records = pd.read_parquet(folder / "runs" / "latency")
    assert len(records) == 6 * 4 * 5 * 2 * TINY.claims
    some = latency[
        (latency["dataset"] == "all") & ~latency["all_at_once"] & (latency["requests"] == 30)
    ]
    own = records[records["dataset"].isna() & ~records["all_at_once"] & (records["requests"] == 30)]
    means = own.groupby("policy")["mean_latency_s"].mean()
    for row in some.to_dict("records"):
        assert row["mean_s"] == pytest.approx(means[row["policy"]])
        assert row["percent"] == pytest.approx(100 * (means["laps-sd"] / means[row["policy"]] - 1))


def test_a_second_run_needs_resume(small_folder, lapsd):
    code, _, error = lapsd("--out", small_folder)
    assert (code, error.count("\n")) == (2, 1)
    assert "holds a reproduction already" in error
    code, _, error = lapsd("--out", small_folder, "--resume", "--profile", "nowhere.json")
    assert code == 2
    part = sorted((small_folder / "runs" / "queues").glob("part-*.parquet"))[0]
    before = part.read_bytes()
    part.unlink()
    code, _, error = lapsd("--out", small_folder, "--draw-only")
    assert code == 1
    assert "left out: all that needs the sweep 'queues': the sweep has not finished" in error
    assert not (small_folder / "figures" / "figure-06.png").exists()
    assert (small_folder / "figures" / "figure-05.png").exists()
    assert lapsd("--out", small_folder, "--resume")[0] == 0
    assert part.read_bytes() == before
    assert (small_folder / "figures" / "figure-06.png").exists()


def test_another_reproduction_is_not_resumed(small_folder, lapsd, monkeypatch):
    monkeypatch.setitem(
        PAPERS, "laps-sd", replace(LAPS_SD, quick=replace(TINY, claims=7), questions=FEW)
    )
    code, _, error = lapsd("--out", small_folder, "--resume")
    assert code == 2
    assert 'holds another reproduction: size was {"claims": 6}, and is {"claims": 7}' in error


@pytest.mark.parametrize(
    ("questions", "figures"),
    [
        pytest.param(FEW, {6}, id="few"),
        pytest.param(LAPS_SD.questions, {*FIGURES} - {2, 5}, id="all", marks=pytest.mark.deep),
    ],
)
def test_questions_without_an_answer_are_named_and_the_rest_is_drawn(
    questions, figures, lapsd, tmp_path, monkeypatch
):
    monkeypatch.setitem(PAPERS, "laps-sd", replace(LAPS_SD, quick=TINY, questions=questions))
    trace = load_trace("reference").take(range(120))
    names = {"code": "code", "prose": "<b>prose</b> | x", "arithmetic": "code"}
    save_trace(replace(trace, dataset=[names[d] for d in trace.dataset]), tmp_path / "two.parquet")
    costs = load_profile("reference").with_swap(scale=0).costs
    save_profile(
        replace(load_profile("reference"), costs=replace(costs, swap_ways={})),
        tmp_path / "free.json",
    )
    out = tmp_path / "out"
    code, _, error = lapsd(
        "--out", out, "--trace", tmp_path / "two.parquet", "--profile", tmp_path / "free.json"
    )
    assert code == 1
    left_out = [line for line in error.splitlines() if "left out" in line]
    assert any("figure 5" in line and "three are needed" in line for line in left_out)
    assert any("figure 2" in line and "no switching costs" in line for line in left_out)
    assert len(left_out) == 2
    drawn = {int(p.stem[-2:]) for p in (out / "figures").glob("*.png")}
    assert drawn == figures
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<b>prose" not in page
    assert "&lt;b&gt;prose" in page
    assert not Page(page).open


def test_a_folder_with_other_files_is_refused(lapsd, tmp_path):
    (tmp_path / "thesis.tex").touch()
    code, _, error = lapsd("--out", tmp_path)
    assert (code, error.count("\n")) == (2, 1)
    assert "holds no reproduction (thesis.tex)" in error
    code, _, error = lapsd("--out", tmp_path / "none", "--draw-only")
    assert code == 2
    assert "to draw from" in error
    assert lapsd("--out", tmp_path / "o", "--resume", "--overwrite")[0] == 2
    assert lapsd("--out", tmp_path / "o", "--workers", "0")[0] == 2


def test_a_new_paper_is_a_list_of_questions(tmp_path):
    """A paper with one new question needs functions for its sweeps, tables, text and figures."""
    from lapsd.sim.figures.differences import plot_differences

    def draw(evidence, tables):
        return [
            Figure(
                1,
                "Interpretations",
                "A caption.",
                lambda: plot_differences({"all": tables["interpretations"]}, {}, "ours"),
            )
        ]

    question = Question(
        "figure 1",
        interpretations.find,
        lambda e, t: Section("A section", [f"{len(t['interpretations'])} <other>"]),
        draw,
        interpretations.needs,
    )
    paper = replace(LAPS_SD, name="another", title="Another paper", questions=(question,))
    out, seen = tmp_path / "r", []
    assert (
        reproduce(
            out, paper=paper, size=TINY, workers=1, progress=lambda what, *_: seen.append(what)
        )
        == []
    )
    assert list(dict.fromkeys(seen)) == ["traces", "interpretations", "figures"]
    assert {p.name for p in (out / "figures").iterdir()} == {"figure-01.png", "figure-01.pdf"}
    assert [p.name for p in (out / "tables").iterdir()] == ["interpretations.csv"]
    text = (out / "claims.md").read_text(encoding="utf-8")
    assert text.startswith("# Another paper\n")
    assert "## A section\n\n24 <other>\n" in text
    assert "24 &lt;other&gt;" in (out / "report.html").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="another reproduction: paper was"):
        reproduce(out, size=TINY, workers=1, resume=True)


def test_the_message_on_an_unknown_paper_lists_the_known_papers(lapsd, tmp_path):
    code, _, error = lapsd("--out", tmp_path / "o", "alpa")
    assert (code, error.count("\n")) == (2, 1)
    assert "paper='alpa': must be one of laps-sd" in error


def test_a_folder_without_a_paper_belongs_to_the_first_paper(small_folder, lapsd):
    mark = small_folder / "_reproduction.json"
    before = json.loads(mark.read_text(encoding="utf-8"))
    del before["paper"]
    mark.write_text(json.dumps(before), encoding="utf-8")
    assert lapsd("--out", small_folder, "--draw-only")[0] == 0


def test_a_trace_without_an_acceptance_model_leaves_out_generated_traces(tmp_path):
    """Rounds without drafts have no acceptance, so the map and the stretched lengths are left out.

    Each reason is given once.
    """
    few = load_trace("reference").take(range(60))
    plain = replace(
        few,
        drafted=0 * few.drafted,
        accepted=0 * few.accepted,
        output_tokens=few.rounds,
        acceptable=None,
        accept_prob=None,
        predictions={},
    )
    save_trace(plain, tmp_path / "plain.parquet")
    questions = [q for q in LAPS_SD.questions if "generated" in q.about]
    paper = replace(LAPS_SD, questions=questions)
    missing = reproduce(
        tmp_path / "o", paper=paper, trace=str(tmp_path / "plain.parquet"), size=TINY, workers=1
    )
    assert [line.partition(":")[0] for line in missing] == [
        "figure 13 (on generated requests)",
        "figures 10 and 11 (on generated requests) and figure 12 (on generated requests)",
    ]
    assert not (tmp_path / "o" / "runs").exists()
