"""Live runs in blocks: one workload under every policy, calibration rounds within them, or before
and after each.

A block is written whole as soon as it is done: an interrupt leaves complete blocks and, marked as
such, the one that it cut short.
"""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lapsd.policies import Policy, RoundRobin
from lapsd.serve.engine import Engine
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.serve.validation.costs import profile_of
from lapsd.serve.validation.simulated import told_the_truth
from lapsd.serve.validation.source import Source
from lapsd.sim.experiment import PreparedScenario
from lapsd.traces import Profile
from lapsd.traces.files import write_whole

CALIBRATED, QUICK = 8, 2  # requests of a calibration, or three a seat
CALIBRATION_STREAM = (
    7  # after those of `lapsd.traces.workload` and `lapsd.sim.experiment.prepared_scenario`
)
TURN = 5  # rounds, so that caches move at many sizes
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Block:
    """A workload served under every policy.

    Attributes
    ----------
    load : float
    seed : int
    plans, records : sequences, (P,)
        Of the policies in turn; the last record may be of an interrupted run.
    calibrations : sequence of sequences of Record, (P + 1,) The same requests in batches of several
        sizes; run i is between calibrations i and i + 1. None at all where their rounds ran between
        those of the runs (`Record.interleaved`).
    """

    load: float
    seed: int
    plans: Sequence[Plan]
    records: Sequence[Record]
    calibrations: Sequence[Sequence[Record]]

    @property
    def complete(self) -> bool:
        """Nothing was interrupted."""
        runs = [*self.records, *(record for records in self.calibrations for record in records)]
        return all(record.complete for record in runs) and len(self.calibrations) in (
            0,
            len(self.plans) + 1,
        )

    def interleaved(self, i: int) -> tuple[list[Record], list[Record]]:
        """What calibration rounds took in the first and in the second half of those about run i."""
        if self.records[i].interleaved:
            split = [record.split() for record in self.records[i].interleaved]
            return [first for first, _ in split], [second for _, second in split]
        before, after = (list(self.calibrations[k : k + 1]) for k in (i, i + 1))
        whole = [c for c in (*before, *after) if all(record.complete for record in c)]
        return (list(whole[0]), list(whole[-1])) if whole else ([], [])

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"load-{self.load:g}-seed-{self.seed}"

    def write(self, folder: Path) -> None:
        """Into a file of its name."""
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
    def read(cls, path: Path) -> "Block":
        """From such a file.

        Raises
        ------
        ValueError
            If it is none.
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
            raise ValueError(f"{path}: holds no live runs ({error})") from error


def _record(document: dict[str, Any]) -> Record:
    return Record.from_json(json.dumps(document))


@dataclass(frozen=True, eq=False)
class Trial:
    """Live runs of some policies on an engine, of what a source holds.

    Attributes
    ----------
    scenario : mapping
        Fields of `sim.Scenario`, all but the load.
    policies : sequence of Policy FCFS first: the others are measured against it, and its run tells
        clairvoyant ones the truth.
    clock : "busy" or "wall"
    quick : bool
        Few calibration rounds: for trying things out.
    """

    engine: Engine
    source: Source
    scenario: dict[str, Any]
    policies: Sequence[Policy]
    clock: str
    quick: bool = False

    def prepared(self, load: float, profile: Profile) -> PreparedScenario:
        """The setting at a load, which is relative to a profile's costs."""
        return PreparedScenario.of(self.source.trace, profile, **{**self.scenario, "load": load})

    @property
    def interleaves(self) -> bool:
        """Calibration rounds run between the rounds of a run."""
        return self.engine.interleaves(self.clock, self.scenario.get("kv_tokens"))

    def calibrations(self, prepared: PreparedScenario) -> list[Plan]:
        """The same rounds each time: requests of the training half, all at once, in turn, in
        batches of each size.
        """
        past = prepared.trace.split(prepared.scenario.split_seed)[0]
        rows = (
            np.random.default_rng([prepared.scenario.split_seed, CALIBRATION_STREAM])
            .permutation(len(past))
            .tolist()
        )
        most, plans = prepared.scenario.batch, []
        for batch in sorted({1, (most + 1) // 2, most}):
            some = rows[: QUICK * batch if self.quick else max(CALIBRATED, 3 * batch)]
            plans.append(self.source.calibration(prepared, some, RoundRobin(TURN), batch))
        return plans

    def calibrate(self, prepared: PreparedScenario) -> list[Record]:
        """Serve them, until an interrupt."""
        records: list[Record] = []
        for plan in self.calibrations(prepared):
            records.append(self.engine.serve(plan))
            if not records[-1].complete:
                break
        return records

    def first_profile(self, progress: Progress) -> Profile:
        """Costs to begin with, which loads are relative to: of a calibration after one that nobody
        looks at.

        Raises
        ------
        KeyboardInterrupt
            If it was interrupted.
        """
        known = Profile.constant(draft_ms=0, verify_ms=1)  # of no matter: all come at once
        rounds = dict.fromkeys((1, self.scenario.get("batch", 1)), known.costs.rounds[1])
        prepared = self.prepared(0.5, replace(known, costs=replace(known.costs, rounds=rounds)))
        for what in ("calibrating",) if self.quick else ("warming up", "calibrating"):
            progress(what)
            records = self.calibrate(prepared)
            if not all(record.complete for record in records):
                raise KeyboardInterrupt
        return profile_of(records, self.engine.provenance, self.engine.weights)

    def block(self, load: float, seed: int, profile: Profile, progress: Progress) -> Block:
        """Serve a seed's workload under every policy; what there was until an interrupt, if there
        is one.
        """
        prepared = self.prepared(load, profile)
        workload = prepared.workload(seed)
        plans: list[Plan] = []
        records: list[Record] = []
        interleaved = self.calibrations(prepared) if self.interleaves else []
        calibrations = [] if interleaved else [self.calibrate(prepared)]
        for policy in self.policies:
            if not all(
                record.complete
                for record in [*records, *(calibrations[-1] if calibrations else [])]
            ):
                break
            plan = self.source.plan(prepared, workload, policy, self.clock)
            if policy.clairvoyant:
                plan = told_the_truth(replace(plan, context=prepared.ceiling), records[0], profile)
            progress(f"load {load:g}, seed {seed}: {plan.policy}")
            plans.append(plan)
            records.append(self.engine.serve(plan, interleaved))
            if records[-1].complete and not interleaved:
                calibrations.append(self.calibrate(prepared))
        return Block(load, seed, plans, records, calibrations)
