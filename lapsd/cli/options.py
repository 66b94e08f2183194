"""Options that verbs share, and what the application of each verb has in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

FIGURES = (".png", ".pdf", ".svg")

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to stdout.")]
Workers = Annotated[int | None, typer.Option(help="Processes [default: one a core].")]


def verb(**more: Any) -> typer.Typer:
    """The application of a verb's module: what all have in common."""
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **more
    )


def check_file(option: str, path: Path | None, endings: Sequence[str]) -> None:
    """See that a file that was asked for could be written, before any work.

    Raises
    ------
    ValueError
        Naming the option and the file, for an ending that is none of those or a folder that is not
        there.
    """
    if path is None:
        return
    if path.suffix not in endings:
        wanted = endings[0] if len(endings) == 1 else f"one of {', '.join(endings)}"
        raise ValueError(f"{option} {path}: the file's ending must be {wanted}")
    if not path.parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.parent}")
