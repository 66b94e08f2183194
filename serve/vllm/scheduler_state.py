"""The state of the scheduler before the first request: the bound policy and length predictions.

Errors are reported in one line and stop the engine before it serves any request. Knows nothing of
vLLM.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from lapsd.policies import Policy, PolicyContext, RequestHistory, TimeModel, parse_policy
from lapsd.policies.calls import bound, name_of
from lapsd.serve.vllm.drafts import BoundDrafts
from lapsd.serve.vllm.policy_context import policy_context
from lapsd.serve.vllm.settings import Settings
from lapsd.traces import load_profile, load_trace

# from prompt token ids and sampling parameters to the predicted number of output tokens
Predictor = Callable[[Sequence[int], Any], int]
MOST_TOKENS = 10**9


@dataclass(frozen=True, eq=False)
class SchedulerState:
    """The policy and the predictions of output lengths.

    Attributes
    ----------
    policy : Policy
        Bound.
    predicted_tokens : int or None
        Prediction for a request without a prediction of its own.
    predictor : callable or None
    model : str
        The model of the profile; "" if the profile does not name it.
    drafts : BoundDrafts or None
        The draft policy of the policy.
    """

    policy: Policy
    predicted_tokens: int | None = None
    predictor: Predictor | None = None
    model: str = ""
    drafts: BoundDrafts | None = None

    @classmethod
    def of(cls, settings: Settings, batch_slots: int) -> "SchedulerState":
        """Return the state for some settings and a number of batch slots.

        Raises
        ------
        ValueError
            For an unknown policy, files that cannot be read, a clairvoyant policy, a policy that
            needs past requests without a profile, or a draft policy that does not fit the costs.
        """
        policy, predictor = parse_policy(settings.policy), _predictor(settings.predictor)
        if policy.clairvoyant:
            raise ValueError(
                f"policy {name_of(policy)}: is clairvoyant: a real server does not know output"
                " lengths"
            )
        if settings.profile is None:
            if policy.drafts is not None:
                raise ValueError(
                    f"draft policy {policy.drafts.name}: chooses by the costs of rounds: set a"
                    " profile"
                )
            return cls(_bound_without_history(policy), settings.predicted_tokens, predictor)
        trace, profile = load_trace(_trace_of_profile(settings)), load_profile(settings.profile)
        context = policy_context(trace, profile, batch_slots)
        if settings.preemption == "recompute":
            contexts = trace.prompt_tokens + trace.output_tokens // 2
            context = replace(context, swap_in_ns=profile.costs.prefill(int(np.median(contexts))))
        predicted = settings.predicted_tokens or int(np.median(trace.output_tokens)) + 1
        model = profile.provenance.target
        drafts = None
        if policy.drafts is not None:
            drafts = BoundDrafts.of(policy.drafts, context.drafts, profile.costs, batch_slots)
        name = "" if model is None else model.name
        return cls(bound(policy, context), predicted, predictor, name, drafts)

    def predict(self, prompt: Sequence[int], sampling: Any) -> int:
        """Return the predicted output tokens of a request.

        The prediction is that of its `extra_args`, else that of the predictor, else
        `default_prediction`.

        Raises
        ------
        ValueError
            If the prediction is not a number of at least 1 and below `MOST_TOKENS`.
        """
        extra = getattr(sampling, "extra_args", None) or {}
        if (predicted := extra.get("predicted_tokens")) is None and self.predictor is not None:
            predicted = self.predictor(prompt, sampling)
        if predicted is None:
            return self.default_prediction(sampling)
        if (
            isinstance(predicted, bool)
            or not isinstance(predicted, int | float)
            or not 1 <= predicted < MOST_TOKENS
        ):
            raise ValueError(
                f"predicted_tokens={predicted!r}: must be a number between 1 and {MOST_TOKENS}"
            )
        return round(predicted)

    def default_prediction(self, sampling: Any) -> int:
        """Return `predicted_tokens`, else the maximum output length of the request."""
        return self.predicted_tokens or getattr(sampling, "max_tokens", None) or 1


def _bound_without_history(policy: Policy) -> Policy:
    """Return the policy bound without past requests.

    Raises `ValueError` for a policy that depends on past requests: one that differs when it is
    bound to two different histories.
    """
    both = []
    for scale in (1, 3):
        tokens = np.arange(1, 40) * scale
        history = RequestHistory(tokens, tokens, tokens, tokens)
        context = PolicyContext(
            10**6 * scale, (10**7 * scale,), history, time=TimeModel(scale, scale, scale)
        )
        both.append(bound(policy, context))
    if both[0] != both[1] or _arrays_differ(*both):
        raise ValueError(
            f"policy {name_of(policy)}: learns from past requests: set a profile and a trace"
        )
    return both[0]


def _arrays_differ(one: Policy, other: Policy) -> bool:
    """Return whether fields that are arrays, which `==` leaves out, differ."""
    pairs = ((getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return any(isinstance(a, np.ndarray) and not np.array_equal(a, b) for a, b in pairs)


def _trace_of_profile(settings: Settings) -> str:
    """Return the trace of the settings, or the one in the folder of the profile."""
    profile = settings.profile or ""
    if settings.trace is not None:
        return settings.trace
    neighbour = Path(profile).with_name("trace.parquet")
    if Path(profile).exists() and not neighbour.exists():
        raise ValueError(f"lapsd: profile {profile}: its folder has no trace.parquet: set trace")
    return str(neighbour) if neighbour.exists() else profile


def _predictor(name: str | None) -> Predictor | None:
    if name is None:
        return None
    module, _, attribute = name.rpartition(".")
    try:
        predictor = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise ValueError(f"lapsd: predictor {name!r}: cannot be imported ({error})") from error
    if not callable(predictor):
        raise ValueError(f"lapsd: predictor {name!r}: is not a function")
    return cast(Predictor, predictor)
