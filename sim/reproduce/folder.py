"""The folder of a reproduction: what it was made from is written in it, and it holds no other."""

import json
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from sim.reproduce.inputs import Inputs, Size
from sim.reproduce.question import Paper
from traces.files import make_writable_folder, write_whole

MARK, TRACES, RUNS = "_reproduction.json", "traces", "runs"
FIRST_PAPER = "laps-sd"  # of folders that do not say which


def claim(folder: Path, paper: Paper, inputs: Inputs, size: Size, *, overwrite: bool, resume: bool) -> None:
    """Make the folder a reproduction's of these inputs.

    Raises
    ------
    ValueError
        If it holds another one, or anything else; or one of the same, without `resume` or `overwrite`.
    """
    make_writable_folder(folder)
    wanted = {
        "paper": paper.name,
        "trace": inputs.trace_name,
        "profile": inputs.profile_name,
        "size": asdict(size),
        "lapsd": version("lapsd"),
    }
    wanted = json.loads(json.dumps(wanted))
    mark = folder / MARK
    if mark.exists():
        try:
            before = json.loads(mark.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{mark}: cannot be read: {error}") from error
        if isinstance(before, dict):
            before.setdefault("paper", FIRST_PAPER)
        if resume and before != wanted:
            differs = next(k for k in wanted if not isinstance(before, dict) or before.get(k) != wanted[k])
            raise ValueError(f"{folder} holds another reproduction ({differs} differs): give --overwrite")
        if not (resume or overwrite):
            raise ValueError(f"{folder} holds a reproduction already: give --resume to go on with it, or --overwrite")
        if overwrite:
            mark.unlink()  # first: without it what is left is nobody's
            for made in (TRACES, RUNS):
                shutil.rmtree(folder / made, ignore_errors=True)
    elif others := [e.name for e in folder.iterdir() if not e.name.startswith((".", "_"))]:
        raise ValueError(f"{folder} is not empty and holds no reproduction ({min(others)}): choose another folder")
    write_whole(mark, lambda p: p.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8"))
