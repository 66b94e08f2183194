"""Routing: its questions, the introduction of the report, and the fixed settings."""

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.introduction import comparison, quick_version
from lapsd.papers.laps_sd.fixed import POLICIES, PREDICTOR
from lapsd.papers.question import Paper
from lapsd.papers.report import Table
from lapsd.papers.routing import (
    central,
    decisions,
    drafting,
    elsewhere,
    guards,
    prefixes,
    stale,
    substitutes,
    work,
)
from lapsd.papers.routing.fixed import (
    EACH,
    SAME,
    SERVERS,
    WARMUP,
    counts,
    high_loads,
    later_servers,
)
from lapsd.papers.routing.lengths import DRAFTED, REQUESTS
from lapsd.papers.words import listed

QUESTIONS = (
    decisions.QUESTION,
    substitutes.QUESTION,
    drafting.QUESTION,
    work.QUESTION,
    stale.QUESTION,
    central.QUESTION,
    guards.QUESTION,
    prefixes.QUESTION,
    elsewhere.QUESTION,
)
FULL = Size("full", claims=24, queues=12, others=6, loads=(0.5, 0.7, 0.8, 0.9, 0.95))
QUICK = Size("quick", claims=6, queues=4, others=3, loads=(0.5, 0.9))


def intro(inputs: Inputs, size: Size) -> list[str]:
    """Return what the report asks, and how it compares."""
    return [
        (
            "A service of several servers takes three decisions: the router chooses the server of a"
            " request when it arrives, the order chooses the requests that run in each server, and"
            " the draft policy chooses how many tokens are drafted for them. This report asks which"
            f" decision matters when, with the costs of {inputs.machine}, prompt and output lengths"
            f" of Azure's conversations, and recorded acceptances ({inputs.recording})."
        ),
        comparison(f"Two sides are equivalent only if the interval lies within ± {SAME:g} %."),
        *quick_version(size),
    ]


def settings(inputs: Inputs, size: Size) -> Table:
    """Return everything that was fixed before the runs."""
    rows = {
        "lengths": f"{REQUESTS:,} requests drawn from the bundled Azure conversations",
        "acceptances": (
            f"{inputs.recording}, of recorded requests of similar output length, by position;"
            " they repeat where the output is longer"
        ),
        "costs": f"{inputs.kind_of_costs} ({inputs.profile.weights} weights), {inputs.machine}",
        "load": (
            "of each server: arriving work over what it can do with full batches at"
            f" {DRAFTED} draft tokens; Poisson arrivals"
        ),
        "recorded arrivals": listed([*inputs.arrivals]),
        "requests": (
            f"{EACH} per server, the first {WARMUP} per server left out; each run starts empty and"
            " is drained"
        ),
        "memory": "the profile's KV capacity in batches, shared by all requests of a server",
        "predicted lengths": f"{PREDICTOR}, where an order or a router uses them",
        "drafts": f"{DRAFTED} tokens where no draft policy decides",
        "orders": POLICIES,
        "routers": (
            "random; round-robin; jsq: fewest active requests; least-work: least predicted"
            " remaining time; least-work-oracle: least true remaining time; sita: intervals of"
            " predicted sizes; simulate: least latency, each server simulated forward with"
            " predicted lengths; weighted: queue length and free KV memory"
        ),
        "servers": (
            f"{listed([str(n) for n in SERVERS])}; from predicted work on"
            f" {listed([str(n) for n in later_servers(size)])}, at load"
            f" {listed([f'{x:g}' for x in high_loads(size)])}"
        ),
        "seeds": counts(size),
        "prefix caches": "none, but for the question on them",
        "size": size.name,
    }
    return Table(["setting", "value"], [[name, text] for name, text in rows.items()])


ROUTING = Paper(
    "routing",
    "Order, router and draft policy on several servers",
    intro,
    settings,
    QUESTIONS,
    FULL,
    QUICK,
    trace="reference-confidence",
    profile="llama-7b-h200",
    arrivals=(),
)
