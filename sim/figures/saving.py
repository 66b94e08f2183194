"""Save figures to files, completely or not at all, with all names as they are.

Figures have matplotlib's default settings: a user's `matplotlibrc` has no effect.
"""

import importlib
import os
import sys
from contextlib import AbstractContextManager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lapsd.traces.files import write_whole
from lapsd.traces.streams import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.ticker import Formatter

FILE_DPI = 160


def own_style() -> AbstractContextManager[None]:
    """Return a context with matplotlib's default settings."""
    if "matplotlib" not in sys.modules:
        _import_matplotlib()
    from matplotlib import style

    return style.context("default")


def _import_matplotlib() -> None:
    """Import matplotlib, whatever MPLBACKEND names: figures in files need no backend."""
    name = os.environ.pop("MPLBACKEND", None)
    try:
        matplotlib = importlib.import_module("matplotlib")
    finally:
        if name is not None:
            os.environ["MPLBACKEND"] = name
    if name:
        with suppress(ValueError):  # a name that matplotlib does not know
            matplotlib.rcParams["backend"] = name


def save(figure: "Figure", path: Path, **options: Any) -> None:
    """Draw a figure into a file, in the format of its suffix.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    content = image(figure, **{"dpi": FILE_DPI, "format": path.suffix[1:], **options})
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def image(figure: "Figure", **options: Any) -> bytes:
    """Return the content of a file with the figure.

    It is made in memory, because the library that writes PNG files does not notice a short write
    on a full disk.
    """
    buffer = BytesIO()
    with own_style():
        _show_dollars(figure)
        _show_controls(figure)
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def _show_dollars(figure: "Figure") -> None:
    """Show `$` in texts as it is, not as the start of mathematics; powers on log axes stay."""
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    powers = set()
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        labels = axis.get_ticklabels(which="both")  # makes the labels, which are drawn later
        if isinstance(axis.get_major_formatter(), LogFormatter):
            powers |= set(labels)
    for text in figure.findobj(Text):
        if text not in powers:
            text.set_parse_math(False)


def _show_controls(figure: "Figure") -> None:
    """Write control characters in texts as `\\x00` is, since SVG may not hold them."""
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    for text in figure.findobj(Text):
        text.set_text(visible(text.get_text()))
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        names = axis.get_major_formatter()
        if not isinstance(names, LogFormatter | ScalarFormatter):
            axis.set_major_formatter(partial(_visible_name, names))


def _visible_name(names: "Formatter", x: float, position: int | None = None) -> str:
    return visible(names(x, position))
