"""Example runs and requests that show what the paper describes, each the first that fits a rule
fixed beforehand.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lapsd.papers.inputs import Inputs
from lapsd.papers.laps_sd.fixed import PREDICTOR
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import Figure
from lapsd.policies import FCFS, LAS, LPSJF, Job, LapsSD, Policy
from lapsd.policies.laps_sd import Perceived
from lapsd.sim.engine import Timeline
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import run
from lapsd.sim.experiment.stability import running_acceptance, stable_rounds
from lapsd.sim.figures.acceptance import plot_running_acceptance
from lapsd.sim.figures.schedules import plot_few_requests, plot_queues

TRIES = 2_000  # seeds
THREE, CROWD = 3, 14  # requests
CROWDED = 2.0  # load of the three requests: at lower ones they hardly meet
FILLED = 1.5  # load of the run whose queues are shown: at lower ones they are mostly empty
LEAST_ROUNDS = 40  # of a request whose running acceptance is worth drawing


def _stage(inputs: Inputs, requests: int, load: float) -> PreparedScenario:
    return PreparedScenario.of(
        inputs.trace, inputs.profile, requests=requests, load=load, length_predictor=PREDICTOR
    )


def find_schedules(evidence: Evidence) -> Tables:
    """The first seed at which the paper's four policies all give different mean latencies, and
    LAPS-SD preempts.

    Spans of each policy's run, and when the three requests arrive.
    """
    policies: list[Policy] = [FCFS(), LAS(), LPSJF(), LapsSD()]
    prepared = _stage(evidence.inputs, THREE, CROWDED)
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
    raise Unanswerable(f"in {TRIES} seeds no three requests are told apart by the four policies")


def draw_schedules(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Figure 1."""
    requests = tables["schedules_requests"]
    spans = {
        str(policy): rows for policy, rows in tables["schedules"].groupby("policy", sort=False)
    }
    caption = (
        f"A simulated run: three recorded requests at load {CROWDED:g}, lengths {PREDICTOR}; the"
        f" first seed ({requests['seed'].iloc[0]}) at which all four policies differ in mean"
        " latency and LAPS-SD preempts. Bars: running; dark: prefill; lines: in the system; ticks:"
        f" arrivals. The paper's figure 1 sketches such schedules. {evidence.inputs.where}"
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
    """LAPS-SD that writes down each request's queue after each of its rounds."""

    log: list[tuple[int, int, int, bool]] = field(
        default_factory=list, repr=False, compare=False, metadata={"bound": True}
    )

    def on_round(self, job: Job, now_ns: int) -> None:
        super().on_round(job, now_ns)
        self.log.append((now_ns, job.index, job.queue, isinstance(job.state, Perceived)))


def find_queues(evidence: Evidence) -> Tables:
    """The first seed at which LAPS-SD uses every queue, with requests that become perceptible.

    Each request's queue after each of its rounds, the run's spans, and when requests arrive and
    end.
    """
    every = set(range(1, LapsSD().K + 1))
    prepared = _stage(evidence.inputs, CROWD, FILLED)
    for seed in range(TRIES):
        policy, timeline = Logged(), Timeline()
        done = run(prepared, policy, seed, timeline)
        turns = pd.DataFrame(policy.log, columns=["ns", "request", "queue", "perceptible"])
        if set(turns["queue"]) == every and turns["perceptible"].any():
            times = {"seed": seed, "arrival_ns": done.arrival_ns, "finish_ns": done.finish_ns}
            return {
                "queue_turns": turns,
                "queue_spans": pd.DataFrame(timeline.spans),
                "queue_requests": pd.DataFrame(times),
            }
    raise Unanswerable(f"in {TRIES} seeds no run uses all {len(every)} queues")


def draw_queues(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Figure 4."""
    turns, spans, requests = (
        tables[name] for name in ("queue_turns", "queue_spans", "queue_requests")
    )
    queues = LapsSD().K
    caption = (
        f"A simulated run of LAPS-SD: {CROWD} recorded requests at load {FILLED:g}, lengths"
        f" {PREDICTOR}; the first seed ({requests['seed'].iloc[0]}) that uses all {queues} queues."
        " Thick: running, thin: waiting; diamonds: the round at which a request becomes"
        " perceptible and is placed by its remaining T̃. The paper's figure 4 is a diagram of the"
        f" queues. {evidence.inputs.where}"
    )
    return [
        Figure(
            4,
            "Which request is in which queue when",
            caption,
            lambda: plot_queues(turns, spans, requests, queues),
        )
    ]


def find_curves(evidence: Evidence) -> Tables:
    """Three requests of at least `LEAST_ROUNDS`: perceptible early (p10), as most (median), late
    (p90).

    Accepted over drafted tokens after each of their rounds.
    """
    trace = evidence.inputs.trace
    stable = stable_rounds(trace)
    rows = np.flatnonzero((stable > 0) & (trace.rounds >= LEAST_ROUNDS))
    if len(rows) < 3:
        raise Unanswerable(f"fewer than three requests of {LEAST_ROUNDS} rounds become perceptible")
    chosen: list[int] = []
    for mark in np.percentile(stable[rows], [10, 50, 90]):
        free = [int(r) for r in rows if int(r) not in chosen]
        chosen.append(min(free, key=lambda r, mark=mark: (abs(stable[r] - mark), r)))  # type: ignore[misc]
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
    """Figure 3."""
    caption = (
        "Recorded: accepted over drafted tokens so far. The three become perceptible (dots; γ = 5,"
        " δ = 0.05) at the 10th percentile, the median and the 90th of all requests with at least"
        f" {LEAST_ROUNDS} rounds. The paper's figure 3 shows three such curves, noisy at first."
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
