"""Papers as lists of questions, and questions as functions from sweeps to tables, text, figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.report import Answer, Claim, Figure, Section, Table
from lapsd.sim.sweeps.grid import Sweep
from lapsd.traces import Trace, load_trace

Tables = dict[str, pd.DataFrame]


class Unanswerable(Exception):
    """A question has no answer on this trace and profile; the message gives the reason."""


@dataclass(frozen=True)
class Evidence:
    """The inputs and results that a question is answered from.

    Attributes
    ----------
    records : records of the finished sweeps, by name
    files : files of derived traces, by name
    """

    inputs: Inputs
    size: Size
    records: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    def trace(self, name: str) -> Trace:
        """Return a derived trace."""
        return load_trace(str(self.files[name]))


@dataclass(frozen=True)
class Question:
    """One question of a paper, fixed before anything is run.

    Attributes
    ----------
    about : a short name, which the report lists where the question cannot be answered
    find : returns tables made from the evidence; raises `Unanswerable`
    say : returns a claim with its verdict, or a section; reads only the tables
    draw : returns figures; reads only the tables
    needs : returns sweeps by name; several questions may need the same sweep
    derives : returns, by name, functions that derive traces from the recorded one for the sweeps to
        run on; such a function raises `FormatError` if the recorded trace does not allow it
    """

    about: str
    find: Callable[[Evidence], Tables]
    say: Callable[[Evidence, Tables], Claim | Section | None] = lambda evidence, tables: None
    draw: Callable[[Evidence, Tables], Sequence[Figure]] = lambda evidence, tables: ()
    needs: Callable[[Inputs, Size], Mapping[str, Sweep]] = lambda inputs, size: {}
    derives: Callable[[Inputs, Size], Mapping[str, Callable[[], Trace]]] = lambda inputs, size: {}

    def answer(self, evidence: Evidence) -> Answer:
        """Return tables, text and figures.

        Raises
        ------
        Unanswerable
            If these inputs do not allow an answer.
        """
        tables = self.find(evidence)
        return Answer(tables, self.say(evidence, tables), self.draw(evidence, tables))


@dataclass(frozen=True)
class Paper:
    """A paper to reproduce.

    Attributes
    ----------
    name : name on the command line
    title : title of the report
    intro : returns the first paragraphs of the report
    settings : returns a table of everything that is fixed before anything is run
    questions : in the order of the report: first questions with figures only, then claims, then
        sections
    full, quick : how much is run
    trace, profile : defaults
    arrivals : files of recorded arrivals, which the report names by their names; None: no question
        uses any
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
    arrivals: Sequence[str] | None = None

    def with_arrivals(self, files: Sequence[str]) -> "Paper":
        """Return the paper with files of recorded arrivals.

        Raises
        ------
        ValueError
            If it does not use them.
        """
        if files and self.arrivals is None:
            raise ValueError(
                f"arrivals={files[0]}: the report on {self.name} does not use arrivals"
            )
        return replace(self, arrivals=files) if files else self


def ask(questions: Sequence[Question], evidence: Evidence) -> tuple[list[Answer], list[str]]:
    """Answer all questions whose sweeps have finished.

    Returns the answers, and one line for each question that these inputs cannot answer.
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
