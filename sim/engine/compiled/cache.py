"""The folders in which compiled code is kept on disk.

Numba keeps compiled code beside the file of one function, and notices a change of that file alone.
Here the name of a folder is a digest of everything that the code in it depends on, so that a folder
never holds stale code. Where no folder can be written, code is compiled afresh in each process.
"""

import fcntl
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import numba

FOLDER = "lapsd-compiled"


def cache_folder(*keys: str) -> Path | None:
    """Return the folder for code that depends on the texts `keys`; None if none can be written.

    It is in the folder that NUMBA_CACHE_DIR names, or in the user's folder for caches. The versions
    of Python, Numba, llvmlite and NumPy are part of its name, so that code of another version is
    not found.
    """
    root = _root()
    if root is None:
        return None
    versions = (sys.version, version("numba"), version("llvmlite"), version("numpy"))
    digest = hashlib.sha256("\0".join((*versions, *keys)).encode()).hexdigest()
    folder = root / digest[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def _root() -> Path | None:
    """Return the folder of all caches."""
    if _GIVEN:
        return Path(_GIVEN) / FOLDER
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / FOLDER


_GIVEN: str = numba.config.CACHE_DIR
"""The folder that NUMBA_CACHE_DIR names."""


def sources(folder: Path) -> str:
    """Return a digest of the modules in a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


DIGEST = sources(Path(__file__).parent)
"""A digest of the modules of this folder."""


@contextmanager
def caching_in(folder: Path) -> Iterator[None]:
    """Let Numba keep in a folder what it is told to cache within this context."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = os.fspath(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let one process at a time run the block: the first compiles, and the next ones load that."""
    try:
        lock = (folder / "lock").open("ab")
    except OSError:  # another process has just removed the folder
        yield
        return
    with lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
