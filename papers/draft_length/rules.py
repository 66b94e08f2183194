"""Rules of our own that did not win, each `survival` with one more idea; `own_rules` tries them.

They are draft policies like any user's own, as `lapsd.papers.draft_length.rules.Remaining`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lapsd.policies.drafts import DraftStep, Survival, step_ns
from lapsd.policies.drafts.base import Floats, Ints
from lapsd.policies.drafts.survival import best_tokens, survival


@dataclass(frozen=True)
class ShortFirst(Survival):
    """Expected tokens count by a power of the request's predicted remaining tokens.

    Parameters
    ----------
    most, confidence, own, weight : as in `survival`.
    power : float
        The exponent; below 0, requests that are near their end draft more.
    """

    name: ClassVar[str] = "short-first"

    power: float = -0.5

    def choose(self, step: DraftStep) -> Ints:
        own = self.own if self.confidence else 1.0
        reached = survival(step, own, self.prior, self.weight)
        worth = np.zeros(step.requests)
        for i in range(step.requests):
            worth[i] = remaining_tokens(step, i) ** self.power
        worth *= step.requests / worth.sum()
        for i in range(step.requests):
            for place in range(step.most):
                reached[i * step.most + place] *= worth[i]
        return best_tokens(step, reached, 0.0, 1.0)


@dataclass(frozen=True)
class Remaining(Survival):
    """The drafts with the smallest sum of predicted remaining times, if each request went on at the
    pace of this step.
    """

    name: ClassVar[str] = "remaining"

    def choose(self, step: DraftStep) -> Ints:
        own = self.own if self.confidence else 1.0
        reached = survival(step, own, self.prior, self.weight)
        steps, saved = 0.0, np.zeros(step.requests * step.most)
        for i in range(step.requests):
            left, expected = remaining_tokens(step, i), 1.0
            steps += left
            for place in range(step.most):
                more = expected + reached[i * step.most + place]
                saved[i * step.most + place] = left / expected - left / more
                expected = more
        return fewest_ns(step, steps, saved)


def fewest_ns(step: Any, steps: float, saved: Floats) -> Ints:
    """Return the draft lengths with the least time for so many steps, of which tokens save some."""
    order = np.argsort(-saved, kind="mergesort")
    best_longest, best_count, least = 0, 0, steps * step_ns(step, step.requests, 0)
    for longest in range(1, step.most + 1):
        left, count = steps, 0
        for k in order:
            if k % step.most < longest:
                left -= saved[k]
                count += 1
                time_ns = left * step_ns(step, step.requests + count, longest)
                if time_ns < least:
                    best_longest, best_count, least = longest, count, time_ns
    lengths, count = np.zeros(step.requests, np.int64), 0
    for k in order:
        if k % step.most < best_longest and count < best_count:
            lengths[k // step.most] += 1
            count += 1
    return lengths


@dataclass(frozen=True)
class ToEnd(Survival):
    """No request drafts beyond its predicted end, until its output has passed it."""

    name: ClassVar[str] = "to-end"

    def choose(self, step: DraftStep) -> Ints:
        own = self.own if self.confidence else 1.0
        reached = survival(step, own, self.prior, self.weight)
        for i in range(step.requests):
            left = step.predicted_tokens[i] - step.tokens[i]
            if left > 0:
                for place in range(min(step.most, left - 1), step.most):
                    reached[i * step.most + place] = 0.0
        return best_tokens(step, reached, 0.0, 1.0)


@dataclass(frozen=True)
class WhenIdle(Survival):
    """Each request drafts more while no request waits.

    Parameters
    ----------
    most, confidence, own, weight : as in `survival`.
    more : int
        Draft tokens added, up to `most`.
    """

    name: ClassVar[str] = "when-idle"

    more: int = 1

    def choose(self, step: DraftStep) -> Ints:
        own = self.own if self.confidence else 1.0
        reached = survival(step, own, self.prior, self.weight)
        lengths = best_tokens(step, reached, 0.0, 1.0)
        if step.waiting == 0:
            for i in range(step.requests):
                lengths[i] = min(step.most, lengths[i] + self.more)
        return lengths


def remaining_tokens(step: Any, i: int) -> float:
    """Return the predicted remaining tokens of a request; a quarter of its output where that has
    passed the prediction.
    """
    left = float(step.predicted_tokens[i] - step.tokens[i])
    return left if left >= 1.0 else max(1.0, 0.25 * step.tokens[i])
