"""Rules of our own that decide drafts with an eye on the order of requests; tried in `joint`.

They are draft policies like any user's own, as `lapsd.papers.draft_length.rules.Remaining`.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from lapsd.policies.drafts import DraftContext, DraftPolicy, DraftStep, step_ns
from lapsd.policies.drafts.base import Ints, bound, own_acceptance


@dataclass(frozen=True)
class Remaining(DraftPolicy):
    """The next draft token goes to the request whose remaining time it shortens most, as long as
    that saves more than the longer step costs all others.

    The remaining time of a request is its predicted remaining tokens over its expected tokens per
    step, times the time of the step. Waiting requests count as running ones of mean length.

    Parameters
    ----------
    most : int
        The longest draft length.
    weight : float
        Draft tokens of past requests that count with those of the request.
    """

    name: ClassVar[str] = "remaining"

    most: int = 7
    weight: float = 10.0
    prior: float = bound(0.5)

    def bind(self, context: DraftContext) -> Self:
        return replace(self, prior=context.acceptance)

    def choose(self, step: DraftStep) -> Ints:
        lengths = np.zeros(step.requests, np.int64)
        expected = np.ones(step.requests)
        reached = np.ones(step.requests)
        share = np.ones(step.requests)
        left = np.ones(step.requests)
        steps_left = 0.0
        for i in range(step.requests):
            share[i] = own_acceptance(step, i, self.prior, self.weight)
            reached[i] = share[i]
            left[i] = max(1.0, 1.0 * (step.predicted_tokens[i] - step.tokens[i]))
            steps_left += left[i]
        crowd = 1.0 + step.waiting / step.requests
        longest = 0
        time_ns = 1.0 * step_ns(step, step.requests, 0)
        for added in range(step.requests * step.most):
            best, most = -1, 0.0
            for i in range(step.requests):
                if lengths[i] < step.most:
                    saved = left[i] / expected[i] - left[i] / (expected[i] + reached[i])
                    if saved > most:
                        best, most = i, saved
            if best < 0:
                break
            deeper = max(longest, lengths[best] + 1)
            longer_ns = 1.0 * step_ns(step, step.requests + added + 1, deeper)
            if (steps_left - most) * crowd * longer_ns >= steps_left * crowd * time_ns:
                break
            lengths[best] += 1
            expected[best] += reached[best]
            reached[best] *= share[best]
            steps_left -= most
            longest, time_ns = deeper, longer_ns
        return lengths


@dataclass(frozen=True)
class ToEnd(DraftPolicy):
    """As `gated`, but no request drafts beyond its predicted end.

    Parameters
    ----------
    most : int
        The longest draft length.
    weight : float
        Draft tokens of past requests that count with those of the request.
    """

    name: ClassVar[str] = "to-end"

    most: int = 7
    weight: float = 10.0
    prior: float = bound(0.5)

    def bind(self, context: DraftContext) -> Self:
        return replace(self, prior=context.acceptance)

    def choose(self, step: DraftStep) -> Ints:
        lengths = np.zeros(step.requests, np.int64)
        best, most = 0, 0.0
        for length in range(step.most + 1):
            sent, expected, longest = 0, 0.0, 0
            for i in range(step.requests):
                own = min(length, room(step, i))
                share, reached = own_acceptance(step, i, self.prior, self.weight), 1.0
                for _ in range(own + 1):
                    expected += reached
                    reached *= share
                sent += own + 1
                longest = max(longest, own)
            rate = expected / step_ns(step, sent, longest)
            if rate > most:
                best, most = length, rate
        for i in range(step.requests):
            lengths[i] = min(best, room(step, i))
        return lengths


def room(step: DraftStep, i: int) -> int:
    """Return how many draft tokens a request can use before its predicted end, at least 1."""
    return int(max(1, step.predicted_tokens[i] - step.tokens[i] - 1))


@dataclass(frozen=True)
class WhenIdle(DraftPolicy):
    """As `gated`, but with a longer draft while no request waits.

    Parameters
    ----------
    most : int
        The longest draft length.
    more : int
        Draft tokens added while no request waits.
    weight : float
        Draft tokens of past requests that count with those of the request.
    """

    name: ClassVar[str] = "when-idle"

    most: int = 7
    more: int = 1
    weight: float = 10.0
    prior: float = bound(0.5)

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
        best, most = 0, 0.0
        for length in range(step.most + 1):
            rate = expected[length] / step_ns(step, step.requests * (length + 1), length)
            if rate > most:
                best, most = length, rate
        if step.waiting == 0:
            best = min(step.most, best + self.more)
        return np.full(step.requests, best)
