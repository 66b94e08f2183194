"""Tests that the report's text on synthetic findings, and its sweeps, equal the files in `texts/`.

After an intended change, `python -m tests.papers.test_texts` writes the files again; review the
change with `git diff`.
"""

import json
from pathlib import Path

import pytest

from lapsd.papers.laps_sd import examples
from lapsd.papers.laps_sd.claims import estimates, latency, queues, switching
from lapsd.papers.laps_sd.paper import LAPS_SD
from lapsd.papers.laps_sd.questions import (
    acceptance,
    host_time,
    interpretations,
    preemption,
    server,
    stability,
    tails,
    winners,
)
from lapsd.papers.pages import render
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Answer, Report, Table
from tests.papers import synthetic

TEXTS = Path(__file__).parent / "texts"
EVIDENCE = synthetic.evidence()
BARE = synthetic.evidence(predicted=False)
CASES: dict[str, tuple[Question, Evidence, Tables]] = {
    "latency-reached": (latency.QUESTION, EVIDENCE, synthetic.latency(lambda d, a, p: -45.0)),
    "latency-in-part": (
        latency.QUESTION,
        EVIDENCE,
        synthetic.latency(lambda d, a, p: 7.0 if a else -45.0 if p == "fcfs" else 0.5),
    ),
    "estimates-within": (
        estimates.QUESTION,
        EVIDENCE,
        synthetic.estimate_errors(lambda d, p: 0.05),
    ),
    "estimates-off": (
        estimates.QUESTION,
        BARE,
        synthetic.estimate_errors(lambda d, p: 0.4, learned=False),
    ),
    "switching-reached": (
        switching.QUESTION,
        EVIDENCE,
        synthetic.switching(bus=0.2, naive=0.0004, recompute=0.1),
    ),
    "switching-cheap": (switching.QUESTION, EVIDENCE, synthetic.switching(bus=0.002)),
    "switching-by-link": (
        switching.QUESTION,
        synthetic.on_gpu(),
        synthetic.switching(**{"64 GB/s": 0.01, "32 GB/s": 0.02, "2 GB/s": 0.2}, recompute=0.004),
    ),
    "switching-on-a-cpu": (switching.QUESTION, synthetic.on_cpu(), synthetic.switching(bus=0.2)),
    "host-time": (host_time.QUESTION, synthetic.on_gpu(), synthetic.host_time("holds")),
    "host-time-same": (
        host_time.QUESTION,
        synthetic.on_gpu(),
        synthetic.host_time("holds in part"),
    ),
    "queues-as-claimed": (queues.QUESTION, EVIDENCE, synthetic.queues({10: 6, 30: 4}, 0.97)),
    "queues-otherwise": (queues.QUESTION, EVIDENCE, synthetic.queues({10: 4, 30: 6}, 0.1)),
    "preemption": (preemption.QUESTION, EVIDENCE, synthetic.preemption()),
    "preemption-never": (preemption.QUESTION, EVIDENCE, synthetic.preemption(0)),
    "tails": (tails.QUESTION, EVIDENCE, synthetic.tails()),
    "interpretations-matter": (interpretations.QUESTION, EVIDENCE, synthetic.interpretations(1.0)),
    "interpretations-agree": (interpretations.QUESTION, EVIDENCE, synthetic.interpretations(0.1)),
    "server-ahead": (server.QUESTION, EVIDENCE, synthetic.server(15)),
    "server-behind": (server.QUESTION, EVIDENCE, synthetic.server(-3)),
    "stability-counts": (stability.QUESTION, EVIDENCE, synthetic.stability(0.1, 0.2)),
    "stability-matters": (stability.QUESTION, EVIDENCE, synthetic.stability(2.0, -3.0)),
    "stability-is-worse": (stability.QUESTION, EVIDENCE, synthetic.stability(-2.0, 3.0)),
    "winners": (winners.QUESTION, EVIDENCE, synthetic.cells(wins=True)),
    "winners-none": (winners.QUESTION, BARE, synthetic.cells(wins=False)),
    "acceptance": (acceptance.QUESTION, EVIDENCE, synthetic.value_of_acceptance()),
    "examples-schedules": (examples.SCHEDULES, EVIDENCE, synthetic.schedules()),
    "examples-queues": (examples.QUEUES, EVIDENCE, synthetic.queue_runs()),
    "examples-curves": (examples.CURVES, EVIDENCE, synthetic.curves()),
}


def text_of(name: str) -> str:
    """Return a page with one answer."""
    question, evidence, tables = CASES[name]
    answer = Answer(tables, question.say(evidence, tables), question.draw(evidence, tables))
    report = Report(
        "A page", [], Table(["setting", "value"], []), [answer], [], Table(["", ""], [])
    )
    return render("claims.md.j2", report, {})


@pytest.mark.parametrize("name", CASES)
def test_a_text_equals_the_committed_file(name):
    assert text_of(name) == (TEXTS / f"{name}.md").read_bytes().decode("utf-8")


def test_every_question_has_a_case_and_every_file_too():
    assert {question for question, _, _ in CASES.values()} == set(LAPS_SD.questions)
    assert {path.stem for path in TEXTS.glob("*.md")} == {*CASES, "whole"}


def whole() -> str:
    """Return a report without answers: introduction, settings, and one unanswered question."""
    inputs, size = EVIDENCE.inputs, synthetic.SIZE
    report = Report(
        LAPS_SD.title,
        LAPS_SD.intro(inputs, size),
        LAPS_SD.settings(inputs, size),
        [],
        ["figure 2: a | reason"],
        Table(["", ""], [["lapsd", "0"]]),
    )
    return render("claims.md.j2", report, {})


def test_the_introduction_and_settings_equal_the_committed_file():
    assert whole() == (TEXTS / "whole.md").read_bytes().decode("utf-8")


def sweeps() -> str:
    """Return the sweeps of the full and the quick reproduction, one line each."""
    inputs = EVIDENCE.inputs
    lines = {
        f"{size.name} {name}: {json.dumps(sweep.document())}\n": None
        for size in (LAPS_SD.full, LAPS_SD.quick)
        for question in LAPS_SD.questions
        for name, sweep in question.needs(inputs, size).items()
    }
    return "".join(lines)


def test_the_sweeps_equal_the_committed_file():
    assert sweeps() == (TEXTS / "sweeps.txt").read_bytes().decode("utf-8")


def renew() -> None:
    """Write all files again."""
    TEXTS.mkdir(exist_ok=True)
    for path in TEXTS.glob("*.md"):
        path.unlink()
    for name in CASES:
        (TEXTS / f"{name}.md").write_bytes(text_of(name).encode("utf-8"))
    (TEXTS / "whole.md").write_bytes(whole().encode("utf-8"))
    (TEXTS / "sweeps.txt").write_bytes(sweeps().encode("utf-8"))


if __name__ == "__main__":
    renew()
