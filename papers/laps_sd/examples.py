"""Example runs and requests for figures, each the first one that fits a rule fixed beforehand."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lapsd.papers.inputs import Inputs
from lapsd.papers.laps_sd.fixed import PREDICTOR
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import Figure
from lapsd.policies import FCFS, LAS, LPSJF, Job, LapsSD, Policy
from lapsd.sim.engine import Timeline
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import run
from lapsd.sim.experiment.stability import running_acceptance, stable_rounds
from lapsd.sim.figures.acceptance import plot_running_acceptance
from lapsd.sim.figures.schedules import plot_few_requests, plot_queues

TRIES = 2_000  # seeds
THREE, CROWD = 3, 14  # requests
CROWDED = 2.0  # load of the three requests: at lower loads they hardly overlap
FILLED = 1.5  # load of the run whose queues are shown: at lower loads they are mostly empty
LEAST_ROUNDS = 40  # fewest rounds of a request whose running acceptance is drawn


def _prepared(inputs: Inputs, requests: int, load: float) -> PreparedScenario:
    return PreparedScenario.of(
        inputs.trace, inputs.profile, requests=requests, load=load, length_predictor=PREDICTOR
    )


def find_schedules(evidence: Evidence) -> Tables:
    """Return three requests whose mean latency differs under each of the paper's four policies.

    The seed is the first at which this is so and LAPS-SD preempts. The tables hold the spans of
    each policy's run and the arrival times.
    """
    policies: list[Policy] = [FCFS(), LAS(), LPSJF(), LapsSD()]
    prepared = _prepared(evidence.inputs, THREE, CROWDED)
    for seed in range(TRIES):
        timelines = {p.name: Timeline() for p in policies}
        runs = [run(prepared, p, seed, timelines[p.name]) for p in policies]
        means = {float(r.latency_ns.mean()) for r in runs}
        if len(means) == len(policies) and int(runs[-1].preemptions.sum()) > 0:
            spans = [pd.DataFrame(t.spans).assign(policy=name) for name, t in timelines.items()]
            requests = pd.DataFrame({"seed": seed, "arrival_ns": runs[-1].arrival_ns})
            return {
                "schedules": pd.concat(spans, ignore_index=True),
                "schedules_requests": requests,
            }
    raise Unanswerable(
        f"in {TRIES} seeds no three requests have a different mean latency under each policy"
    )


def draw_schedules(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 1."""
    requests = tables["schedules_requests"]
    spans = {
        str(policy): rows for policy, rows in tables["schedules"].groupby("policy", sort=False)
    }
    caption = (
        f"A simulated run of three recorded requests at load {CROWDED:g}, predicted lengths"
        f" {PREDICTOR}, one panel per policy, one row per request, time on the horizontal axis. It"
        f" is the first seed ({requests['seed'].iloc[0]}) at which all four policies differ in mean"
        " latency and LAPS-SD preempts a request. A bar marks the time in which a request runs"
        " (dark: prefill), a line its time in the system, and a tick its arrival. The paper's"
        f" Figure 1 sketches such schedules. {evidence.inputs.where}"
    )
    return [
        Figure(
            1,
            "Three requests under four policies",
            caption,
            lambda: plot_few_requests(spans, requests["arrival_ns"].to_numpy()),
        )
    ]


@dataclass(frozen=True)
class Logged(LapsSD):
    """LAPS-SD that logs the queue of a request after each of its rounds."""

    log: list[tuple[int, int, int, bool]] = field(
        default_factory=list, repr=False, compare=False, metadata={"bound": True}
    )

    def on_round(self, job: Job, now_ns: int) -> None:
        super().on_round(job, now_ns)
        self.log.append((now_ns, job.index, job.queue, job.state.perceptible))


def find_queues(evidence: Evidence) -> Tables:
    """Return the first run in which LAPS-SD uses every queue and a request becomes perceptible.

    The tables hold the queue of each request after each of its rounds, the spans of the run, and
    the arrival and finish times.
    """
    every = set(range(1, LapsSD().K + 1))
    prepared = _prepared(evidence.inputs, CROWD, FILLED)
    for seed in range(TRIES):
        timeline = Timeline()
        done = run(prepared, Logged(), seed, timeline)
        assert isinstance(done.policy, Logged)
        turns = pd.DataFrame(done.policy.log, columns=["ns", "request", "queue", "perceptible"])
        if set(turns["queue"]) == every and turns["perceptible"].any():
            times = {"seed": seed, "arrival_ns": done.arrival_ns, "finish_ns": done.finish_ns}
            return {
                "queue_turns": turns,
                "queue_spans": pd.DataFrame(timeline.spans),
                "queue_requests": pd.DataFrame(times),
            }
    raise Unanswerable(f"in {TRIES} seeds no run uses all {len(every)} queues")


def draw_queues(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 4."""
    turns, spans, requests = (
        tables[name] for name in ("queue_turns", "queue_spans", "queue_requests")
    )
    queues = LapsSD().K
    caption = (
        f"A simulated run of LAPS-SD with {CROWD} recorded requests at load {FILLED:g}, predicted"
        f" lengths {PREDICTOR}. It is the first seed ({requests['seed'].iloc[0]}) that uses all"
        f" {queues} queues. One row per request, time on the horizontal axis; the colour is its"
        " queue, thick bars mark running and thin bars waiting. At a diamond the request becomes"
        " perceptible and moves to the queue of its remaining T̃. The paper's Figure 4 is a"
        f" diagram of the queues. {evidence.inputs.where}"
    )
    return [
        Figure(
            4,
            "The queue of each request over time",
            caption,
            lambda: plot_queues(turns, spans, requests, queues),
        )
    ]


def find_curves(evidence: Evidence) -> Tables:
    """Return the running acceptance of three requests of at least `LEAST_ROUNDS` rounds.

    They become perceptible early (10th percentile), at the median round, and late (90th).
    """
    trace = evidence.inputs.trace
    stable = stable_rounds(trace)
    rows = np.flatnonzero((stable > 0) & (trace.rounds >= LEAST_ROUNDS))
    if len(rows) < 3:
        raise Unanswerable(f"fewer than three requests of {LEAST_ROUNDS} rounds become perceptible")
    chosen: list[int] = []
    for target in np.percentile(stable[rows], [10, 50, 90]):
        free = [int(r) for r in rows if int(r) not in chosen]
        chosen.append(min(free, key=lambda r, target=target: (abs(stable[r] - target), r)))  # type: ignore[misc]
    curves = []
    for row in chosen:
        rate = running_acceptance(trace, row)
        curves.append(
            pd.DataFrame(
                {
                    "request": row,
                    "dataset": trace.dataset[row],
                    "stable": int(stable[row]),
                    "round": np.arange(1, len(rate) + 1),
                    "rate": rate,
                }
            )
        )
    return {"running_acceptance": pd.concat(curves, ignore_index=True)}


def draw_curves(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 3."""
    caption = (
        "Recorded acceptance rate (accepted over drafted tokens so far; vertical axis) by round"
        " (horizontal axis). At its dot a request becomes perceptible (γ = 5, δ = 0.05). The three"
        " requests do so at the 10th, 50th and 90th percentile of all requests with at least"
        f" {LEAST_ROUNDS} rounds. The paper's Figure 3 shows three such curves, noisy at first."
        f" {evidence.inputs.source}"
    )
    return [
        Figure(
            3,
            "Running acceptance of three requests",
            caption,
            lambda: plot_running_acceptance(tables["running_acceptance"]),
        )
    ]


SCHEDULES = Question("figure 1", find_schedules, draw=draw_schedules)
QUEUES = Question("figure 4", find_queues, draw=draw_queues)
CURVES = Question("figure 3", find_curves, draw=draw_curves)
