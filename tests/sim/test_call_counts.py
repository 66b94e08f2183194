"""Skipping ahead asks a policy no more often than it did: its speed, counted, where a stopwatch
would tell noise.

After a change by which it asks less often, or for a further policy, `python -m
tests.sim.test_call_counts` counts anew.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lapsd.policies import POLICIES, Policy, parse_policy
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import run
from lapsd.traces import load_profile, load_trace

COUNTED = Path(__file__).with_name("call_counts.json")
SPECS = (*POLICIES, "laps-sd:overrun=1.5", "alise:overrun=1")
QUESTIONS = ("rank", "run_until", "on_round", "wake")
SERVERS: dict[str, dict[str, Any]] = {
    "one": {},
    "four": {"batch": 4, "kv_slots": 6},
    "tokens": {"batch": 4, "kv_tokens": 700, "load": 1.2},
    "paged": {"batch": 4, "kv_tokens": 700, "load": 1.2, "memory": "paged", "prefill": "mixed"},
    "alise": {"batch": 4, "kv_tokens": 700, "load": 1.2, "memory": "alise"},
}


def call_counts(spec: str, server: str) -> dict[str, int]:
    """How often a policy is asked what, while a hundred requests are served."""
    policy, counts = parse_policy(spec), dict.fromkeys(QUESTIONS, 0)
    kind = type(policy)

    def counting(question: str) -> Callable[..., Any]:
        asked = getattr(kind, question)

        def ask(*arguments: Any) -> Any:
            counts[question] += 1
            return asked(*arguments)

        return ask

    prepared = PreparedScenario.of(
        load_trace("reference"),
        load_profile("reference"),
        requests=100,
        length_predictor="noisy:0.5",
        **SERVERS[server],
    )
    with pytest.MonkeyPatch.context() as patch:
        for question in QUESTIONS:
            if getattr(kind, question) is not getattr(Policy, question):  # else nobody asks
                patch.setattr(kind, question, counting(question))
        run(prepared, policy, 0)
    return counts


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("spec", SPECS)
def test_policies_are_asked_no_more_often_than_they_were(spec, server):
    counted = json.loads(COUNTED.read_text(encoding="utf-8"))
    assert spec in counted, "python -m tests.sim.test_call_counts counts it"
    before, now = counted[spec][server], call_counts(spec, server)
    assert {question for question, count in now.items() if count > before[question]} == set(), (
        now,
        before,
    )


if __name__ == "__main__":
    made = {spec: {server: call_counts(spec, server) for server in SERVERS} for spec in SPECS}
    lines = ",\n".join(f"{json.dumps(spec)}: {json.dumps(counts)}" for spec, counts in made.items())
    COUNTED.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
