"""Options and settings that all verbs share."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lapsd.cli.literal import Verb
from lapsd.policies.drafts.spec import DRAFT_POLICIES
from lapsd.policies.spec import with_drafts
from lapsd.traces.files import BUNDLED, Kind

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
DraftPolicies = Annotated[
    list[str] | None,
    typer.Option(
        "--draft-policy",
        help=(
            "Chooses how many tokens are drafted before each step; each policy runs with each:"
            f" {', '.join(DRAFT_POLICIES)}, with parameters as in goodput:most=5, or your own as"
            " module.Class [default: the recorded draft lengths]."
        ),
    ),
]
Workers = Annotated[int | None, typer.Option(help="Processes [default: one per core].")]


def verb(**more: Any) -> Verb:
    """Return the application of a verb, with the settings that all verbs share."""
    return Verb(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **more)


def crossed(policies: Sequence[str], drafts: Sequence[str] | None) -> list[str]:
    """Return the specs of every policy with every draft policy."""
    if not drafts:
        return list(policies)
    return [with_drafts(policy, one) for policy in policies for one in drafts]


def check_file(
    option: str,
    path: Path | None,
    endings: Sequence[str],
    *,
    overwrite: bool,
    inputs: Iterable[str | Path | None] = (),
) -> None:
    """Check, before any work, that an output file can be written.

    Parameters
    ----------
    overwrite : whether an existing file may be replaced; a file of `inputs` never may.

    Raises
    ------
    ValueError
        Naming the option and the file, if its ending is unknown, its folder does not exist, or it
        must not be replaced.
    """
    if path is None:
        return
    if path.suffix not in endings:
        wanted = endings[0] if len(endings) == 1 else f"one of {', '.join(endings)}"
        raise ValueError(f"{option} {path}: the file's ending must be {wanted}")
    _check_free(f"{option} {path}", path, inputs, overwrite=overwrite)


def check_different(outputs: Mapping[str, Path | None], folder: Path | None, kind: Kind) -> None:
    """Check that no two outputs are the same file, and none is a file of the result in `folder`.

    Raises
    ------
    ValueError
        Naming the option and the file.
    """
    seen: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        if (before := seen.setdefault(path.resolve(), option)) != option:
            raise ValueError(f"{option} {path}: is the file of {before} too")
        if folder is not None and path.resolve().parent == folder.resolve() and kind.owns(path):
            raise ValueError(f"{option} {path}: is a file of --out {folder}")


def free_to_write(*files: Path, overwrite: bool, inputs: Iterable[str | Path | None] = ()) -> None:
    """Check that output files can be written.

    Raises
    ------
    ValueError
        If one exists already and must not be replaced, is one of `inputs`, or if there is no folder
        for them.
    """
    for path in files:
        _check_free(str(path), path, inputs, overwrite=overwrite)


def _check_free(
    what: str, path: Path, inputs: Iterable[str | Path | None], *, overwrite: bool
) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"{what}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{what}: the folder {path.parent} cannot be written to")
    if not path.exists():
        return
    read = [Path(name) for name in inputs if name is not None]
    if BUNDLED in path.resolve().parents or any(p.exists() and p.samefile(path) for p in read):
        raise ValueError(f"{what}: is an input, which is never written over")
    if not overwrite:
        raise ValueError(f"{what} exists already: choose another name or give --overwrite")
