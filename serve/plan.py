"""What an engine is asked to serve: requests with their arrivals, and under what policy, memory and
clock.

Plain data, and JSON for engines that live in another process. Needs `policies` and `traces` alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from lapsd.policies import Policy, PolicyContext
from lapsd.policies.decision import name_of
from lapsd.policies.spec import parse_policy
from lapsd.serve.context_json import context_from_json, context_to_json

CLOCKS = ("busy", "wall")
VERSION = 1
UNKNOWN = PolicyContext(1, (1,))


@dataclass(frozen=True)
class PlannedRequest:
    """A request; its place in the plan is its index, the key of a run.

    Attributes
    ----------
    request_id, dataset : str
    arrival_ns : int
        On the run's clock; never before that of the request before it.
    prompt : sequence of int
        Token ids, at least two.
    predicted_tokens : int
        What the policy is told of the output's length.
    max_new_tokens : int
    stream : int
        With the plan's seed, the key of its random numbers: the same key samples the same output.
    """

    request_id: str
    dataset: str
    arrival_ns: int
    prompt: Sequence[int]
    predicted_tokens: int
    max_new_tokens: int
    stream: int = 0


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes
    ----------
    requests : sequence of Asked
    policy : str
        As `lapsd.policies.spec.parse_policy` reads it.
    context : policies.Outlook
        What the server knows beforehand; what is true in it, clairvoyant policies alone are shown.
    clock : "busy" or "wall"
        Idle time is leapt over, or slept through.
    batch, kv_slots, kv_tokens, evict
        As in `sim.Capacity`.
    target, draft : str
        The models: `reference`, folders or names. No draft, as no draft tokens: plain decoding.
    draft_tokens : int
        A round's.
    temperature : float
        0: greedy.
    seed : int
        Of sampling.
    ignore_stops : bool
        Decode up to `max_new_tokens` whatever comes.
    """

    requests: Sequence[PlannedRequest]
    policy: str = "fcfs"
    context: PolicyContext = UNKNOWN
    clock: str = "busy"
    batch: int = 1
    kv_slots: int | None = 1
    kv_tokens: int | None = None
    evict: str = "swap"
    target: str = "reference"
    draft: str = "reference"
    draft_tokens: int = 4
    temperature: float = 0.0
    seed: int = 0
    ignore_stops: bool = False

    def __post_init__(self) -> None:
        if self.clock not in CLOCKS:
            raise ValueError(f"clock {self.clock!r}: must be {' or '.join(CLOCKS)}")
        arrivals = [r.arrival_ns for r in self.requests]
        for i, (before, at) in enumerate(zip([0, *arrivals], arrivals, strict=False)):
            if at < before:
                raise ValueError(
                    f"request {i} arrives at {at} ns, before {before} ns: arrivals must not"
                    " decrease"
                )

    def bound_policy(self) -> Policy:
        """The policy for one run, knowing what the plan says beforehand; the truth only if it is
        clairvoyant.

        Raises
        ------
        ValueError
            If there is no such policy, or it needs the truth and the plan does not hold it.
        """
        policy, known = parse_policy(self.policy), self.context
        if not policy.clairvoyant:
            known = replace(
                known, true_prefill_ns=(), true_remaining_ns=(), true_tokens_per_round=()
            )
        elif len(known.true_remaining_ns) != len(self.requests):
            raise ValueError(f"policy {name_of(policy)}: knows the true sizes, which are not there")
        return policy.bind(known)

    def to_json(self) -> str:
        """One JSON object."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        own |= {
            "requests": [asdict(planned) for planned in self.requests],
            "context": context_to_json(self.context),
        }
        return json.dumps({"lapsd_plan": VERSION, **own})

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan of such an object.

        Raises
        ------
        ValueError
            If it is none, or of another version.
        """
        document = versioned(text, "lapsd_plan", VERSION)
        document["requests"] = [PlannedRequest(**request) for request in document["requests"]]
        document["context"] = context_from_json(document["context"])
        return cls(**{f.name: document[f.name] for f in fields(cls) if f.name in document})


def versioned(text: str, key: str, version: int) -> dict[str, Any]:
    """A JSON object that says by `key` which version of what it is.

    Raises
    ------
    ValueError
        If it does not.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{key}: not JSON ({error})") from error
    if not isinstance(document, Mapping) or document.get(key) != version:
        raise ValueError(f"{key}: version {version} is needed")
    return {name: value for name, value in document.items() if name != key}
