"""A plan for an engine: requests and their arrivals, the policy, the memory limits and the clock.

Plain data, with a JSON form for engines that run in another process. Imports only `lapsd.policies`
and `lapsd.traces`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from lapsd.policies import Policy, PolicyContext
from lapsd.policies.calls import bound, name_of
from lapsd.policies.drafts.spec import DRAFT_POLICIES
from lapsd.policies.kv_slots import KVSlots
from lapsd.policies.own import spec_name
from lapsd.policies.spec import POLICIES, parse_policy, spec_of, split_spec
from lapsd.serve.context_json import context_from_json, context_to_json
from lapsd.traces import Profile
from lapsd.traces.files import profile_from_json, profile_to_json

CLOCKS = ("busy", "wall")
VERSION = 2
UNKNOWN = PolicyContext(1, (1,))


@dataclass(frozen=True)
class PlannedRequest:
    """A request of a plan; its position in the plan is its index in records.

    Attributes
    ----------
    request_id, dataset : str
    arrival_ns : int
        On the clock of the run; arrivals never decrease.
    prompt : sequence of int
        Token ids, at least two.
    predicted_tokens : int
        The predicted output length that the policy sees.
    max_new_tokens : int
    stream : int
        Key of the request's random numbers, together with the seed of the plan: the same key
        samples the same output.
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
    """A run to serve.

    Attributes
    ----------
    requests : sequence of PlannedRequest
    policy : str
        As `lapsd.policies.spec.parse_policy` reads it; see `importable_spec`.
    context : PolicyContext
        What the server knows before the first request. Only clairvoyant policies receive its true
        values.
    clock : "busy" or "wall"
        Skip idle time, or sleep through it.
    batch, kv_slots, kv_tokens, evict
        As in `lapsd.sim.engine.Capacity`.
    target, draft : str
        The models: `reference`, a folder or a name. Without a draft, `draft_tokens` is 0.
    draft_tokens : int
        Draft tokens of each round, unless a draft policy chooses them; 0: plain decoding.
    temperature : float
        0: greedy decoding.
    seed : int
        Seed of sampling.
    ignore_stops : bool
        Decode `max_new_tokens` tokens, even after a stop token.
    profile : Profile or None
        Costs by which a draft policy chooses; None: the policy has none.
    """

    requests: Sequence[PlannedRequest]
    policy: str = "fcfs"
    context: PolicyContext = UNKNOWN
    clock: str = "busy"
    batch: int = 1
    kv_slots: KVSlots = "auto"
    kv_tokens: int | None = None
    evict: str = "swap"
    target: str = "reference"
    draft: str = "reference"
    draft_tokens: int = 4
    temperature: float = 0.0
    seed: int = 0
    ignore_stops: bool = False
    profile: Profile | None = None

    def __post_init__(self) -> None:
        if self.clock not in CLOCKS:
            raise ValueError(f"clock={self.clock!r}: must be {' or '.join(CLOCKS)}")
        arrivals = [r.arrival_ns for r in self.requests]
        for i, (before, at) in enumerate(zip([0, *arrivals], arrivals, strict=False)):
            if at < before:
                raise ValueError(
                    f"request {i} arrives at {at} ns, before {before} ns: arrivals must not"
                    " decrease"
                )

    @property
    def longest_draft(self) -> int:
        """Draft tokens of the longest draft that may be chosen."""
        drafts = parse_policy(self.policy).drafts
        return self.draft_tokens if drafts is None else drafts.most

    def bound_policy(self) -> Policy:
        """Return the policy for one run, bound to the context of the plan.

        Only a clairvoyant policy receives the true values of the context.

        Raises
        ------
        ValueError
            If there is no such policy, or if it is clairvoyant and the context has no true values.
        """
        policy, context = parse_policy(self.policy), self.context
        if not policy.clairvoyant:
            context = replace(
                context, true_prefill_ns=(), true_remaining_ns=(), true_tokens_per_round=()
            )
        elif len(context.true_remaining_ns) != len(self.requests):
            raise ValueError(
                f"policy {name_of(policy)}: is clairvoyant, and the plan does not hold the true"
                " sizes"
            )
        return bound(policy, context)

    def to_json(self) -> str:
        """Return the plan as a JSON object."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        own |= {
            "requests": [asdict(request) for request in self.requests],
            "context": context_to_json(self.context),
            "profile": None if self.profile is None else profile_to_json(self.profile),
        }
        return json.dumps({"lapsd_plan": VERSION, **own})

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Return the plan of an object that `to_json` returned.

        Raises
        ------
        ValueError
            If the text is not such an object, or has another version.
        """
        document = versioned(text, "lapsd_plan", VERSION)
        document["requests"] = [PlannedRequest(**request) for request in document["requests"]]
        document["context"] = context_from_json(document["context"])
        if document.get("profile") is not None:
            document["profile"] = profile_from_json(document["profile"], "of a plan")
        return cls(**{f.name: document[f.name] for f in fields(cls) if f.name in document})


def importable_spec(policy: Policy) -> str:
    """Return the text from which another process makes the policy again.

    That is the policy's name, or `module.Class` for a class outside `lapsd.policies`, and its
    parameters.

    Raises
    ------
    ValueError
        If the class cannot be imported by that name, or the text of a parameter does not give its
        value.
    """
    kind, (order, drafts) = type(policy), split_spec(spec_of(policy))
    spec = _importable(order, kind, POLICIES)
    if policy.drafts is not None and drafts is not None:
        spec = f"{spec}+{_importable(drafts, type(policy.drafts), DRAFT_POLICIES)}"
    again = parse_policy(spec)
    if type(again) is not kind or spec_of(again) != spec_of(policy):
        raise ValueError(
            f"policy {spec}: the name and the parameters as text must make the same policy again"
        )
    return spec


def _importable(spec: str, kind: type[Any], bundled: Mapping[str, type[Any]]) -> str:
    """Return a spec with `module.Class` in place of the name of a class that is not bundled."""
    name, colon, parameters = spec.partition(":")
    if bundled.get(name) is kind:
        return spec
    return f"{spec_name(kind)}{colon}{parameters}"


def versioned(text: str, key: str, version: int) -> dict[str, Any]:
    """Return a JSON object without `key`, the field that holds its version.

    Raises
    ------
    ValueError
        If the text is not JSON, or the field is missing or holds another version.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{key}: not JSON ({error})") from error
    if not isinstance(document, Mapping) or document.get(key) != version:
        raise ValueError(f"{key}: version {version} is needed")
    return {name: value for name, value in document.items() if name != key}
