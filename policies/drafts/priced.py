"""Draft tokens by what they are worth: the time that a token costs in the long run."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.drafts.base import DraftStep, Ints, step_ns
from lapsd.policies.drafts.survival import Survival, best_tokens, survival


@dataclass(frozen=True)
class Priced(Survival):
    """As `survival`, but a token is worth what tokens cost over many steps, not in this one.

    A step of time t delays all active requests, n of them waiting or running, by n · t. Tokens are
    worth the smoothed n · t of past steps over their smoothed expected tokens. The policy chooses
    the drafts whose worth less n · t is the largest. So it drafts less than `survival` while more
    requests than usual are active, and more while fewer are.

    Parameters
    ----------
    alpha : float
        Weight of a step in the smoothed values, above 0 and at most 1.

    Notes
    -----
    Use it where the number of active requests changes much (docs/results/draft-length.md).

    References
    ----------
    Ours.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import Priced
    >>> policy = FCFS(drafts=Priced(most=5))
    >>> result = lapsd.compare(policies=[policy], requests=20, seeds=2, batch=4)
    >>> result.policies
    ['fcfs+priced:most=5']
    """

    name: ClassVar[str] = "priced"

    @dataclass(slots=True)
    class State:
        """Time of active requests in nanoseconds, and expected tokens, both smoothed."""

        time: float = 0.0
        tokens: float = 0.0

    own: float = 0.3
    alpha: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise ValueError(f"{self.name}: alpha={self.alpha}: must be above 0 and at most 1")

    def choose(self, step: DraftStep) -> Ints:
        state, own = step.state, self.own if self.confidence else 1.0
        reached = survival(step, own, self.prior, self.weight)
        active = float(step.requests + step.waiting)
        price = state.time / state.tokens if state.tokens > 0.0 else 0.0
        lengths = best_tokens(step, reached, price, active)
        expected, sent, longest = float(step.requests), step.requests, 0
        for i in range(step.requests):
            for place in range(lengths[i]):
                expected += reached[i * step.most + place]
            sent += lengths[i]
            longest = max(longest, lengths[i])
        keep = 1.0 - self.alpha if state.tokens > 0.0 else 0.0
        state.time = keep * state.time + (1.0 - keep) * active * step_ns(step, sent, longest)
        state.tokens = keep * state.tokens + (1.0 - keep) * expected
        return lengths
