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
from lapsd.traces.files import (
    Kind,
    claim,
    first_difference,
    in_work,
    make_writable_folder,
    publish,
    remove_unfinished,
    write_text,
    write_whole,
)
from lapsd.traces.files.reading import json_object

RECORDS, CONFIG, PROFILE, RUNS = "requests.parquet", "_config.json", "_profile.json", "_runs"
FINDINGS = "_findings.json"
VALIDATION = Kind("validation", RUNS, (RUNS, RECORDS, CONFIG, PROFILE, FINDINGS))


class Folder:
    """The folder of a new or resumed validation.

    A validation that replaces an old one is made in a folder inside, until it is complete.

    Raises
    ------
    ValueError
        If the folder holds something else, or, with `resume`, another validation; the message names
        the difference.
    """

    def __init__(
        self, path: Path, configuration: Mapping[str, Any], *, overwrite: bool, resume: bool
    ) -> None:
        self._out, whole = path, json.loads(json.dumps(configuration))
        if resume:
            self.path = in_work(path, VALIDATION)
            self._check_same(whole)
            for place in (self.path, self._runs):
                remove_unfinished(place)
        else:
            self.path = claim(path, VALIDATION, overwrite=overwrite)
            self._write(CONFIG, whole)
        make_writable_folder(self._runs)

    @property
    def _runs(self) -> Path:
        return self.path / RUNS

    def _check_same(self, now: Mapping[str, Any]) -> None:
        try:
            was = json_object(self.path / CONFIG)
        except ValueError as error:
            raise ValueError(f"{self._out}: holds no validation to resume ({error})") from error
        # a profile is only compared with the live runs, which do not depend on it
        unused = dict.fromkeys(("command", "profile_sha256"))
        difference = first_difference(*({**one, **unused} for one in (was, now)))
        if difference is not None:
            raise ValueError(f"{self._out}: holds another validation: {difference}")

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
        if runs is not None and (runs.load, runs.seed) != (load, seed):
            raise ValueError(f"{path}: holds the runs of load {runs.load:g} and seed {runs.seed}")
        return runs if runs is not None and runs.complete else None

    def keep(self, runs: LiveRuns) -> None:
        """Write the live runs of a workload."""
        runs.write(self._runs)

    def conclude(
        self, requests: pd.DataFrame, findings: Mapping[str, Any], *, complete: bool = True
    ) -> None:
        """Write the tables; a complete validation takes the place of an old one."""
        self._write(FINDINGS, findings)
        write_whole(self.path / RECORDS, lambda p: requests.to_parquet(p, index=False))
        if complete:
            publish(self._out, VALIDATION)
            self.path = self._out

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        write_text(self.path / name, json.dumps(document, indent=2, allow_nan=False) + "\n")
