"""The ALISE paper: its questions, the introduction of the report, and the fixed settings."""

from lapsd.papers.alise import ablation, blocking, predictors, throughput, time_model, waste
from lapsd.papers.alise.systems import CAP, PREDICTOR, SMALL_CAP, SYSTEMS, memories, rates, requests
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.question import Paper, Unanswerable
from lapsd.papers.report import Table

QUESTIONS = (
    throughput.QUESTION,
    blocking.QUESTION,
    ablation.QUESTION,
    waste.QUESTION,
    time_model.QUESTION,
    predictors.QUESTION,
)
FULL = Size(
    "full",
    claims=12,
    queues=0,
    others=12,
    stability=0,
    map=0,
    spreads=(),
    errors=(),
    loads=(0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
    stretches=(),
    generated=300,
)
QUICK = Size(
    "quick",
    claims=3,
    queues=0,
    others=3,
    stability=0,
    map=0,
    spreads=(),
    errors=(),
    loads=(0.4, 0.8, 1.6),
    stretches=(),
    generated=100,
)


def intro(inputs: Inputs, size: Size) -> list[str]:
    """Return what the paper proposes, and the limits of this reproduction."""
    text = [
        (
            "Zhao and Wang (“ALISE: Accelerating Large Language Model Serving with Speculative"
            " Scheduling”, arXiv 2410.23537, ICCAD 2024) propose to predict output lengths by"
            " retrieving similar past prompts, to serve by estimated remaining time with"
            " preemption, and to swap quantised KV caches by estimated waiting time. “Speculative”"
            " refers to the prediction: requests are decoded one token at a time. We had no access"
            " to the full text of the paper: we know its abstract, captions, and summaries by"
            " others. Each detail that we do not know is a parameter, and the"
            " ablation varies it. Each claim names its source."
        ),
        (
            f"Requests: {inputs.recording}. Costs:"
            f" {inputs.profile.provenance.source or inputs.machine} ({inputs.kind_of_costs}). We do"
            " not know the paper’s setup, so the direction of effects and the shape of curves can"
            " be compared with the paper, but absolute numbers cannot. The licences of Alpaca and"
            " ShareGPT do not allow us to ship their requests: `lapsd import alpaca-eval` and"
            " `lapsd import sharegpt` read them, and `--trace` uses them here."
        ),
    ]
    if size.name == "quick":
        text.append(
            "This is the quick version, with few seeds and rates and therefore wide intervals. Use"
            " the full version for results to quote."
        )
    return text


def settings(inputs: Inputs, size: Size) -> Table:
    """Return everything that was fixed before anything was run."""
    try:
        known = memories(inputs)
        memory = ", ".join(f"{name}: {tokens:,} KV tokens" for name, tokens in known.items())
    except Unanswerable as reason:
        known, memory = {}, str(reason)
    arrivals = [
        f"{name}: {requests(inputs, size, tokens)} Poisson arrivals at"
        f" {', '.join(f'{rate:g}' for rate in rates(inputs, size, tokens))} requests/s"
        for name, tokens in known.items()
    ]
    rows = {
        "trace": f"{inputs.recording}: {len(inputs.trace)} requests",
        "costs": f"{inputs.kind_of_costs}, {inputs.machine}",
        "memory": memory,
        "batches": (
            f"up to {CAP} requests; up to {SMALL_CAP} for FastServe and vLLM’s second baseline"
        ),
        "systems": "; ".join(
            f"{s.label}: policy {s.policy}, memory {s.settings['memory']}" for s in SYSTEMS.values()
        ),
        "predicted lengths": (
            f"{PREDICTOR} unless stated otherwise: the true length times exp(0.5 z), z standard"
            " normal"
        ),
        "arrivals": "; ".join(
            [*arrivals, "each run starts with an empty server and ends when all requests are done"]
        ),
        "split": (
            "servers learn from the training half of the trace; workloads are drawn from the test"
            " half (split seed 0)"
        ),
        "seeds": f"{size.claims} for the curves, {size.others} for the ablation",
        "size": size.name,
    }
    return Table(["setting", "value"], [[name, text] for name, text in rows.items()])


ALISE = Paper(
    "alise",
    "Reproduction of ALISE",
    intro,
    settings,
    QUESTIONS,
    FULL,
    QUICK,
    trace="azure-conversations",
    profile="opt-13b-a100",
)
