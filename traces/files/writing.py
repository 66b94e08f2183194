"""Write files completely or not at all."""

import os
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

BUNDLED = Path(__file__).parents[1] / "data"  # files that come with the package
"""Folder of the bundled traces and profiles: Path.

Examples
--------
>>> from lapsd.traces.files import BUNDLED
>>> (BUNDLED / "reference.parquet").is_file()
True
"""
# names of temporary files, of this version and of older ones
UNFINISHED = re.compile(r"\.\d+\.([0-9a-f]{8}(\.[^.]+)?|part-\d+\.parquet)|\.probe\.\d+")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the same folder, then rename it to `path`.

    The file is on the disk when this returns. `write` receives an absolute path, in which no
    library expands a `~`.

    Parameters
    ----------
    path : Path
        The file.
    write : Callable[[Path], object]
        Fills the file whose path it receives.

    Raises
    ------
    OSError
        Naming `path`, if it cannot be written (on a full disk, for example). An existing file is
        then unchanged.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import write_whole
    >>> write_whole(Path("whole.txt"), lambda path: path.write_text("whole or not at all"))
    >>> Path("whole.txt").read_text()
    'whole or not at all'
    """
    temporary = _temporary(path)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):  # a file system that cannot be written to any more
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """Return the name of the temporary file for `path`; it matches `UNFINISHED`.

    It holds a digest of the name: a longer name than `path.name` may be too long.
    """
    digest = zlib.crc32(os.fsencode(path.name))
    return path.absolute().with_name(f".{os.getpid()}.{digest:08x}{path.suffix}")


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder of results.

    Call this as the only writer of the folder.

    Parameters
    ----------
    folder : Path
        The folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import make_writable_folder, remove_unfinished
    >>> make_writable_folder(Path("stopped-writing"))
    >>> remove_unfinished(Path("stopped-writing"))
    """
    if folder.is_dir():
        for path in folder.iterdir():
            if UNFINISHED.fullmatch(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, as `write_whole` does.

    Parameters
    ----------
    path : Path
        The file.
    text : str
        The text.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import write_text
    >>> write_text(Path("notes.txt"), "whole or not at all")
    """
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def make_writable_folder(folder: Path) -> None:
    """Make the folder, and check before a long run that files can be written in it.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    OSError
        If they cannot.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import make_writable_folder
    >>> make_writable_folder(Path("results/today"))
    >>> Path("results/today").is_dir()
    True
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe.{os.getpid()}"
    probe.touch()
    probe.unlink()
