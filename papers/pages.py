"""A report as files: figures, tables, `claims.md` and `report.html`."""

import base64
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lapsd.papers.report import Figure, Report
from lapsd.sim.figures.saving import save
from lapsd.traces.files import write_text, write_whole

DPI, SCREEN_DPI = 200, 118  # of PNG files; of figures in the page, so that text has its print size
FORMATS: dict[str, dict[str, Any]] = {
    "pdf": {"metadata": {"CreationDate": None}},
    "png": {"dpi": DPI},
}
FIGURES, TABLES = "figures", "tables"
PAGES = {"claims.md.j2": "claims.md", "report.html.j2": "report.html"}


class Drawn(NamedTuple):
    """A drawn figure for the HTML page: a PNG as base64, and its width in CSS pixels."""

    png: str
    width: int


def write_report(
    folder: Path, report: Report, progress: Callable[[int, int], None] | None = None
) -> None:
    """Draw and write all files of a report, and remove the figures of an earlier one.

    Parameters
    ----------
    progress : called with (figures drawn, total number of figures).
    """
    for name in (FIGURES, TABLES):
        (folder / name).mkdir(exist_ok=True)
    for answer in report.answers:
        for name, rows in answer.tables.items():
            write_whole(folder / TABLES / f"{name}.csv", partial(rows.to_csv, index=False))
    drawn: dict[int, Drawn] = {}
    for figure in report.figures:
        drawn[figure.number] = _write_figure(figure, folder / FIGURES)
        if progress:
            progress(len(drawn), len(report.figures))
    new = {figure.name for figure in report.figures}
    for old in (folder / FIGURES).glob("figure-*.*"):
        if old.stem not in new:
            old.unlink()
    for template, name in PAGES.items():
        text = render(template, report, drawn)
        write_text(folder / name, text)


def _write_figure(figure: Figure, folder: Path) -> Drawn:
    drawn = figure.draw()
    for name, options in FORMATS.items():
        save(drawn, folder / f"{figure.name}.{name}", **options)
    png = base64.b64encode((folder / f"{figure.name}.png").read_bytes()).decode("ascii")
    return Drawn(png, round(drawn.get_figwidth() * SCREEN_DPI))


def render(template: str, report: Report, drawn: Mapping[int, Drawn]) -> str:
    """Return the text of a template of `papers/templates`; HTML is escaped.

    Parameters
    ----------
    drawn : the report's drawn figures, by number, for the HTML page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("lapsd.papers"),
        autoescape=select_autoescape(["html.j2", "html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    if template.endswith(".html.j2"):  # no line breaks before a percent sign
        environment.finalize = lambda text: (
            text.replace(" %", "\u00a0%") if isinstance(text, str) else text
        )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    environment.globals["drawn"] = drawn  # macros see only globals
    return re.sub(r"\n{3,}", "\n\n", environment.get_template(template).render(report=report))
