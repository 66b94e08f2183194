"""Draft lengths that differ within a step: each draft token by the probability that it counts."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from lapsd.policies.drafts.base import (
    DraftContext,
    DraftPolicy,
    DraftStep,
    Floats,
    Ints,
    bound,
    own_acceptance,
    step_ns,
)
from lapsd.policies.drafts.goodput import check_weight


@dataclass(frozen=True)
class Survival(DraftPolicy):
    """The draft tokens of all requests, in order of the probability that they and all before them
    are accepted, as many as make the most expected tokens per second.

    After DSpark and TETRIS (Wu et al., arXiv 2502.15197). The probability of a token is the draft
    model's confidence, calibrated on past requests, or the request's own share of accepted tokens.

    Parameters
    ----------
    most : int
        The longest draft length.
    confidence : bool
        Whether to use the draft model's confidence, which the trace must hold.
    own : float
        With confidence: weight, from 0 to 1, of the request's own share of accepted tokens in the
        probability of each token; the rest is that of the confidence.
    weight : float
        Draft tokens of past requests in the request's own share.

    Notes
    -----
    Use it where requests differ in acceptance, and the engine verifies drafts of different lengths.

    References
    ----------
    After DSpark (arXiv 2607.05147) and TETRIS (Wu et al., arXiv 2502.15197).

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import Survival
    >>> policy = FCFS(drafts=Survival(most=5))
    >>> result = lapsd.compare(policies=[policy], requests=20, seeds=2, batch=4)
    >>> result.policies
    ['fcfs+survival:most=5']
    """

    name: ClassVar[str] = "survival"

    most: int = 7
    confidence: bool = False
    own: float = 0.0
    weight: float = 10.0
    prior: float = bound(0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight(self.name, self.weight)
        if not 0 <= self.own <= 1:
            raise ValueError(f"{self.name}: own={self.own}: must be between 0 and 1")

    @property
    def confident(self) -> bool:  # type: ignore[override]
        return self.confidence

    def bind(self, context: DraftContext) -> Self:
        return replace(self, prior=context.acceptance)

    def choose(self, step: DraftStep) -> Ints:
        own = self.own if self.confidence else 1.0
        return best_tokens(step, survival(step, own, self.prior, self.weight), 0.0, 1.0)


@dataclass(frozen=True)
class Oracle(DraftPolicy):
    """The draft tokens that will be accepted, as many as make the most tokens per second.

    Knows what the target model accepts: a yardstick, and no policy of a real server. No request
    drafts a token that is rejected.

    Parameters
    ----------
    most : int
        The longest draft length.

    Notes
    -----
    A reference: how far a draft policy is from knowing what is accepted.

    References
    ----------
    Ours.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import Oracle
    >>> policy = FCFS(drafts=Oracle(most=5))
    >>> result = lapsd.compare(policies=[policy], requests=20, seeds=2, batch=4)
    >>> result.policies
    ['fcfs+oracle:most=5']
    """

    name: ClassVar[str] = "oracle"
    clairvoyant: ClassVar[bool] = True

    most: int = 7

    def choose(self, step: DraftStep) -> Ints:
        best, most = 0, 0.0
        for longest in range(step.most + 1):
            tokens = 0
            for i in range(step.requests):
                tokens += min(step.acceptable[i], longest) + 1
            rate = tokens / step_ns(step, tokens, longest)
            if rate > most:
                best, most = longest, rate
        lengths = np.zeros(step.requests, np.int64)
        for i in range(step.requests):
            lengths[i] = min(step.acceptable[i], best)
        return lengths


def survival(step: Any, own: float, prior: float, weight: float) -> Floats:
    """Return the probability that a draft token and all before it are accepted, (b · most,).

    Parameters
    ----------
    step : DraftStep
    own : weight of the request's own share of accepted tokens; 1: confidences are not read.
    prior, weight : as in `own_acceptance`.
    """
    reached = np.zeros(step.requests * step.most)
    for i in range(step.requests):
        survives = 1.0
        share = own_acceptance(step, i, prior, weight)
        for place in range(step.most):
            if own < 1.0:
                survives *= (1.0 - own) * step.confidence[i, place] + own * share
            else:
                survives *= share
            reached[i * step.most + place] = survives
    return reached


def best_tokens(step: Any, reached: Floats, price: float, active: float) -> Ints:
    """Return the draft lengths with the most expected tokens per second, or with the largest gain
    at a price of tokens.

    For each length of the longest draft the most probable tokens are taken. O(b · most²).

    Parameters
    ----------
    step : DraftStep
    reached : probability that a draft token and all before it are accepted, falling within each
        request, (b · most,).
    price : nanoseconds that an expected token is worth; 0: the most tokens per second.
    active : requests that the time of the step delays, with a price.
    """
    order = np.argsort(-reached, kind="mergesort")
    requests, deepest = step.requests, step.most
    places = order % deepest
    best_longest, best_count = 0, 0
    most = gain(float(requests), step_ns(step, requests, 0), price, active)
    for longest in range(1, deepest + 1):
        expected, count = float(requests), 0
        for k in range(len(order)):
            if places[k] < longest:
                expected += reached[order[k]]
                count += 1
                time_ns = step_ns(step, requests + count, longest)
                here = gain(expected, time_ns, price, active)
                if here > most:
                    best_longest, best_count, most = longest, count, here
    lengths, count = np.zeros(requests, np.int64), 0
    for k in range(len(order)):
        if places[k] < best_longest and count < best_count:
            lengths[order[k] // deepest] += 1
            count += 1
    return lengths


def gain(tokens: float, time_ns: float, price: float, active: float) -> float:
    """Return tokens per nanosecond, or with a price what tokens are worth less what they cost."""
    return price * tokens - active * time_ns if price > 0.0 else tokens / time_ns
