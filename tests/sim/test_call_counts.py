"""The skipping server calls methods of policies no more often than before.

The counts stand for its speed, which cannot be timed reliably. After a change that makes fewer
calls, or for a new policy, `python -m tests.sim.test_call_counts` writes the counts again.
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
METHODS = ("rank", "run_until", "on_round", "wake")
SERVERS: dict[str, dict[str, Any]] = {
    "one": {},
    "four": {"batch": 4, "kv_slots": 6},
    "tokens": {"batch": 4, "kv_tokens": 700, "load": 1.2},
    "paged": {"batch": 4, "kv_tokens": 700, "load": 1.2, "memory": "paged", "prefill": "mixed"},
    "alise": {"batch": 4, "kv_tokens": 700, "load": 1.2, "memory": "alise"},
}


def call_counts(spec: str, server: str) -> dict[str, int]:
    """Return how often each method of a policy is called while 100 requests are served."""
    policy, counts = parse_policy(spec), dict.fromkeys(METHODS, 0)
    kind = type(policy)

    def counting(method: str) -> Callable[..., Any]:
        original = getattr(kind, method)

        def call(*arguments: Any) -> Any:
            counts[method] += 1
            return original(*arguments)

        return call

    prepared = PreparedScenario.of(
        load_trace("reference"),
        load_profile("reference"),
        requests=100,
        length_predictor="noisy:0.5",
        **SERVERS[server],
    )
    with pytest.MonkeyPatch.context() as patch:
        for method in METHODS:
            # the server does not call a method that the policy inherits from `Policy`
            if getattr(kind, method) is not getattr(Policy, method):
                patch.setattr(kind, method, counting(method))
        run(prepared, policy, 0)
    return counts


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("spec", SPECS)
def test_methods_of_policies_are_called_no_more_often_than_before(spec, server):
    counted = json.loads(COUNTED.read_text(encoding="utf-8"))
    assert spec in counted, "no counts yet: run python -m tests.sim.test_call_counts"
    before, now = counted[spec][server], call_counts(spec, server)
    assert {method for method, count in now.items() if count > before[method]} == set(), (
        now,
        before,
    )


if __name__ == "__main__":
    made = {spec: {server: call_counts(spec, server) for server in SERVERS} for spec in SPECS}
    lines = ",\n".join(f"{json.dumps(spec)}: {json.dumps(counts)}" for spec, counts in made.items())
    COUNTED.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
