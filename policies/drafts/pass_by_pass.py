"""Draft tokens by confidences that are known only once a token is drafted."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lapsd.policies.drafts.base import DraftStep, Ints, own_acceptance
from lapsd.policies.drafts.survival import Survival, best_tokens, survival


@dataclass(frozen=True)
class PassByPass(Survival):
    """As `survival` with confidence, but a server does not know the confidence of a token before
    the draft model has made it.

    After each pass of the draft model the policy knows the confidences of the tokens so far, and
    takes the request's own share of accepted tokens for the following ones. It runs the next pass
    if the best drafts are then longer.

    Notes
    -----
    Use it where the engine can decide after each pass of the draft model.

    References
    ----------
    Ours, after `survival`.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import PassByPass
    >>> policy = FCFS(drafts=PassByPass(most=5))
    >>> lapsd.compare(
    ...     "reference-confidence", policies=[policy], requests=20, seeds=2, batch=4
    ... ).policies
    ['fcfs+pass-by-pass:most=5']
    """

    name: ClassVar[str] = "pass-by-pass"

    confidence: bool = True
    own: float = 0.3

    def choose(self, step: DraftStep) -> Ints:
        own = self.own if self.confidence else 1.0
        reached = survival(step, own, self.prior, self.weight)
        known = np.zeros(step.requests * step.most)
        lengths = np.zeros(step.requests, np.int64)
        for passes in range(step.most + 1):
            for i in range(step.requests):
                survives = 1.0
                share = own_acceptance(step, i, self.prior, self.weight)
                for place in range(step.most):
                    k = i * step.most + place
                    survives = reached[k] if place < passes else survives * share
                    known[k] = survives
            lengths = best_tokens(step, known, 0.0, 1.0)
            if lengths.max() <= passes:
                break
        return lengths
