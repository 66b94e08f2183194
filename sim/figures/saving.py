"""Save figures to files, completely or not at all, with all names as they are."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lapsd.traces.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE_DPI = 160


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
    _show_dollars(figure)
    buffer = BytesIO()
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
