"""Writing files so that nothing is ever half there."""

import os
from collections.abc import Callable
from pathlib import Path

BUNDLED = Path(__file__).parents[1] / "data"  # what comes with the package


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it over `path`.

    Raises
    ------
    OSError
        Naming `path`, if it cannot be written (a full disk, say); what was there before is then untouched.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def make_writable_folder(folder: Path) -> None:
    """Make the folder, and see that a file can be written there, before hours of work.

    Raises
    ------
    OSError
        If it cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe.{os.getpid()}"
    probe.touch()
    probe.unlink()
