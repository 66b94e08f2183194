"""The LAPS-SD paper: its questions, the introduction of the report, and the fixed settings."""

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd import examples
from lapsd.papers.laps_sd.claims import estimates, latency, queues, switching
from lapsd.papers.laps_sd.fixed import LOAD, POLICIES, PREDICTOR, REQUESTS
from lapsd.papers.laps_sd.questions import (
    acceptance,
    host_time,
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
    host_time.QUESTION,
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
    """Return what the paper proposes, and the limits of this reproduction."""
    text = [
        (
            "Li, Chen and Li (“Semi-Clairvoyant Scheduling of Speculative Decoding Requests to"
            " Minimize LLM Inference Latency”, arXiv 2505.17074, IJCAI 2025) propose LAPS-SD:"
            " least attained service while a request’s acceptance rate is still noisy, and"
            " shortest job first once it is stable. The paper calls a request perceptible once its"
            " acceptance rate is stable. This report tests the paper’s claims on recorded"
            f" acceptances, replayed in a simulator (costs: {inputs.kind_of_costs}). Models, data"
            f" sets and machine differ from the paper’s ({inputs.recording}; {inputs.machine}), so"
            " the direction of effects and the shape of curves can be compared with the paper, but"
            " absolute times cannot. We had no access to the full text of the paper: we know its"
            " abstract, its Algorithm 1 as quoted elsewhere, captions, and summaries by others."
            " Each claim names its source."
        ),
        (
            "A difference between two policies is a ratio of their mean latencies minus 1, paired"
            " over seeds, with a 95 % interval by the delta method. It is statistically"
            " significant if the interval excludes 0. “Best” parameters are selected on half of"
            " the seeds and reported on the other half. The rules for verdicts are part of the"
            " program, and all settings were fixed before the runs. A verdict has one primary"
            " criterion over all data sets, and never comes from the best of several (this rule"
            " came after the first runs, and made some verdicts stricter)."
        ),
    ]
    if size.name == "quick":
        text.append(
            "This is the quick version, with few seeds, a coarse map and therefore wide intervals."
            " Use the full version for results to quote."
        )
    return text


def settings(inputs: Inputs, size: Size) -> Table:
    """Return everything that was fixed before anything was run."""
    context = policy_context(inputs.split().train)
    policy = LapsSD()
    sup = ", ".join(f"{b / 1e9:.3g}" for b in policy.bind(context).bounds_ns)
    rows = {
        "trace": (
            f"{inputs.recording}: {len(inputs.trace)} requests, {len(inputs.trace.datasets)} data"
            f" sets; the report shows {', '.join(inputs.datasets)}"
        ),
        "costs": f"{inputs.kind_of_costs} ({inputs.profile.weights} weights), {inputs.machine}",
        "LAPS-SD": (
            f"K = {policy.K} queues, M = {policy.M:g}, γ = {policy.gamma}, δ = {policy.delta:g};"
            f" thresholds {sup} s (Sup₁ = median T̃ of past requests / M^(K/2)); T̃ is the"
            " estimated decoding time of a request"
        ),
        "other policies": POLICIES,
        "server": (
            "batch size 1; the KV memory holds one request, so every switch takes time; no rounds"
            " run during a prefill"
        ),
        "arrivals": (
            f"{REQUESTS} requests, Poisson at load {LOAD:g}, unless stated otherwise; each run"
            " starts with an empty server and ends when all requests are done"
        ),
        "predicted lengths": (
            f"{PREDICTOR} unless stated otherwise: the true length times exp(0.5 z), z standard"
            " normal"
        ),
        "split": (
            "servers learn from the training half of the trace; workloads are drawn from the test"
            " half (split seed 0)"
        ),
        "seeds": (
            f"{size.claims:,} for the claim on latency and for interpretations, {size.queues:,}"
            f" for K, {size.stability:,} for stability, {size.map:,} per cell of the map,"
            f" {size.others:,} for everything else"
        ),
        "size": size.name,
    }
    return Table(["setting", "value"], [[name, text] for name, text in rows.items()])


LAPS_SD = Paper("laps-sd", "Reproduction of LAPS-SD", intro, settings, QUESTIONS, FULL, QUICK)
