"""The folder of a validation: configuration, first costs, one file per workload, and the results.

The names of all files but the table of requests start with `_`, so that
`pandas.read_parquet(FOLDER)` reads that table.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lapsd.serve.validation.live_runs import LiveRuns
from lapsd.traces import Profile, load_profile, save_profile
from lapsd.traces.files import claim_folder, make_writable_folder, write_whole
from lapsd.traces.files.reading import json_object

RECORDS, CONFIG, PROFILE, RUNS = "requests.parquet", "_config.json", "_profile.json", "_runs"


class Folder:
    """The folder of a new or resumed validation.

    Raises
    ------
    ValueError
        If the folder holds something else, or, with `resume`, another validation; the message names
        the difference.
    """

    def __init__(
        self, path: Path, configuration: Mapping[str, Any], *, overwrite: bool, resume: bool
    ) -> None:
        self.path, self._runs = path, path / RUNS
        whole = json.loads(json.dumps(configuration))
        if resume:
            self._check_same(whole)
        else:
            if (path / CONFIG).exists() and not overwrite:
                raise ValueError(
                    f"{path}: holds a validation already: choose another folder, --resume or"
                    " --overwrite"
                )
            claim_folder(path, RECORDS, "validation", overwrite=overwrite)
        make_writable_folder(self._runs)
        if not resume:
            for old in [*self._runs.iterdir(), path / RECORDS, path / PROFILE]:
                old.unlink(missing_ok=True)
            self._write(CONFIG, whole)

    def _check_same(self, wanted: Mapping[str, Any]) -> None:
        try:
            was = json_object(self.path / CONFIG)
        except ValueError as error:
            raise ValueError(f"{self.path}: holds no validation to resume") from error
        for name in wanted:
            if was.get(name) != wanted[name] and name != "command":
                raise ValueError(
                    f"{self.path}: was started with {name} {was.get(name)!r}, not {wanted[name]!r}"
                )

    @property
    def profile(self) -> Profile | None:
        """The costs that loads are relative to, or None before they are measured."""
        return load_profile(self.path / PROFILE) if (self.path / PROFILE).exists() else None

    def begin(self, profile: Profile) -> None:
        """Write the costs that loads are relative to."""
        save_profile(profile, self.path / PROFILE)

    def done(self, load: float, seed: int) -> LiveRuns | None:
        """Return the live runs of a load and seed if they are complete, else None."""
        path = self._runs / f"{LiveRuns(load, seed, (), (), ()).name}.json.gz"
        runs = LiveRuns.read(path) if path.exists() else None
        return runs if runs is not None and runs.complete else None

    def keep(self, runs: LiveRuns) -> None:
        """Write the live runs of a workload."""
        runs.write(self._runs)

    def conclude(self, requests: pd.DataFrame, findings: Mapping[str, Any]) -> None:
        """Write the table of requests and the findings."""
        self._write("_findings.json", findings)
        write_whole(self.path / RECORDS, lambda p: requests.to_parquet(p, index=False))

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        write_whole(self.path / name, lambda p: p.write_text(text, encoding="utf-8"))
