"""The contents of a report before it is rendered: figures, tables, claims and sections.

Plain data; the templates escape it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

HOLDS, PART, NOT = "holds", "holds in part", "does not hold here"
NOT_TESTED = "not tested"  # the machine of these inputs cannot test the claim


def judged(fulfilled: int, cells: int) -> str:
    """Return the verdict on a claim that so many of some cells fulfil: it holds if all do, and in
    part if at least half do.
    """
    if not cells or 2 * fulfilled < cells:
        return NOT
    return HOLDS if fulfilled == cells else PART


@dataclass(frozen=True)
class Figure:
    """One figure: its number, title and caption, and a function that draws it."""

    number: int
    title: str
    caption: str
    draw: "Callable[[], MatplotlibFigure]"

    @property
    def name(self) -> str:
        """The stem of the names of its files."""
        return f"figure-{self.number:02d}"


@dataclass(frozen=True)
class Table:
    """Headings and rows of text."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and the verdict on it.

    Attributes
    ----------
    source : where the claim comes from, and which details of it we do not know
    short : the finding in a few words
    findings : paragraphs
    verdict : `HOLDS`, `PART`, `NOT` or `NOT_TESTED`
    why : the reason for the verdict, in one or two sentences
    table : all results
    counts : tables that sum it up, shown before it
    """

    title: str
    source: str
    short: str
    findings: Sequence[str]
    verdict: str
    why: str
    table: Table | None = None
    counts: Sequence[Table] = ()


@dataclass(frozen=True)
class Section:
    """An answer to a question that has no verdict."""

    title: str
    paragraphs: Sequence[str]
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Answer:
    """The answer to a question.

    Attributes
    ----------
    tables : by the stem of their files
    text : None where the answer is figures only, which the report shows after the settings
    """

    tables: Mapping[str, pd.DataFrame]
    text: Claim | Section | None
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Report:
    """The whole report; `missing` has one line for each question that was left out."""

    title: str
    intro: Sequence[str]
    settings: Table
    answers: Sequence[Answer]
    missing: Sequence[str]
    provenance: Table

    @property
    def claims(self) -> list[tuple[Claim, Sequence[Figure]]]:
        """The claims in order, each with its figures."""
        return [(a.text, a.figures) for a in self.answers if isinstance(a.text, Claim)]

    @property
    def sections(self) -> list[tuple[Section, Sequence[Figure]]]:
        """The sections in order, each with its figures."""
        return [(a.text, a.figures) for a in self.answers if isinstance(a.text, Section)]

    @property
    def opening(self) -> list[Figure]:
        """Figures of the answers without text."""
        return [figure for a in self.answers if a.text is None for figure in a.figures]

    @property
    def figures(self) -> list[Figure]:
        """All figures, in the order of their numbers."""
        return sorted((f for a in self.answers for f in a.figures), key=lambda f: f.number)
