"""What a report holds, before it is rendered: figures, tables, claims, sections. Plain data; the templates escape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.experiment.statistics import Interval

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
    found : paragraphs
    short : the finding in a few words
    verdict : `HOLDS`, `PART` or `NOT`
    why : one sentence or two
    """

    title: str
    sure: str
    short: str
    found: Sequence[str]
    verdict: str
    why: str
    table: Table | None = None
    figures: Sequence[int] = ()


@dataclass(frozen=True)
class Section:
    """A question beyond the claims."""

    title: str
    paragraphs: Sequence[str]
    tables: Sequence[Table] = ()
    figures: Sequence[int] = ()


@dataclass(frozen=True)
class Report:
    """Everything that is rendered."""

    title: str
    intro: Sequence[str]
    settings: Table
    claims: Sequence[Claim]
    sections: Sequence[Section]
    figures: Sequence[Figure]
    missing: Sequence[str]
    provenance: Table
    drawn: "dict[int, Drawn]" = field(default_factory=dict)  # by figure number


@dataclass(frozen=True)
class Drawn:
    """A figure as a page shows it: a PNG as base64, and its width in CSS pixels."""

    png: str
    width: int


def signed(x: float, digits: int = 1) -> str:
    """A number with its sign and a true minus."""
    return f"{x:+.{digits}f}".replace("-", "−")


def change(interval: Interval, digits: int = 1) -> str:
    """A change in percent with its interval."""
    value, low, high = interval
    return f"{signed(value, digits)} % [{signed(low, digits)}, {signed(high, digits)}]"


def percentage(x: float, digits: int = 1) -> str:
    """A share as percent."""
    return f"{100 * x:.{digits}f} %"


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return ", ".join(words[:-1]) + (f" {last} " if len(words) > 1 else "") + words[-1] if words else "none"
