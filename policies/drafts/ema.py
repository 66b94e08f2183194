"""A draft length that follows the accepted tokens, after SGLang."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lapsd.policies.drafts.base import DraftPolicy, DraftStep, Ints


@dataclass(frozen=True)
class Ema(DraftPolicy):
    """One draft length for all requests, a step longer or shorter as their average of accepted
    draft tokens per round changes.

    SGLang's adaptive speculation, with its defaults: after each step e <- (1 - α) e + α · accepted
    draft tokens per request. After `warmup` steps, and then every `interval` steps, the length
    falls to the next shorter candidate while e is at most that candidate - 0.5 + `down`, and rises
    to the next longer one while e is above the present length - 0.5 + `up`.

    Parameters
    ----------
    alpha : float
        Weight of the latest step.
    warmup, interval : int
        Steps before the first change, and between changes.
    down, up : float
        Hysteresis, in tokens.
    most : int
        The longest draft length. Candidates are most, half of it rounded down, a quarter, ..., 1.

    Notes
    -----
    Use it to simulate SGLang's adaptive speculation. It needs no costs.

    References
    ----------
    SGLang.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import Ema
    >>> policy = FCFS(drafts=Ema(most=5))
    >>> result = lapsd.compare(policies=[policy], requests=20, seeds=2, batch=4)
    >>> result.policies
    ['fcfs+ema:most=5']
    """

    name: ClassVar[str] = "ema"

    @dataclass(slots=True)
    class State:
        """Average of accepted draft tokens, steps counted, and the present length (-1: none)."""

        average: float = 0.0
        steps: int = 0
        length: int = -1

    most: int = 7
    alpha: float = 0.2
    warmup: int = 10
    interval: int = 5
    down: float = -0.25
    up: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise ValueError(f"ema: alpha={self.alpha}: must be above 0 and at most 1")
        for name, value in (("warmup", self.warmup), ("interval", self.interval)):
            if value < 1:
                raise ValueError(f"ema: {name}={value}: must be at least 1")

    def choose(self, step: DraftStep) -> Ints:
        state = step.state
        if state.length < 0:
            state.length = (step.most + 1) // 2
            state.average = max(0.0, state.length - 0.5)
        elif step.last_requests > 0:
            accepted = step.last_accepted / step.last_requests
            state.average = (1.0 - self.alpha) * state.average + self.alpha * accepted
            state.steps += 1
            after = state.steps - self.warmup
            if after > 0 and after % self.interval == 0:
                state.length = self.next_length(step.most, state.length, state.average)
        return np.full(step.requests, state.length)

    def next_length(self, most: int, length: int, average: float) -> int:
        """Return the length after a look at the average."""
        while length > 1 and average <= shorter(most, length) - 0.5 + self.down:
            length = shorter(most, length)
        while length < most and average > length - 0.5 + self.up:
            length = longer(most, length)
        return length


def shorter(most: int, length: int) -> int:
    """Return the next shorter candidate: the longest of most, most // 2, ... below a length."""
    candidate = most
    while candidate >= length:
        candidate //= 2
    return candidate


def longer(most: int, length: int) -> int:
    """Return the next longer candidate."""
    candidate = most
    while candidate // 2 > length:
        candidate //= 2
    return candidate
