"""A time budget: how many seconds a measurement may take, from when they count."""

import math
import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Budget:
    """A limit on the time of a measurement; unlimited by default.

    Attributes
    ----------
    seconds : float
    begun : float
        When the time starts to count, on the clock `time.monotonic`.

    Raises
    ------
    ValueError
        If the seconds are not above 0.
    """

    seconds: float = math.inf
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"budget={self.seconds:g}: must be above 0 seconds")

    @property
    def limited(self) -> bool:
        return math.isfinite(self.seconds)

    @property
    def left_s(self) -> float:
        """The seconds that are left; at least 0."""
        return max(0.0, self.until() - time.monotonic())

    def until(self, share: float = 1.0) -> float:
        """Return when a share of the budget is used up, on the clock `time.monotonic`."""
        return self.begun + share * self.seconds

    def at_most(self, share: float = 1.0) -> str:
        """Return how long a stage can take that ends at a share of the budget, in words."""
        if not self.limited:
            return ""
        return f"at most {max(0.0, self.until(share) - time.monotonic()):,.0f} s"
