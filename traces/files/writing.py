"""Write files completely or not at all."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

BUNDLED = Path(__file__).parents[1] / "data"  # files that come with the package


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the same folder, then rename it to `path`.

    Raises
    ------
    OSError
        Naming `path`, if it cannot be written (on a full disk, for example). An existing file is
        then unchanged.
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
    """Make the folder, and check before a long run that files can be written in it.

    Raises
    ------
    OSError
        If they cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe.{os.getpid()}"
    probe.touch()
    probe.unlink()


def claim_folder(
    folder: Path, mark: str, what: str, *, overwrite: bool, remove: Sequence[str] = ()
) -> None:
    """Make or check an output folder: empty, or one with the file `mark` that may be overwritten.

    Parameters
    ----------
    mark : name of the file that identifies a folder of earlier output.
    what : kind of output, for messages.
    remove : patterns of the files to remove before they are overwritten, in order. `mark` comes
        first, so that an interrupted removal does not leave a folder that looks complete.

    Raises
    ------
    ValueError
        If `mark` exists and `overwrite` is not set, or the folder holds other files.
    OSError
        If the folder cannot be written to.
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
