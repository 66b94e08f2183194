"""The folder of a reproduction, with a file that records its paper, trace, profile and size."""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.question import Paper
from lapsd.traces.files import claim_folder, write_whole
from lapsd.traces.files.reading import json_object

MARK, TRACES, RUNS = "_reproduction.json", "traces", "runs"
FIRST_PAPER = "laps-sd"  # the paper of folders that name none


def claim(
    folder: Path, paper: Paper, inputs: Inputs, size: Size, *, overwrite: bool, resume: bool
) -> None:
    """Prepare the folder for a reproduction with these inputs.

    Raises
    ------
    ValueError
        If it holds another reproduction or unrelated files, or if it holds the same reproduction
        and neither `resume` nor `overwrite` is given.
    """
    wanted = {
        "paper": paper.name,
        "trace": inputs.trace_name,
        "profile": inputs.profile_name,
        "size": asdict(size),
        "lapsd": version("lapsd"),
    }
    text = json.dumps(wanted, indent=2) + "\n"
    mark = folder / MARK
    if resume and mark.exists():
        before = _read(mark)
        if differs := [key for key, value in json.loads(text).items() if before.get(key) != value]:
            raise ValueError(
                f"{folder} holds another reproduction ({differs[0]} differs): use --overwrite to"
                " replace it"
            )
    else:
        claim_folder(folder, MARK, "reproduction", overwrite=overwrite, remove=(MARK, TRACES, RUNS))
    write_whole(mark, lambda p: p.write_text(text, encoding="utf-8"))


def _read(mark: Path) -> dict[str, Any]:
    return {"paper": FIRST_PAPER} | json_object(mark)
