"""What the server knows before the first request: the policy, bound to the past, and what is
foretold of new ones.

Whatever is wrong here stops the engine before it serves anybody, with one line. Knows nothing of
vLLM.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from lapsd.policies import Policy, PolicyContext, RequestHistory, TimeModel, parse_policy
from lapsd.policies.decision import name_of
from lapsd.serve.vllm.policy_context import policy_context
from lapsd.serve.vllm.settings import Settings
from lapsd.traces import load_profile, load_trace

Predictor = Callable[
    [Sequence[int], Any], int
]  # prompt token ids and sampling parameters to output tokens
MOST_TOKENS = 10**9


@dataclass(frozen=True, eq=False)
class SchedulerState:
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
    def of(cls, settings: Settings, batch_slots: int) -> "SchedulerState":
        """From settings, for so many requests that run at once.

        Raises
        ------
        ValueError
            For an unknown policy, files that cannot be read, or a policy that needs to know what
            nobody told.
        """
        policy, predictor = parse_policy(settings.policy), _predictor(settings.predictor)
        if policy.clairvoyant:
            raise ValueError(
                f"policy {name_of(policy)}: is clairvoyant, and nobody knows the truth here"
            )
        if settings.profile is None:
            return cls(_bound_to_nothing(policy), settings.predicted_tokens, predictor)
        trace, profile = load_trace(_trace_beside(settings)), load_profile(settings.profile)
        known = policy_context(trace, profile, batch_slots)
        if settings.preemption == "recompute":
            contexts = trace.prompt_tokens + trace.output_tokens // 2
            known = replace(known, swap_in_ns=profile.costs.prefill(int(np.median(contexts))))
        predicted = settings.predicted_tokens or int(np.median(trace.output_tokens)) + 1
        model = profile.provenance.target
        return cls(_bound(policy, known), predicted, predictor, "" if model is None else model.name)

    def foretell(self, prompt: Sequence[int], sampling: Any) -> int:
        """A request's output tokens: as its `extra_args` say, or the predictor, or as for one that
        says nothing.

        Raises
        ------
        ValueError
            If what is foretold is not a whole number of at least 1.
        """
        extra = getattr(sampling, "extra_args", None) or {}
        if (predicted := extra.get("predicted_tokens")) is None and self.predictor is not None:
            predicted = self.predictor(prompt, sampling)
        if predicted is None:
            return self.usual(sampling)
        if (
            isinstance(predicted, bool)
            or not isinstance(predicted, int | float)
            or not 1 <= predicted < MOST_TOKENS
        ):
            raise ValueError(
                f"predicted_tokens={predicted!r}: must be a number between 1 and {MOST_TOKENS}"
            )
        return round(predicted)

    def usual(self, sampling: Any) -> int:
        """Output tokens of a request of which nothing is known: `predicted_tokens`, else the most
        it may have.
        """
        return self.predicted_tokens or getattr(sampling, "max_tokens", None) or 1


def _bound(policy: Policy, context: PolicyContext) -> Policy:
    try:
        return policy.bind(context)
    except ValueError as error:
        raise ValueError(f"policy {name_of(policy)}: {error}") from error


def _bound_to_nothing(policy: Policy) -> Policy:
    """The policy where nothing is known: one that would not be the same whatever the past was is
    refused.
    """
    bound = []
    for scale in (1, 3):
        tokens = np.arange(1, 40) * scale
        past = RequestHistory(tokens, tokens, tokens, tokens)
        known = PolicyContext(
            10**6 * scale, (10**7 * scale,), past, time=TimeModel(scale, scale, scale)
        )
        bound.append(_bound(policy, known))
    if bound[0] != bound[1]:
        raise ValueError(
            f"policy {name_of(policy)}: learns from past requests: give a profile and a trace"
        )
    return bound[0]


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
        predictor = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise ValueError(f"lapsd: predictor {name!r}: cannot be imported ({error})") from error
    if not callable(predictor):
        raise ValueError(f"lapsd: predictor {name!r}: is no function")
    return cast(Predictor, predictor)
