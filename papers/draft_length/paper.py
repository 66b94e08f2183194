"""How much to draft: its questions, the introduction of the report, and the fixed settings."""

from lapsd.papers.draft_length import estimate, joint, knowledge, lengths, own_rules, published
from lapsd.papers.draft_length.fixed import FIRST_SEED, table_spec
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.introduction import comparison, quick_version
from lapsd.papers.laps_sd.fixed import POLICIES, PREDICTOR
from lapsd.papers.question import Paper
from lapsd.papers.report import Table

QUESTIONS = (
    lengths.QUESTION,
    joint.QUESTION,
    estimate.QUESTION,
    knowledge.QUESTION,
    own_rules.QUESTION,
    published.TARGET,
    published.BY_CONCURRENCY,
)
FULL = Size(
    "full", claims=24, queues=24, others=60, stability=48, map=96, loads=(0.3, 0.6, 0.8, 0.95, 1.1)
)
QUICK = Size("quick", claims=4, queues=4, others=8, stability=4, map=16, loads=(0.8, 1.1))


def intro(inputs: Inputs, size: Size) -> list[str]:
    """Return what the report asks, and how it compares draft policies."""
    return [
        (
            "A draft policy chooses before each step how many tokens the draft model proposes for"
            " each request (docs/results/draft-length.md describes them). This report compares"
            f" draft policies on recorded acceptances ({inputs.recording}) with the costs of"
            f" {inputs.machine}: with the best fixed length in hindsight, with an oracle that knows"
            " what will be accepted, and together with the order of requests."
        ),
        comparison(),
        *quick_version(size),
    ]


def settings(inputs: Inputs, size: Size) -> Table:
    """Return everything that was fixed before the runs."""
    rows = {
        "trace": (
            f"{inputs.recording}: {len(inputs.trace)} requests; the training half gives the table,"
            " mean acceptances and the map of confidences"
        ),
        "costs": f"{inputs.kind_of_costs} ({inputs.profile.weights} weights), {inputs.machine}",
        "verification": "ragged: each request sends its own draft tokens and one more",
        "draft lengths": "0 to 7, at most 7 for every policy",
        "load": (
            "arriving work over what the server can do with full batches at the recorded draft"
            " length; Poisson arrivals"
        ),
        "requests": "max(100, 15 b) at batch size b; each run starts empty and is drained",
        "memory": "unlimited KV memory",
        "predicted lengths": f"{PREDICTOR}, where an order or a rule uses them",
        "table": table_spec(inputs).removeprefix("table:").replace(",", "; "),
        "orders": POLICIES,
        "seeds": (
            f"at b = 1 {size.map} for lengths, {size.stability} for order and length,"
            f" {size.others} for our rules, {size.claims} for closed loops; a half of it at b = 16,"
            f" a quarter at 64, a sixth at 128, and at least 4; from {FIRST_SEED} on, because the"
            " parameters of our rules were chosen on seeds below"
        ),
        "size": size.name,
    }
    return Table(["setting", "value"], [[name, text] for name, text in rows.items()])


DRAFT_LENGTH = Paper(
    "draft-length",
    "How much to draft",
    intro,
    settings,
    QUESTIONS,
    FULL,
    QUICK,
    trace="reference-confidence",
    profile="llama-7b-h200",
)
