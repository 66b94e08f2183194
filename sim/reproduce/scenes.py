"""The single runs that figures 1, 3 and 4 show, each the first that fits a rule fixed beforehand."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import FCFS, LAS, LPSJF, Job, LapsSD, Outlook, Policy
from policies.laps_sd import Perceived
from sim.engine import Run, Timeline, simulate
from sim.experiment.stability import stable_rounds
from sim.experiment.stage import Stage
from sim.reproduce.plan import PREDICTOR, Inputs
from traces import Arrivals, LengthPredictor, Trace, Workload, draw_workload

TRIES = 2_000
THREE, CROWD = 3, 14
CROWDED = 2.0  # load of the three requests: at lower ones they hardly meet
FILLED = 1.5  # load of the run whose queues are shown: at lower ones they are mostly empty
LEAST_ROUNDS = 40  # of a request whose running acceptance is worth drawing


@dataclass(frozen=True)
class Logged(LapsSD):
    """LAPS-SD that writes down each request's queue after each of its rounds."""

    log: list[tuple[int, int, int, bool]] = field(
        default_factory=list, repr=False, compare=False, metadata={"bound": True}
    )

    def learn(self, job: Job, now_ns: int) -> None:
        super().learn(job, now_ns)
        self.log.append((now_ns, job.index, job.queue, isinstance(job.memo, Perceived)))


class Meeting(NamedTuple):
    """Three requests under the paper's policies."""

    seed: int
    timelines: dict[str, Timeline]
    arrival_ns: NDArray[np.int64]


class Crowd(NamedTuple):
    """A run of LAPS-SD with its queues."""

    seed: int
    log: list[tuple[int, int, int, bool]]
    timeline: Timeline
    workload: Workload
    run: Run


def three_requests(inputs: Inputs) -> Meeting | None:
    """The first seed at which the paper's four policies all give different mean latencies, and none runs alone."""
    policies: list[Policy] = [FCFS(), LAS(), LPSJF(), LapsSD()]
    for seed, workload, outlook in _workloads(inputs, THREE, CROWDED):
        timelines = {p.name: Timeline() for p in policies}
        runs = [simulate(workload, p, outlook=outlook, timeline=timelines[p.name]) for p in policies]
        means = {float(run.latency_ns.mean()) for run in runs}
        if len(means) == len(policies) and int(runs[-1].preemptions.sum()) > 0:
            return Meeting(seed, timelines, workload.arrival_ns)
    return None


def full_queues(inputs: Inputs, queues: int) -> Crowd | None:
    """The first seed at which LAPS-SD uses every queue, with requests that become perceptible."""
    for seed, workload, outlook in _workloads(inputs, CROWD, FILLED):
        policy, timeline = Logged(K=queues), Timeline()
        run = simulate(workload, policy, outlook=outlook, timeline=timeline)
        if {q for _, _, q, _ in policy.log} == set(range(1, queues + 1)) and any(p for *_, p in policy.log):
            return Crowd(seed, policy.log, timeline, workload, run)
    return None


def _workloads(inputs: Inputs, requests: int, load: float) -> Iterator[tuple[int, Workload, Outlook]]:
    future, outlook, share_ns = Stage.of(inputs.trace, inputs.profile).halves
    for seed in range(TRIES):
        workload = draw_workload(
            future, requests=requests, seed=seed, arrivals=Arrivals(load=load),
            predictor=LengthPredictor.parse(PREDICTOR), mean_size_ns=share_ns,
        )  # fmt: skip
        yield seed, workload, outlook


def three_of_different_stability(trace: Trace) -> list[int]:
    """Rows of three requests of at least `LEAST_ROUNDS`: perceptible early (p10), as most (median), late (p90)."""
    stable = stable_rounds(trace)
    rows = np.flatnonzero((stable > 0) & (trace.rounds >= LEAST_ROUNDS))
    if len(rows) < 3:
        return []
    chosen: list[int] = []
    for mark in np.percentile(stable[rows], [10, 50, 90]):
        free = [int(r) for r in rows if int(r) not in chosen]
        chosen.append(min(free, key=lambda r, mark=mark: (abs(stable[r] - mark), r)))  # type: ignore[misc]
    return chosen
