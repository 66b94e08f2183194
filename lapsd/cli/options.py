"""Options and settings that all verbs share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

FIGURES = (".png", ".pdf", ".svg")

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to stdout.")]
Engine = Annotated[
    str,
    typer.Option(
        help="The program that simulates: simpy (the specification), compiled (fast), or auto;"
        " results are the same."
    ),
]
Workers = Annotated[int | None, typer.Option(help="Processes [default: one per core].")]


def verb(**more: Any) -> typer.Typer:
    """Return the application of a verb, with the settings that all verbs share."""
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **more
    )


def check_file(option: str, path: Path | None, endings: Sequence[str]) -> None:
    """Check, before any work, that an output file can be written.

    Raises
    ------
    ValueError
        Naming the option and the file, if its ending is unknown or its folder does not exist.
    """
    if path is None:
        return
    if path.suffix not in endings:
        wanted = endings[0] if len(endings) == 1 else f"one of {', '.join(endings)}"
        raise ValueError(f"{option} {path}: the file's ending must be {wanted}")
    if not path.parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.parent}")


def free_to_write(*files: Path, overwrite: bool) -> None:
    """Check that output files can be written.

    Raises
    ------
    ValueError
        If one exists already and must not be replaced, or if there is no folder for them.
    """
    for path in files:
        if path.exists() and not overwrite:
            raise ValueError(f"{path} exists already: choose another name or give --overwrite")
    if not files[0].parent.is_dir():
        raise ValueError(f"{files[0]}: there is no folder {files[0].parent}")
