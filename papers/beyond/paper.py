"""Beyond LAPS-SD as a list of questions: the policy `kernel-gittins`, and what the paper leaves open."""

from lapsd.papers.beyond import adapted, batches, cells, online, tail
from lapsd.papers.beyond.fixed import IN_BATCHES, REQUESTS, predictors
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.question import Paper
from lapsd.papers.report import Table
from lapsd.papers.words import listed
from lapsd.sim.experiment.prepared_scenario import policy_context

QUESTIONS = (
    cells.AS_RECORDED,
    cells.GENERATED,
    tail.QUESTION,
    online.QUESTION,
    batches.QUESTION,
    adapted.QUESTION,
)
FULL = Size(
    "full",
    claims=0,
    queues=60,
    others=40,
    stability=12,
    map=50,
    spreads=(2,),
    errors=(),
    loads=(0.5, 0.8, 0.95),
    stretches=(),
    generated=2_000,
)
QUICK = Size(
    "quick",
    claims=0,
    queues=8,
    others=4,
    stability=4,
    map=8,
    spreads=(2,),
    errors=(),
    loads=(0.8,),
    stretches=(),
    generated=400,
)


def intro(inputs: Inputs, size: Size) -> list[str]:
    """What is asked."""
    text = [
        (
            "Kernel-Gittins ranks a request by what past requests like it still took (docs/beyond.md"
            " derives it). This report holds it against LP-SRPT and LAPS-SD on recorded"
            f" acceptances ({inputs.recording}; {inputs.machine}), and against its ceiling: the"
            " same policy with the requests to come for its past. Two open questions of the"
            " LAPS-SD paper follow: batches, and a K that adapts."
        ),
        (
            "Differences are paired over seeds, ratios of means with 95 % intervals by the delta"
            " method. Verdicts follow rules that are part of the program; settings were fixed"
            " before the runs."
        ),
    ]
    if size.name == "quick":
        text.append(
            "This is the quick version: few seeds, one load. Intervals are wide; quote the full"
            " one."
        )
    return text


def settings(inputs: Inputs, size: Size) -> Table:
    """What was fixed before anything was run, and what was learnt of the past."""
    past = policy_context(inputs.split().train).history
    rows = {
        "trace": (
            f"{inputs.recording}: {len(inputs.trace)} requests, half of them the past ({len(past)})"
        ),
        "costs": f"{inputs.profile.kind} ({inputs.profile.weights} weights), {inputs.machine}",
        "pace": (
            f"learnt of the past: log tokens a round vary by {past.pace.round:.3g} a round in a"
            f" request, and by {past.pace.stretch:.3g} over long stretches"
        ),
        "requests": f"{REQUESTS} at b = 1, {IN_BATCHES} in batches, Poisson, from empty to drained",
        "predictors": listed(predictors(inputs)),
        "moves": (
            "free: room for all caches; else room for those who run, moved as measured or so that"
            " one of 500 tokens is 14 % of its request's time"
        ),
        "seeds": (
            f"{size.map:,} a cell at b = 1, {size.stability:,} in batches, {size.others:,} for tail"
            f" and batches, {size.queues:,} for learning online and K"
        ),
        "size": size.name,
    }
    return Table(["setting", "value"], [[name, text] for name, text in rows.items()])


BEYOND = Paper("beyond", "Beyond LAPS-SD", intro, settings, QUESTIONS, FULL, QUICK)
