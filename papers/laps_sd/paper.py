"""The LAPS-SD paper as a list of questions, with what introduces them and what is fixed for all of
them.
"""

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd import examples
from lapsd.papers.laps_sd.claims import estimates, latency, queues, switching
from lapsd.papers.laps_sd.fixed import LOAD, PREDICTOR, REQUESTS
from lapsd.papers.laps_sd.questions import (
    acceptance,
    interpretations,
    preemption,
    server,
    stability,
    tails,
    winners,
)
from lapsd.papers.question import Paper
from lapsd.papers.report import Table
from lapsd.policies import LapsSD
from lapsd.sim.experiment.prepared_scenario import policy_context

QUESTIONS = (
    examples.SCHEDULES,
    examples.QUEUES,
    examples.CURVES,
    latency.QUESTION,
    estimates.QUESTION,
    switching.QUESTION,
    queues.QUESTION,
    preemption.QUESTION,
    tails.QUESTION,
    interpretations.QUESTION,
    server.QUESTION,
    stability.QUESTION,
    winners.QUESTION,
    acceptance.QUESTION,
)
FULL = Size(
    "full",
    claims=1_000,
    queues=600,
    others=500,
    stability=400,
    map=300,
    spreads=(0, 0.5, 1, 2, 4),
    errors=(0, 0.25, 0.5, 1, 1.5, 2),
    loads=(0.5, 0.8, 0.95),
    stretches=(0.25, 0.5, 0.75, 1, 1.25, 1.5),
    generated=2_000,
)
QUICK = Size(
    "quick",
    claims=80,
    queues=60,
    others=40,
    stability=30,
    map=30,
    spreads=(0, 1, 4),
    errors=(0, 0.5, 1, 2),
    loads=(0.8,),
    stretches=(0.25, 0.75, 1.25),
    generated=600,
)


def intro(inputs: Inputs, size: Size) -> list[str]:
    """What the paper proposes, and what can be judged here."""
    text = [
        (
            "Li, Chen and Li (“Semi-Clairvoyant Scheduling of Speculative Decoding Requests to"
            " Minimize LLM Inference Latency”, arXiv 2505.17074, IJCAI 2025) propose LAPS-SD:"
            " least attained service while a request’s acceptance rate is still noisy, shortest"
            " job first once it is stable. This report holds the paper’s claims against recorded"
            f" acceptances, replayed in a simulator with {inputs.profile.kind.replace('_', ' ')}"
            " costs. It is not the paper’s setup: models, data sets and machine differ"
            f" ({inputs.recording}; {inputs.machine}), so directions and shapes can be judged,"
            " absolute times cannot. Each claim says how sure it is that the paper makes it: not"
            " all of the paper’s text is known to us."
        ),
        (
            "Differences are paired over seeds, ratios of means with 95 % intervals by the delta"
            " method. “Best” parameters are chosen on half of the seeds and reported on the other"
            " half. Verdicts follow rules that are part of the program; settings were fixed before"
            " the runs."
        ),
    ]
    if size.name == "quick":
        text.append(
            "This is the quick version: few seeds, and a coarse map. Intervals are wide; quote the"
            " full one."
        )
    return text


def settings(inputs: Inputs, size: Size) -> Table:
    """What was fixed before anything was run."""
    context = policy_context(inputs.split().train)
    policy = LapsSD()
    sup = ", ".join(f"{b / 1e9:.3g}" for b in policy.bind(context).bounds_ns)
    rows = {
        "trace": (
            f"{inputs.recording}: {len(inputs.trace)} requests, {len(inputs.trace.datasets)} data"
            f" sets; shown: {', '.join(inputs.datasets)}"
        ),
        "costs": f"{inputs.profile.kind} ({inputs.profile.weights} weights), {inputs.machine}",
        "LAPS-SD": (
            f"K = {policy.K}, M = {policy.M:g}, γ = {policy.gamma}, δ = {policy.delta:g};"
            f" thresholds {sup} s (Sup₁ = median past T̃ / M^(K/2))"
        ),
        "server": "batch size 1, KV memory for one request: every switch is paid; prefill alone",
        "arrivals": (
            f"{REQUESTS} requests, Poisson at load {LOAD:g}, unless said otherwise; from empty to"
            " drained"
        ),
        "lengths": (
            f"{PREDICTOR}: the truth times exp(0.5 z), z standard normal, unless said otherwise"
        ),
        "halves": (
            "servers learn from one half of the trace, workloads are drawn from the other (split"
            " seed 0)"
        ),
        "seeds": (
            f"{size.claims:,} for the claim on latency and the readings, {size.queues:,} for K,"
            f" {size.stability:,} for stability, {size.map:,} a cell of the map, {size.others:,}"
            " else"
        ),
        "size": size.name,
    }
    return Table(["setting", "value"], [[name, text] for name, text in rows.items()])


LAPS_SD = Paper(
    "laps-sd", "LAPS-SD, reproduced and questioned", intro, settings, QUESTIONS, FULL, QUICK
)
