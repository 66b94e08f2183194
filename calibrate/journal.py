"""The journal of a recording: one line a request, on the disk before the next begins.

The first line says what is being recorded; a recording goes on only if all of that is still the
same. The traces are made from the journal's lines, so a recording that was interrupted ends with
the same columns as one that was not.
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

JOURNAL = "journal.jsonl"
VERSION = 1


def identity(
    pair: Pair, prompts: Sequence[tuple[Prompt, list[int]]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that a recording's tokens and times depend on, by name."""
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


@torch.inference_mode()
def weights_digest(model: Any) -> str:
    """A digest of every parameter's name, shape and 64 of its values."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 64)].double().cpu()
        digest.update(f"{name} {tuple(parameter.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


class Journal:
    """A recording's lines in `folder`, read back when it goes on.

    Attributes
    ----------
    records : list of dict
        What has been recorded so far, in order.

    Raises
    ------
    ValueError
        If the journal that is there was made under other conditions (naming the first that
        differs), or is damaged.
    """

    def __init__(self, folder: Path, wanted: Mapping[str, Any], *, resume: bool) -> None:
        self.path = folder / JOURNAL
        self.records: list[dict[str, Any]] = []
        header = {"lapsd_journal": VERSION, **wanted}
        if resume and self.path.exists():
            self.records = self._read_back(header)
            self._file: IO[str] = self.path.open("a", encoding="utf-8")
        else:
            self._file = self.path.open("w", encoding="utf-8")
            self._write(header)

    def append(self, record: dict[str, Any]) -> None:
        """Record one request, for good."""
        self._write(record)
        self.records.append(record)

    def close(self) -> None:
        """Let go of the file, which stays."""
        self._file.close()

    def remove(self) -> None:
        """The recording is done and its files are written."""
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
        whole = content[
            : content.rfind(b"\n") + 1
        ]  # a line without its end was being written when it stopped
        records = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"journal {self.path}, line {number}: not JSON") from error
        if not records or "lapsd_journal" not in records[0]:
            raise ValueError(f"journal {self.path}: has no first line that says what is recorded")
        was = records[0]
        for name in [*header, *(n for n in was if n not in header)]:
            if was.get(name) != header.get(name):
                change = f"{was.get(name)!r}, now it is {header.get(name)!r}"
                raise ValueError(
                    f"journal {self.path}: was begun with {name} {change}: it cannot go on"
                )
        if len(whole) < len(content):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        return records[1:]
