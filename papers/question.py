"""A paper is a list of questions; a question is what it needs, finds, says and draws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.report import Answer, Claim, Figure, Section, Table
from lapsd.sim.sweeps.grid import Sweep
from lapsd.traces import Trace, load_trace

Tables = dict[str, pd.DataFrame]


class Unanswerable(Exception):
    """Why a question has no answer on this trace and profile, in words."""


@dataclass(frozen=True)
class Evidence:
    """What a question is answered from.

    Attributes
    ----------
    records : of the sweeps that are there, by name
    files : of derived traces, by name
    """

    inputs: Inputs
    size: Size
    records: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    def trace(self, name: str) -> Trace:
        """A derived trace."""
        return load_trace(str(self.files[name]))


@dataclass(frozen=True)
class Question:
    """One question of a paper, fixed before anything is run.

    Attributes
    ----------
    about : what is left out where it cannot be answered, in words
    find : tables from the evidence; raises `Unanswerable`
    say : a claim with its verdict, or a section, from the tables alone
    draw : figures from the tables alone
    needs : sweeps by name; several questions may need the same one
    derives : by name, how traces that its sweeps run on are made of the recorded one; `FormatError`
    if they cannot
    """

    about: str
    find: Callable[[Evidence], Tables]
    say: Callable[[Evidence, Tables], Claim | Section | None] = lambda evidence, tables: None
    draw: Callable[[Evidence, Tables], Sequence[Figure]] = lambda evidence, tables: ()
    needs: Callable[[Inputs, Size], Mapping[str, Sweep]] = lambda inputs, size: {}
    derives: Callable[[Inputs, Size], Mapping[str, Callable[[], Trace]]] = lambda inputs, size: {}

    def answer(self, evidence: Evidence) -> Answer:
        """Tables, text and figures.

        Raises
        ------
        Unanswerable
            Saying why.
        """
        tables = self.find(evidence)
        return Answer(tables, self.say(evidence, tables), self.draw(evidence, tables))


@dataclass(frozen=True)
class Paper:
    """A paper to reproduce and question.

    Attributes
    ----------
    name : as a command line has it
    title : of the report
    intro : paragraphs
    settings : what is fixed before anything is run
    questions : in the order of the report: those with figures alone go first, then claims, then
        sections
    full, quick : how much is run
    trace, profile : what it is reproduced on where nothing is said
    """

    name: str
    title: str
    intro: Callable[[Inputs, Size], Sequence[str]]
    settings: Callable[[Inputs, Size], Table]
    questions: Sequence[Question]
    full: Size
    quick: Size
    trace: str = "reference"
    profile: str = "reference"


def ask(questions: Sequence[Question], evidence: Evidence) -> tuple[list[Answer], list[str]]:
    """Answers to those questions whose sweeps are there; and which have none on these inputs, with
    why.
    """
    answers, unanswered = [], []
    for question in questions:
        if question.needs(evidence.inputs, evidence.size).keys() - evidence.records.keys():
            continue
        try:
            answers.append(question.answer(evidence))
        except Unanswerable as reason:
            unanswered.append(f"{question.about}: {reason}")
    return answers, unanswered
