"""What the server knows before the first request: the policy, bound to the past, and what is foretold of new ones.

Whatever is wrong here stops the engine before it serves anybody, with one line. Knows nothing of vLLM.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np

from policies import Outlook, Policy, parse_policy
from policies.decision import name_of
from serve.vllm.settings import Settings
from traces import Profile, Trace, load_profile, load_trace, price

Predictor = Callable[[Sequence[int], Any], int]  # prompt token ids and sampling parameters to output tokens
MOST_TOKENS = 10**9
TRUTH = ("true_prefill_ns", "true_left_ns", "true_tokens_per_round")


class _Nothing:
    """An outlook where nothing is known: refuses the policies that ask."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ValueError(f"needs to know {name} beforehand: give a profile and a trace, or an outlook")


@dataclass(frozen=True, eq=False)
class Beforehand:
    """What is known beforehand.

    Attributes
    ----------
    policy : Policy
        Bound.
    predictor : callable or None
    predicted_tokens : int or None
        Of a request that says nothing.
    model : str
        What the profile was measured on; empty where it does not say.
    """

    policy: Policy
    predicted_tokens: int | None = None
    predictor: Predictor | None = None
    model: str = ""

    @classmethod
    def of(cls, settings: Settings, seats: int) -> "Beforehand":
        """From settings, for so many requests that run at once.

        Raises
        ------
        ValueError
            For an unknown policy, files that cannot be read, or a policy that needs to know what nobody told.
        """
        policy, predictor = parse_policy(settings.policy), _predictor(settings.predictor)
        if settings.profile is None:
            known = _Nothing() if settings.outlook is None else _outlook(settings.outlook)
            return cls(_bound(policy, known), settings.predicted_tokens, predictor)
        trace, profile = load_trace(_trace_beside(settings)), load_profile(settings.profile)
        model = profile.provenance.target
        predicted = settings.predicted_tokens or int(np.median(trace.output_tokens)) + 1
        name = "" if model is None else model.name
        return cls(_bound(policy, outlook_of(trace, profile, seats)), predicted, predictor, name)

    def foretell(self, prompt: Sequence[int], sampling: Any) -> int:
        """A request's output tokens: as its `extra_args` say, or the predictor, or as for one that says nothing.

        Raises
        ------
        ValueError
            If what is foretold is not a whole number of at least 1.
        """
        extra = getattr(sampling, "extra_args", None) or {}
        if (told := extra.get("predicted_tokens")) is None and self.predictor is not None:
            told = self.predictor(prompt, sampling)
        if told is None:
            return self.usual(sampling)
        if isinstance(told, bool) or not isinstance(told, int | float) or not 1 <= told < MOST_TOKENS:
            raise ValueError(f"predicted_tokens={told!r}: must be a number between 1 and {MOST_TOKENS}")
        return round(told)

    def usual(self, sampling: Any) -> int:
        """Output tokens of a request of which nothing is known: `predicted_tokens`, else the most it may have."""
        return self.predicted_tokens or getattr(sampling, "max_tokens", None) or 1


def outlook_of(trace: Trace, profile: Profile, seats: int) -> Outlook:
    """What past requests teach, served in batches as large as there are seats, or as the profile covers."""
    past = price(trace, profile, min(seats, max(profile.costs.rounds)))
    mean_round = past.mean_round_ns()
    return Outlook(mean_round, np.sort(past.estimated_ns(mean_round)).tolist())


def _bound(policy: Policy, outlook: Outlook | _Nothing) -> Policy:
    if policy.clairvoyant and (isinstance(outlook, _Nothing) or not all(getattr(outlook, name) for name in TRUTH)):
        raise ValueError(
            f"policy {name_of(policy)}: is clairvoyant, and nobody knows the truth here (an outlook may tell it: "
            f"{', '.join(TRUTH)})"
        )
    try:
        return policy.bind(cast(Outlook, outlook))
    except ValueError as error:
        raise ValueError(f"policy {name_of(policy)}: {error}") from error


def _outlook(document: Mapping[str, Any]) -> Outlook:
    known = [f.name for f in fields(Outlook)]
    for key in document:
        if key not in known:
            raise ValueError(f"lapsd: outlook: unknown field {key!r}: known are {', '.join(known)}")
    for key in known[:2]:
        if key not in document:
            raise ValueError(f"lapsd: outlook: needs {key}")
    return Outlook(**document)


def _trace_beside(settings: Settings) -> str:
    """The trace that belongs to the profile, unless one is named."""
    profile = settings.profile or ""
    if settings.trace is not None:
        return settings.trace
    beside = Path(profile).with_name("trace.parquet")
    if Path(profile).exists() and not beside.exists():
        raise ValueError(f"lapsd: profile {profile}: no trace.parquet is beside it: name the trace")
    return str(beside) if beside.exists() else profile


def _predictor(name: str | None) -> Predictor | None:
    if name is None:
        return None
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise ValueError(f"lapsd: predictor {name!r}: cannot be imported ({error})") from error
    if not callable(found):
        raise ValueError(f"lapsd: predictor {name!r}: is no function")
    return cast(Predictor, found)
