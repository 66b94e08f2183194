"""stdout and stderr of a command line: always open, and safe for every text.

Names in users' files may hold any character. Control characters are printed as `\\x1b` is, so that
they do not reach the terminal, and characters that the stream's encoding lacks are replaced by
ASCII. This module knows nothing of what is printed.
"""

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

REPLACE = "lapsd-ascii"  # name of the error handler of encodings
ASCII = {
    "±": "+-",
    "†": "+",
    "µ": "u",
    "μ": "u",
    "−": "-",
    "…": "...",
    "·": "*",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "θ": "theta",
    "λ": "lambda",
}
# C0 and C1 control characters but newline and tab, and those that reorder text
_CONTROLS = [*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F)]
_CONTROLS += range(0x2066, 0x206A)
_VISIBLE = {code: ascii(chr(code))[1:-1] for code in _CONTROLS}


def visible(text: str) -> str:
    """Return the text with control characters written as `\\x1b` is; newlines and tabs stay."""
    return text.translate(_VISIBLE)


class VisibleStream:
    """A text stream that makes control characters visible.

    Attributes
    ----------
    unfiltered : the stream itself, for a program that writes its own control characters.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unfiltered = stream

    def write(self, text: str) -> int:
        """Write a text; return its number of characters."""
        self.unfiltered.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unfiltered, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Make stdout and stderr safe for every text while the block runs.

    A stream that is closed discards what is written to it.
    """
    codecs.register_error(REPLACE, _in_ascii)
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=REPLACE)
    sys.stdout, sys.stderr = (VisibleStream(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def unfiltered(stream: Any) -> Any:
    """Return the stream that `safe_streams` replaced by this one, or the stream itself."""
    return getattr(stream, "unfiltered", stream)


def _open_closed() -> None:
    """Open the null device as each standard stream that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Return the replacement of characters that an encoding lacks, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(ASCII.get(c, ascii(c)[1:-1]) for c in characters), error.end
