"""A validation's folder: its configuration and first costs, a file a block of live runs, and what
came of them.

Everything but the records of requests starts with `_`, so that `pandas.read_parquet(FOLDER)` reads
those.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lapsd.serve.validation.blocks import Block
from lapsd.traces import Profile, load_profile, save_profile
from lapsd.traces.files import claim_folder, make_writable_folder, write_whole

RECORDS, CONFIG, PROFILE, RUNS = "requests.parquet", "_config.json", "_profile.json", "_runs"


class Folder:
    """A validation's folder, new or gone on with.

    Raises
    ------
    ValueError
        If it holds something else, or, to be gone on with, another validation, naming what differs.
    """

    def __init__(
        self, path: Path, configuration: Mapping[str, Any], *, overwrite: bool, resume: bool
    ) -> None:
        self.path, self._runs = path, path / RUNS
        whole = json.loads(json.dumps(configuration))
        if resume:
            self._hold(whole)
        else:
            if (path / CONFIG).exists() and not overwrite:
                raise ValueError(
                    f"{path} holds a validation already: choose another folder, go on with it, or"
                    " overwrite it"
                )
            claim_folder(path, RECORDS, "validation", overwrite=overwrite)
        make_writable_folder(self._runs)
        if not resume:
            for old in [*self._runs.iterdir(), path / RECORDS, path / PROFILE]:
                old.unlink(missing_ok=True)
            self._write(CONFIG, whole)

    def _hold(self, wanted: Mapping[str, Any]) -> None:
        try:
            was = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path}: holds no validation to go on with") from error
        for name in wanted:
            if was.get(name) != wanted[name] and name != "command":
                raise ValueError(
                    f"{self.path}: was begun with {name} {was.get(name)!r}, now it is"
                    f" {wanted[name]!r}"
                )

    @property
    def profile(self) -> Profile | None:
        """The costs it was begun with, if it was."""
        return load_profile(self.path / PROFILE) if (self.path / PROFILE).exists() else None

    def begin(self, profile: Profile) -> None:
        """These are the costs that loads are relative to."""
        save_profile(profile, self.path / PROFILE)

    def done(self, load: float, seed: int) -> Block | None:
        """The block of a load and seed, if it is there and complete."""
        path = self._runs / f"{Block(load, seed, (), (), ()).name}.json.gz"
        block = Block.read(path) if path.exists() else None
        return block if block is not None and block.complete else None

    def keep(self, block: Block) -> None:
        """Write a block."""
        block.write(self._runs)

    def conclude(self, requests: pd.DataFrame, findings: Mapping[str, Any]) -> None:
        """Write what came of them."""
        self._write("_findings.json", findings)
        write_whole(self.path / RECORDS, lambda p: requests.to_parquet(p, index=False))

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        write_whole(self.path / name, lambda p: p.write_text(text, encoding="utf-8"))
