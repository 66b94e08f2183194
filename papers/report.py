"""What a report holds, before it is rendered: figures, tables, claims, sections.

Plain data; the templates escape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

HOLDS, PART, NOT = "holds", "holds in part", "does not hold here"


@dataclass(frozen=True)
class Figure:
    """One figure: its number, what it shows, and how to draw it."""

    number: int
    title: str
    caption: str
    draw: "Callable[[], MatplotlibFigure]"

    @property
    def name(self) -> str:
        """The stem of its files."""
        return f"figure-{self.number:02d}"


@dataclass(frozen=True)
class Table:
    """Headings and rows of text; the first column is left-aligned."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and what became of it.

    Attributes
    ----------
    sure : how sure it is that the paper claims this
    short : the finding in a few words
    findings : paragraphs
    verdict : `HOLDS`, `PART` or `NOT`
    why : one sentence or two
    """

    title: str
    sure: str
    short: str
    findings: Sequence[str]
    verdict: str
    why: str
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    """A question beyond the claims."""

    title: str
    paragraphs: Sequence[str]
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Answer:
    """What became of a question.

    Attributes
    ----------
    tables : by the name of their files
    text : None: figures alone, which are shown beside the settings
    """

    tables: Mapping[str, pd.DataFrame]
    text: Claim | Section | None
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Report:
    """Everything that is rendered; what is missing is a line each."""

    title: str
    intro: Sequence[str]
    settings: Table
    answers: Sequence[Answer]
    missing: Sequence[str]
    provenance: Table

    @property
    def claims(self) -> list[tuple[Claim, Sequence[Figure]]]:
        """Those of the paper, each with its figures, in order."""
        return [(a.text, a.figures) for a in self.answers if isinstance(a.text, Claim)]

    @property
    def sections(self) -> list[tuple[Section, Sequence[Figure]]]:
        """The other questions, each with its figures, in order."""
        return [(a.text, a.figures) for a in self.answers if isinstance(a.text, Section)]

    @property
    def opening(self) -> list[Figure]:
        """Figures that go with no text."""
        return [figure for a in self.answers if a.text is None for figure in a.figures]

    @property
    def figures(self) -> list[Figure]:
        """All of them, by number."""
        return sorted((f for a in self.answers for f in a.figures), key=lambda f: f.number)
