"""Beyond LAPS-SD: its questions, the introduction of the report, and the fixed settings."""

from lapsd.papers.beyond import adapted, batches, cells, online, tail
from lapsd.papers.beyond.fixed import IN_BATCHES, REQUESTS, predictors
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import POLICIES
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
    """Return what the report asks, and how it compares policies."""
    text = [
        (
            "Kernel-Gittins ranks a request by the remaining times of similar past requests "
            "(docs/results/kernel-gittins.md derives it). This report compares Kernel-Gittins "
            f"with LP-SRPT and LAPS-SD on recorded acceptances ({inputs.recording}; "
            f"{inputs.machine}), and with an oracle: the same policy with the requests to come "
            "as its history. Two open questions of the LAPS-SD paper follow: batches, and a "
            "number of queues K that adapts."
        ),
        (
            "A difference between two policies is a ratio of their mean latencies minus 1, paired"
            " over seeds, with a 95 % interval by the delta method. It is statistically significant"
            " if the interval excludes 0. The rules for verdicts are part of the program, and all"
            " settings were fixed before the runs. That two policies do not differ significantly"
            " does not show that they are equal; where a difference is called small, a test of"
            " equivalence shows it."
        ),
    ]
    if size.name == "quick":
        text.append(
            "This is the quick version, with few seeds, one load and therefore wide intervals. Use"
            " the full version for results to quote."
        )
    return text


def settings(inputs: Inputs, size: Size) -> Table:
    """Return everything that was fixed before the runs, and parameters learned from the history."""
    history = policy_context(inputs.split().train).history
    rows = {
        "trace": (
            f"{inputs.recording}: {len(inputs.trace)} requests; the training half"
            f" ({len(history)}) is the history"
        ),
        "costs": f"{inputs.kind_of_costs} ({inputs.profile.weights} weights), {inputs.machine}",
        "tokens per round": (
            "variances of the log, learned from the history:"
            f" {history.pace_variance.per_round:.3g} from round to round within a request, and"
            f" {history.pace_variance.long_run:.3g} over long stretches"
        ),
        "requests": (
            f"{REQUESTS} at batch size b = 1, {IN_BATCHES} in batches, Poisson arrivals; each run"
            " starts with an empty server and ends when all requests are done"
        ),
        "other policies": POLICIES,
        "length predictors": (
            f"{listed(predictors(inputs))}. oracle: true lengths; noisy:S: the true length times"
            " exp(S z), z standard normal; regressed:R: calibrated predictions of correlation R"
            " with the truth; regressed:0 predicts the same for all requests (“none” in tables)"
        ),
        "KV transfers": (
            "free: the KV memory holds all caches; as measured: the KV memory holds the caches of"
            " the running requests, and swaps take as long as in the profile; expensive: the same,"
            " with swaps so slow that one switch at 500 tokens takes 14 % of a request's time"
        ),
        "seeds": (
            f"{size.map:,} per cell at b = 1, {size.stability:,} per cell in batches,"
            f" {size.others:,} for the tail and for batches, {size.queues:,} for learning online"
            " and for K"
        ),
        "size": size.name,
    }
    return Table(["setting", "value"], [[name, text] for name, text in rows.items()])


BEYOND = Paper("beyond", "Beyond LAPS-SD", intro, settings, QUESTIONS, FULL, QUICK)
