"""The ALISE paper as a list of questions, with what introduces them and what is fixed for all of
them.
"""

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
    """What the paper proposes, and what can be judged here."""
    text = [
        (
            "Zhao and Wang (“ALISE: Accelerating Large Language Model Serving with Speculative"
            " Scheduling”, arXiv 2410.23537, ICCAD 2024) propose to predict output lengths by"
            " retrieving similar past prompts, to serve by estimated remaining time with"
            " preemption, and to move KV caches by estimated waiting time, quantised. “Speculative”"
            " there is the prediction: requests are decoded one token at a time. Most of the"
            " paper’s text was not at hand: what it leaves open to us is a parameter, with an"
            " ablation. Each claim says how sure it is that the paper makes it."
        ),
        (
            f"Requests: {inputs.recording}. Costs:"
            f" {inputs.profile.provenance.source or inputs.machine}"
            f" ({inputs.profile.kind.replace('_', ' ')}): directions and shapes can be judged, the"
            " paper’s own setup is unknown. Alpaca’s and ShareGPT’s requests may not be shipped:"
            " lapsd import alpaca-eval and sharegpt read them, and --trace takes them."
        ),
    ]
    if size.name == "quick":
        text.append(
            "This is the quick version: few seeds and rates. Intervals are wide; quote the full"
            " one."
        )
    return text


def settings(inputs: Inputs, size: Size) -> Table:
    """What was fixed before anything was run."""
    try:
        known = memories(inputs)
        memory = ", ".join(f"{name}: {tokens:,} KV tokens" for name, tokens in known.items())
    except Unanswerable as reason:
        known, memory = {}, str(reason)
    arrivals = [
        f"{name}: {requests(inputs, size, tokens)} Poisson arrivals, "
        f"{', '.join(f'{rate:g}' for rate in rates(inputs, size, tokens))} a second"
        for name, tokens in known.items()
    ]
    rows = {
        "trace": f"{inputs.recording}: {len(inputs.trace)} requests",
        "costs": f"{inputs.profile.kind}, {inputs.machine}",
        "memory": memory,
        "batches": f"up to {CAP} requests; FastServe and vLLM’s second baseline {SMALL_CAP}",
        "systems": "; ".join(
            f"{s.label}: {s.policy}, {s.settings['memory']}" for s in SYSTEMS.values()
        ),
        "lengths": (
            f"{PREDICTOR}: the truth times exp(0.5 z), z standard normal, unless said otherwise"
        ),
        "arrivals": "; ".join([*arrivals, "from empty to drained"]),
        "halves": (
            "servers learn from one half of the trace, workloads are drawn from the other (split"
            " seed 0)"
        ),
        "seeds": f"{size.claims} for the curves, {size.others} for the ablation",
        "size": size.name,
    }
    return Table(["setting", "value"], [[name, text] for name, text in rows.items()])


ALISE = Paper(
    "alise",
    "ALISE, reproduced and questioned",
    intro,
    settings,
    QUESTIONS,
    FULL,
    QUICK,
    trace="azure-conversations",
    profile="opt-13b-a100",
)
