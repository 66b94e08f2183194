"""The journal of a calibration: one line per decoded request, so that it can be resumed.

Each line is on the disk before the next request begins. The first line describes the calibration
(models, prompts, settings, machine); a calibration can be resumed only under the same description.
The traces are made from the journal's lines, so an interrupted calibration ends with the same
columns as an uninterrupted one.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from lapsd.calibrate.models.loading import Pair
from lapsd.calibrate.prompts import Prompt
from lapsd.calibrate.stamp import hardware, software
from lapsd.traces.files import first_difference, write_text

JOURNAL = "journal.jsonl"
VERSION = 1


def identity(
    pair: Pair, prompts: Sequence[tuple[Prompt, list[int]]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that the tokens and times of a calibration depend on, by name."""
    machine = hardware(pair.device)
    digest = hashlib.sha256()
    for prompt, ids in prompts:
        digest.update(json.dumps([prompt.request_id, prompt.dataset, ids]).encode())
    return {
        **settings,
        "target": pair.target_name,
        "draft": pair.draft_name,
        "target weights": weights_digest(pair.target),
        "draft weights": weights_digest(pair.draft),
        "prompts": digest.hexdigest()[:16],
        "dtype": pair.dtype,
        "engine": f"{pair.target_engine.name} + {pair.draft_engine.name}",
        "device": machine.gpu or machine.cpu,
        "threads": machine.threads,
        **{f"version of {name}": v for name, v in software().items() if name != "system"},
    }


def threads_of(folder: Path) -> int | None:
    """Return the number of torch's threads of the journal in `folder`, if it is known."""
    try:
        with (folder / JOURNAL).open(encoding="utf-8") as file:
            threads = json.loads(file.readline())["threads"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the journal itself reports what is wrong with it
    return threads if isinstance(threads, int) and threads > 0 else None


@torch.inference_mode()
def weights_digest(model: Any) -> str:
    """Return a digest of the name, the shape and 64 values of every parameter."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 64)].double().cpu()
        digest.update(f"{name} {tuple(parameter.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


class Journal:
    """The journal file in `folder`.

    Parameters
    ----------
    folder : Path
    wanted : mapping
        Description of the calibration (`identity`).
    resume : bool
        Read the records of an existing journal and append to it; otherwise start a new journal.

    Attributes
    ----------
    records : list of dict
        Records of the requests decoded so far, in order.

    Raises
    ------
    ValueError
        If the existing journal is damaged or has another description. The message names the first
        difference.
    """

    def __init__(self, folder: Path, wanted: Mapping[str, Any], *, resume: bool) -> None:
        self.path = folder / JOURNAL
        self.records: list[dict[str, Any]] = []
        header = {"lapsd_journal": VERSION, **wanted}
        if resume and self.path.exists():
            self.records = self._read_back(header)
            self._file: IO[str] = self.path.open("a", encoding="utf-8")
        else:
            write_text(self.path, json.dumps(header) + "\n")
            self._file = self.path.open("a", encoding="utf-8")

    def append(self, record: dict[str, Any]) -> None:
        """Write one record to the disk."""
        self._write(record)
        self.records.append(record)

    def close(self) -> None:
        """Close the file and keep it."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file, after the results have been written."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _write(self, record: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OSError(error.errno or 0, error.strerror or str(error), str(self.path)) from error

    def _read_back(self, header: Mapping[str, Any]) -> list[dict[str, Any]]:
        content = self.path.read_bytes()
        # a last line without a line end was being written when the process stopped
        whole = content[: content.rfind(b"\n") + 1]
        records = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"journal {self.path}, line {number}: not JSON") from error
        if not all(isinstance(record, dict) for record in records):
            raise ValueError(f"journal {self.path}: holds a line that is no JSON object")
        if not records or "lapsd_journal" not in records[0]:
            raise ValueError(f"journal {self.path}: its first line does not describe a calibration")
        if (difference := first_difference(records[0], _as_json(header))) is not None:
            raise ValueError(f"journal {self.path}: cannot be resumed: {difference}")
        if len(whole) < len(content):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        return records[1:]


def _as_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as it is read again: tuples are lists."""
    read: dict[str, Any] = json.loads(json.dumps(document))
    return read
