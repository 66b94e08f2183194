"""Write files completely or not at all."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

BUNDLED = Path(__file__).parents[1] / "data"  # files that come with the package


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the same folder, then rename it to `path`.

    The file is on the disk when this returns. `write` receives an absolute path, in which no
    library expands a `~`.

    Raises
    ------
    OSError
        Naming `path`, if it cannot be written (on a full disk, for example). An existing file is
        then unchanged.
    """
    digest = zlib.crc32(
        os.fsencode(path.name)
    )  # a name of the length of `path.name` may be too long
    temporary = path.absolute().with_name(f".{os.getpid()}.{digest:08x}{path.suffix}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, as `write_whole` does."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


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
