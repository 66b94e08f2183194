"""Folders of results: one writer at a time, and an old result stays until the new one is whole.

A result that replaces another is made in the folder `.new` inside the folder of the old one. The
whole new result then takes the place of the old one.
"""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from lapsd.traces.files.writing import make_writable_folder, remove_unfinished

NEW, WRITER = ".new", ".writer"


class Kind(NamedTuple):
    """A kind of result.

    Attributes
    ----------
    what : str
        Its name, for messages.
    mark : str
        The file or folder that identifies a folder of this kind.
    files : tuple of str
        Patterns of all its files and folders.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import Kind
    >>> kind = Kind("a count", mark="_count.json", files=("_count.json", "*.parquet"))
    >>> kind.owns(Path("part-1.parquet")), kind.owns(Path("notes.txt"))
    (True, False)
    """

    what: str
    mark: str
    files: tuple[str, ...]

    def owns(self, path: Path) -> bool:
        """Return whether a path has a name of this kind of result."""
        return any(path.match(pattern) for pattern in self.files)


def claim(folder: Path, kind: Kind, *, overwrite: bool) -> Path:
    """Return the folder in which a new result is made: `folder`, or `.new` in it if it holds one.

    Parameters
    ----------
    folder : Path
        The folder.
    kind : Kind
        The kind of result.
    overwrite : bool
        Whether a result that the folder holds is replaced.

    Raises
    ------
    ValueError
        If the folder holds a result and `overwrite` is not set, or holds other files.
    OSError
        If the folder cannot be written to.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import Kind, claim
    >>> kind = Kind("a count", mark="_count.json", files=("_count.json", "*.parquet"))
    >>> claim(Path("counted"), kind, overwrite=False)
    PosixPath('counted')
    """
    held = _check(folder, kind, overwrite=overwrite)
    _remove(folder / NEW)
    return new_in(folder) if held else folder


@contextmanager
def replacing(folder: Path, kind: Kind, *, overwrite: bool) -> Iterator[Path]:
    """Claim a folder, and yield a folder in it to which the block writes a whole new result.

    The new result takes the place of the old one when the block ends. Nothing changes if the block
    raises an exception.

    Parameters
    ----------
    folder : Path
        The folder.
    kind : Kind
        The kind of result.
    overwrite : bool
        Whether a result that the folder holds is replaced.

    Raises
    ------
    ValueError
        If the folder holds a result and `overwrite` is not set, holds other files, or is written by
        another process.
    OSError
        If the folder cannot be written to.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import Kind, replacing
    >>> kind = Kind("a count", mark="_count.json", files=("_count.json", "*.parquet"))
    >>> with replacing(Path("replacing"), kind, overwrite=True) as folder:
    ...     done = (folder / "_count.json").write_text("3")
    >>> Path("replacing/_count.json").read_text()
    '3'
    """
    with only_writer(folder):
        _check(folder, kind, overwrite=overwrite)
        try:
            yield new_in(folder)
            publish(folder, kind)
        finally:
            _remove(folder / NEW)


def new_in(folder: Path) -> Path:
    """Return the folder for a result that replaces the one in `folder`, made empty.

    Parameters
    ----------
    folder : Path
        The folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import make_writable_folder, new_in
    >>> make_writable_folder(Path("replaced"))
    >>> new_in(Path("replaced"))
    PosixPath('replaced/.new')
    """
    _remove(folder / NEW)
    (folder / NEW).mkdir()
    return folder / NEW


def _check(folder: Path, kind: Kind, *, overwrite: bool) -> bool:
    """Check that a new result may be made in a folder; return whether the folder holds one."""
    make_writable_folder(folder)
    held = any((place / kind.mark).exists() for place in (folder, folder / NEW))
    if held and not overwrite:
        raise ValueError(
            f"{folder} holds a {kind.what} already: choose another folder, or overwrite it"
        )
    if not held:
        refuse_others(folder, kind)
    remove_unfinished(folder)
    return held


def refuse_others(folder: Path, kind: Kind) -> None:
    """Check that a folder, which holds no result of this kind, holds nothing to mix with a new one.

    Parameters
    ----------
    folder : Path
        The folder; it must exist.
    kind : Kind
        The kind of the new result.

    Raises
    ------
    ValueError
        Naming a file in the folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import Kind, make_writable_folder, refuse_others
    >>> make_writable_folder(Path("mine"))
    >>> done = Path("mine/notes.txt").write_text("x")
    >>> try:
    ...     refuse_others(Path("mine"), Kind("count", mark="_count.json", files=()))
    ... except ValueError as error:
    ...     print(error)
    mine is not empty and holds no count (notes.txt): choose another folder
    """
    names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    others = [name for name in names if not (name.startswith("_") and kind.owns(Path(name)))]
    if others:
        raise ValueError(
            f"{folder} is not empty and holds no {kind.what} ({min(others)}): choose another folder"
        )


def in_work(folder: Path, kind: Kind) -> Path:
    """Return the folder of the result that was begun last: `folder`, or `.new` in it.

    Parameters
    ----------
    folder : Path
        The folder.
    kind : Kind
        The kind of result.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import Kind, in_work
    >>> kind = Kind("a count", mark="_count.json", files=("_count.json", "*.parquet"))
    >>> in_work(Path("counts"), kind)
    PosixPath('counts')
    """
    return folder / NEW if (folder / NEW / kind.mark).exists() else folder


def publish(folder: Path, kind: Kind) -> None:
    """Replace the old result of a folder by the new one, if there is one. The mark goes first and
    comes last, so that an interrupted replacement does not look like a result.

    Parameters
    ----------
    folder : Path
        The folder.
    kind : Kind
        The kind of result.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import Kind, claim, publish
    >>> kind = Kind("a count", mark="_count.json", files=("_count.json", "*.parquet"))
    >>> for count in (1, 2):
    ...     part = claim(Path("published"), kind, overwrite=True)
    ...     done = (part / "_count.json").write_text(str(count))
    ...     publish(Path("published"), kind)
    >>> Path("published/_count.json").read_text()
    '2'
    """
    new = folder / NEW
    if not new.exists():
        return
    for pattern in (kind.mark, *kind.files):
        for old in folder.glob(pattern):
            _remove(old)
    for path in sorted(new.iterdir(), key=lambda path: path.name == kind.mark):
        path.rename(folder / path.name)
    new.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only writer of a folder while the block runs.

    The file `.writer` names host, process and start. It is locked as long as its process lives, so
    that the file of a dead process claims nothing. A file system without locks is not protected.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    ValueError
        If another process writes the folder, naming it.
    OSError
        If the folder cannot be written to.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import make_writable_folder, only_writer
    >>> make_writable_folder(Path("mine"))
    >>> with only_writer(Path("mine")):
    ...     done = Path("mine/part.txt").write_text("a part")
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WRITER
    started = datetime.now(UTC).isoformat(timespec="seconds")
    claimed = {"host": socket.gethostname(), "process": os.getpid(), "started": started}
    with _locked(path) as file:
        try:
            file.truncate(0)
            file.write(json.dumps(claimed) + "\n")
            file.flush()
            yield
        finally:
            with suppress(OSError):
                path.unlink()


def _locked(path: Path) -> IO[str]:
    """Return the open file of a claim, locked by this process."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise ValueError(
                f"{path.parent}: {_writer(path)} writes there: wait until it ends"
            ) from None
        except OSError:
            return file  # a file system without locks
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its writer ended, and removed the file, after we had opened it


def _writer(path: Path) -> str:
    """Return the writer that a claim names, in words."""
    try:
        claimed = json.loads(path.read_text(encoding="utf-8"))
        return "process {process} on {host}, started {started},".format(**claimed)
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
