"""The draft length with the most expected tokens per second, after SmartSpec and TurboSpec."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from lapsd.policies.drafts.base import (
    DraftContext,
    DraftPolicy,
    DraftStep,
    Floats,
    Ints,
    best_length,
    bound,
    own_acceptance,
)


@dataclass(frozen=True)
class Goodput(DraftPolicy):
    """One draft length for all requests of a step: the one with the most expected tokens per
    second, by the profile's own costs.

    After SmartSpec (Liu et al., arXiv 2406.14066) and TurboSpec. A draft token is accepted with the
    same probability for all requests.

    Parameters
    ----------
    most : int
        The longest draft length.
    places : bool
        Whether the probability depends on the token's place in the draft: it is then that of past
        requests. Otherwise it is the share of accepted tokens among the tested draft tokens of the
        present requests.
    weight : float
        Number of past draft tokens that are added to the present requests' draft tokens.

    Notes
    -----
    Use it where all requests accept about equally often, and costs are known.

    References
    ----------
    SmartSpec (Liu et al., arXiv 2406.14066), TurboSpec.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import Goodput
    >>> policy = FCFS(drafts=Goodput(most=5))
    >>> result = lapsd.compare(policies=[policy], requests=20, seeds=2, batch=4)
    >>> result.policies
    ['fcfs+goodput:most=5']
    """

    name: ClassVar[str] = "goodput"

    most: int = 7
    places: bool = False
    weight: float = 50.0
    prior: float = bound(0.5)
    curve: Floats = bound(None)  # noqa: RUF009

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight(self.name, self.weight)

    def bind(self, context: DraftContext) -> Self:
        return replace(self, prior=context.acceptance, curve=curve_of(context, self.most))

    def choose(self, step: DraftStep) -> Ints:
        accepted, tested = self.weight * self.prior, self.weight
        for i in range(step.requests):
            accepted += step.accepted[i]
            tested += step.accepted[i] + step.rejected[i]
        expected, reached = np.zeros(step.most + 1), 1.0
        for length in range(step.most + 1):
            expected[length] = step.requests * reached + (expected[length - 1] if length else 0.0)
            if length < step.most:
                reached *= self.curve[length] if self.places else accepted / tested
        return np.full(step.requests, best_length(step, expected))


@dataclass(frozen=True)
class Gated(DraftPolicy):
    """One draft length for all requests of a step, by the sum of what is expected of each.

    Like `goodput`, but each request has its own probability, estimated from its own drafts and the
    past ones.

    Parameters
    ----------
    most : int
        The longest draft length.
    weight : float
        Number of past draft tokens that are added to the request's own draft tokens.

    Notes
    -----
    Use it where requests differ in acceptance, and the engine drafts equally much for all of them.

    References
    ----------
    Ours, after SmartSpec.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import Gated
    >>> policy = FCFS(drafts=Gated(most=5))
    >>> result = lapsd.compare(policies=[policy], requests=20, seeds=2, batch=4)
    >>> result.policies
    ['fcfs+gated:most=5']
    """

    name: ClassVar[str] = "gated"

    most: int = 7
    weight: float = 10.0
    prior: float = bound(0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight(self.name, self.weight)

    def bind(self, context: DraftContext) -> Self:
        return replace(self, prior=context.acceptance)

    def choose(self, step: DraftStep) -> Ints:
        expected = np.zeros(step.most + 1)
        for i in range(step.requests):
            reached, tokens = 1.0, 0.0
            share = own_acceptance(step, i, self.prior, self.weight)
            for length in range(step.most + 1):
                tokens += reached
                expected[length] += tokens
                reached *= share
        return np.full(step.requests, best_length(step, expected))


def curve_of(context: DraftContext, most: int) -> Floats:
    """Return the probability of acceptance by place, its last value where it is unknown."""
    known = np.array([*context.by_place] or [context.acceptance])
    return known[np.minimum(np.arange(max(1, most)), len(known) - 1)]


def check_weight(name: str, weight: float) -> None:
    """Raise `ValueError` unless a weight is above 0 and finite."""
    if not 0 < weight <= 1e9:
        raise ValueError(f"{name}: weight={weight}: must be above 0 and at most 1e+09")
