"""Writing files so that nothing is ever half there."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

BUNDLED = Path(__file__).parents[1] / "data"  # what comes with the package


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it over `path`.

    Raises
    ------
    OSError
        Naming `path`, if it cannot be written (a full disk, say); what was there before is then
        untouched.
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


def claim_folder(
    folder: Path, mark: str, what: str, *, overwrite: bool, remove: Sequence[str] = ()
) -> None:
    """Make the folder ours: empty, or one that holds the file `mark` and may be written over.

    Parameters
    ----------
    what : that it is marked to hold, in words.
    remove : patterns of what goes when it is written over, in order. The mark first: without it the
        rest is nobody's.

    Raises
    ------
    ValueError
        If it is marked already and `overwrite` is not set, or holds anything else.
    OSError
        If it cannot be written.
    """
    make_writable_folder(folder)
    if (folder / mark).exists():
        if not overwrite:
            raise ValueError(
                f"{folder} holds a {what} already: choose another folder, or overwrite it"
            )
        for pattern in remove:
            for path in folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif others := [
        entry.name for entry in folder.iterdir() if not entry.name.startswith((".", "_"))
    ]:
        raise ValueError(
            f"{folder} is not empty and holds no {what} ({min(others)}): choose another folder"
        )
