"""The folder of a reproduction, with a file that records its paper, inputs and size."""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.pages import FIGURES, PAGES, TABLES
from lapsd.papers.question import Paper
from lapsd.traces.files import (
    Kind,
    claim as claim_folder,
    file_sha256,
    first_difference,
    in_work,
    profile_sha256,
    remove_unfinished,
    trace_sha256,
    write_text,
)
from lapsd.traces.files.reading import json_object

MARK, TRACES, RUNS = "_reproduction.json", "traces", "runs"
REPRODUCTION = Kind("reproduction", MARK, (MARK, TRACES, RUNS, FIGURES, TABLES, *PAGES.values()))
FIRST_PAPER = "laps-sd"  # the paper of folders that name none


def claim(
    folder: Path, paper: Paper, inputs: Inputs, size: Size, *, overwrite: bool, resume: bool
) -> Path:
    """Return the folder in which a reproduction with these inputs is made, or goes on.

    Raises
    ------
    ValueError
        If it holds another reproduction or unrelated files, or if it holds the same reproduction
        and neither `resume` nor `overwrite` is given.
    """
    if resume and (in_work(folder, REPRODUCTION) / MARK).exists():
        work = in_work(folder, REPRODUCTION)
        check_same(work, paper, inputs, size)
        for name in (".", TRACES, FIGURES, TABLES):
            remove_unfinished(work / name)
        return work
    work = claim_folder(folder, REPRODUCTION, overwrite=overwrite)
    write_text(work / MARK, json.dumps(_description(paper, inputs, size), indent=2) + "\n")
    return work


def check_same(folder: Path, paper: Paper, inputs: Inputs, size: Size) -> None:
    """Check that the folder holds a reproduction with these inputs.

    Raises
    ------
    ValueError
        If it holds another one, naming the first difference.
    """
    now = json.loads(json.dumps(_description(paper, inputs, size)))
    if (difference := first_difference(_read(folder / MARK), now)) is not None:
        raise ValueError(
            f"{folder} holds another reproduction: {difference}: use --overwrite to replace it"
        )


def _description(paper: Paper, inputs: Inputs, size: Size) -> dict[str, Any]:
    """Return everything that the runs of a reproduction depend on."""
    return {
        "paper": paper.name,
        "trace": inputs.trace_name,
        "trace_sha256": trace_sha256(inputs.trace_name),
        "profile": inputs.profile_name,
        "profile_sha256": profile_sha256(inputs.profile_name),
        "size": asdict(size),
        **(
            {"arrivals": {n: file_sha256(inputs.arrivals[n]) for n in inputs.arrivals}}
            if inputs.arrivals
            else {}
        ),
        "lapsd": version("lapsd"),
    }


def _read(mark: Path) -> dict[str, Any]:
    return {"paper": FIRST_PAPER} | json_object(mark)
