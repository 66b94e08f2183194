"""Live runs of one workload under several policies, with calibration rounds.

Calibration rounds run between the rounds of the live runs, or before and after each live run. The
live runs of a workload are written to one file when the last has finished. After an interrupt there
are the files of complete workloads, and one of the interrupted workload, marked as incomplete.
"""

import gzip
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lapsd.calibrate.recording import Progress as Stages, silent
from lapsd.policies import Policy, RoundRobin, parse_policy
from lapsd.serve.engine import Engine
from lapsd.serve.own.drafts import refuse_unknowable
from lapsd.serve.plan import Plan, importable_spec
from lapsd.serve.record import Record
from lapsd.serve.validation.costs import profile_of
from lapsd.serve.validation.simulated import with_true_values
from lapsd.serve.validation.source import Source
from lapsd.sim.experiment import PreparedScenario
from lapsd.sim.experiment.runs import run
from lapsd.traces import Profile, Trace
from lapsd.traces.files import write_whole

# requests of a calibration: three per batch slot, at least CALIBRATED; with --quick QUICK per slot
CALIBRATED, QUICK = 8, 2
# other random streams are in `lapsd.traces.workload` and `lapsd.sim.experiment.prepared_scenario`
CALIBRATION_STREAM = 7
TURN = 5  # rounds per turn of the calibration, so that caches of many sizes are transferred
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class LiveRuns:
    """The live runs of one workload, one per policy.

    Attributes
    ----------
    load : float
    seed : int
    plans, records : sequences, (P,)
        In the order of the policies; the last record may be of an interrupted run.
    calibrations : sequence of sequences of Record, (P + 1,)
        The same requests in batches of several sizes; live run i is between calibrations i and
        i + 1. Empty where calibration rounds ran between the rounds of the live runs
        (`Record.interleaved`).
    """

    load: float
    seed: int
    plans: Sequence[Plan]
    records: Sequence[Record]
    calibrations: Sequence[Sequence[Record]]

    @property
    def complete(self) -> bool:
        """Whether no run was interrupted."""
        runs = [*self.records, *(record for records in self.calibrations for record in records)]
        return all(record.complete for record in runs) and len(self.calibrations) in (
            0,
            len(self.plans) + 1,
        )

    def calibration_halves(self, i: int) -> tuple[list[Record], list[Record]]:
        """Return the calibration rounds of live run i in an earlier and a later half.

        Each half is one half of the rounds within the run, or the calibration before or after it.
        """
        if self.records[i].interleaved:
            split = [record.split() for record in self.records[i].interleaved]
            return [first for first, _ in split], [second for _, second in split]
        before, after = (list(self.calibrations[k : k + 1]) for k in (i, i + 1))
        whole = [c for c in (*before, *after) if all(record.complete for record in c)]
        return (list(whole[0]), list(whole[-1])) if whole else ([], [])

    @property
    def name(self) -> str:
        """The name of its file, without the ending."""
        return f"load-{self.load:g}-seed-{self.seed}"

    def write(self, folder: Path) -> None:
        """Write the live runs to a file in `folder`."""
        document = {
            "load": self.load,
            "seed": self.seed,
            "plans": [json.loads(plan.to_json()) for plan in self.plans],
            "records": [json.loads(record.to_json()) for record in self.records],
            "calibrations": [
                [json.loads(r.to_json()) for r in records] for records in self.calibrations
            ],
        }
        packed = gzip.compress(json.dumps(document).encode(), mtime=0)
        write_whole(folder / f"{self.name}.json.gz", lambda path: path.write_bytes(packed))

    @classmethod
    def read(cls, path: Path) -> "LiveRuns":
        """Return the live runs of a file that `write` wrote.

        Raises
        ------
        ValueError
            If the file cannot be read as one.
        """
        try:
            document: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
            plans = [Plan.from_json(json.dumps(plan)) for plan in document["plans"]]
            records = [_record(record) for record in document["records"]]
            calibrations = [
                [_record(record) for record in records] for records in document["calibrations"]
            ]
            return cls(document["load"], document["seed"], plans, records, calibrations)
        except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: is not a file of live runs ({error})") from error


def _record(document: dict[str, Any]) -> Record:
    return Record.from_json(json.dumps(document))


def placeholder_profile(batch: int) -> Profile:
    """Return a profile in which each round takes 1 ms, for work that needs costs of any size."""
    profile = Profile.constant(draft_ms=0, verify_ms=1)
    rounds = dict.fromkeys((1, batch), profile.costs.rounds[1])
    return replace(profile, costs=replace(profile.costs, rounds=rounds))


def check_policies(trace: Trace, scenario: Mapping[str, Any], policies: Iterable[Policy]) -> None:
    """Refuse policies that cannot serve a scenario, before any model is loaded.

    Each policy is made again from its text, as live runs do, and serves one simulated workload with
    placeholder costs.

    Raises
    ------
    ValueError
        If a policy cannot be made again from its text, cannot be bound or ranks wrongly, its draft
        policy cannot be asked in a live run, or a request can never fit the memory.
    """
    values = {"load": 0.5, **scenario}
    profile = placeholder_profile(scenario.get("batch", 1))
    prepared = PreparedScenario.of(trace, profile, **values)
    for policy in policies:
        refuse_unknowable(policy)
        run(prepared, parse_policy(importable_spec(policy)), seed=0)


@dataclass(frozen=True, eq=False)
class Trial:
    """A validation: an engine, requests, a scenario and the policies to serve under.

    Attributes
    ----------
    scenario : mapping
        Fields of `lapsd.Scenario` without the load.
    policies : sequence of Policy
        FCFS comes first: it is the baseline, and its live run gives clairvoyant policies the true
        values.
    clock : "busy" or "wall"
    quick : bool
        Run few calibration rounds, to try things out.
    """

    engine: Engine
    source: Source
    scenario: dict[str, Any]
    policies: Sequence[Policy]
    clock: str
    quick: bool = False

    def prepared(self, load: float, profile: Profile) -> PreparedScenario:
        """Return the scenario at a load, prepared with the costs of a profile."""
        return PreparedScenario.of(self.source.trace, profile, **{**self.scenario, "load": load})

    @property
    def interleaves(self) -> bool:
        """Whether calibration rounds run between the rounds of a live run."""
        return self.engine.interleaves(self.clock, self.scenario.get("kv_tokens"))

    @property
    def lengths(self) -> list[int]:
        """Draft lengths whose costs are measured: that of the trace; with draft policies 0, 1, the
        longest that they may choose, and half of it.

        The first draft token costs more than its share: a pass over one token is faster.
        """
        most = [policy.drafts.most for policy in self.policies if policy.drafts is not None]
        if not most:
            return [self.source.draft_tokens]
        longest = max(self.source.draft_tokens, *most)
        return sorted({0, min(1, longest), (longest + 1) // 2, longest})

    def calibration_plans(self, prepared: PreparedScenario) -> list[Plan]:
        """Return one plan per batch size and draft length, the same ones at each call.

        Requests of the training half arrive at once and are served round-robin.
        """
        train = prepared.trace.split(prepared.scenario.split_seed)[0]
        rows = (
            np.random.default_rng([prepared.scenario.split_seed, CALIBRATION_STREAM])
            .permutation(len(train))
            .tolist()
        )
        most, plans = prepared.scenario.batch, []
        for batch in sorted({1, (most + 1) // 2, most}):
            some = rows[: QUICK * batch if self.quick else max(CALIBRATED, 3 * batch)]
            plans += [
                self.source.calibration(prepared, some, RoundRobin(TURN), batch, length)
                for length in self.lengths
            ]
        return plans

    def calibrate(self, prepared: PreparedScenario) -> list[Record]:
        """Serve the calibration plans, until an interrupt."""
        records: list[Record] = []
        for plan in self.calibration_plans(prepared):
            records.append(self.engine.serve(plan))
            if not records[-1].complete:
                break
        return records

    def first_profile(self, progress: Stages = silent) -> Profile:
        """Return the costs that loads are relative to, from a calibration after a warm-up.

        Raises
        ------
        KeyboardInterrupt
            If the calibration was interrupted.
        """
        # all calibration requests arrive at once, so that costs do not matter here
        prepared = self.prepared(0.5, placeholder_profile(self.scenario.get("batch", 1)))
        takes = ""
        for what in ("calibrating",) if self.quick else ("warming up", "calibrating"):
            progress(what, 0, 1, takes)
            begun = time.monotonic()
            records = self.calibrate(prepared)
            if not all(record.complete for record in records):
                raise KeyboardInterrupt
            takes = f"about {time.monotonic() - begun:,.0f} s"
        return profile_of(records, self.engine.provenance, self.engine.weights)

    def live_runs(self, load: float, seed: int, profile: Profile, progress: Progress) -> LiveRuns:
        """Serve the workload of a seed under every policy, until done or interrupted."""
        prepared = self.prepared(load, profile)
        workload = prepared.workload(seed)
        plans: list[Plan] = []
        records: list[Record] = []
        interleaved = self.calibration_plans(prepared) if self.interleaves else []
        calibrations = [] if interleaved else [self.calibrate(prepared)]
        for policy in self.policies:
            if not all(
                record.complete
                for record in [*records, *(calibrations[-1] if calibrations else [])]
            ):
                break
            plan = self.source.plan(prepared, workload, policy, self.clock)
            if policy.clairvoyant:
                plan = with_true_values(
                    replace(plan, context=prepared.ceiling), records[0], profile
                )
            progress(f"load {load:g}, seed {seed}: {plan.policy}")
            plans.append(plan)
            records.append(self.engine.serve(plan, interleaved))
            if records[-1].complete and not interleaved:
                calibrations.append(self.calibrate(prepared))
        return LiveRuns(load, seed, plans, records, calibrations)
