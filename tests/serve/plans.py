"""Plans for tiny models, which tests serve."""

import random

from lapsd.policies import PolicyContext
from lapsd.serve.plan import Plan, PlannedRequest
from tests.calibrate.tiny import VOCABULARY

CONTEXT = PolicyContext(400_000, tuple(range(1_000_000, 41_000_000, 1_000_000)))


def planned_requests(
    count: int, *, gap_ns: int = 2_000_000, seed: int = 0, most: int = 30
) -> list[PlannedRequest]:
    """Return requests with random prompts, lengths and predictions; some arrive together."""
    rng, at_ns, requests = random.Random(seed), 0, []
    for i in range(count):
        prompt = [rng.randrange(VOCABULARY) for _ in range(rng.randint(2, 40))]
        requests.append(
            PlannedRequest(
                f"r{i}", "tiny", at_ns, prompt, rng.randint(1, most), rng.randint(1, most), stream=i
            )
        )
        at_ns += rng.choice((0, 1, 2)) * gap_ns
    return requests


def plan(count: int = 8, **more) -> Plan:
    kept = {name: more.pop(name) for name in ("gap_ns", "most") if name in more}
    requests = planned_requests(count, seed=more.get("seed", 0), **kept)
    return Plan(
        requests,
        **({"context": CONTEXT, "target": "tiny", "draft": "tiny", "draft_tokens": 3} | more),
    )
