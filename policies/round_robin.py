"""Round robin: requests run in turn."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import Job, Policy, Rank


@dataclass(frozen=True)
class RoundRobin(Policy):
    """Requests run in turn for `quantum` rounds each; a turn is not interrupted.

    Parameters
    ----------
    quantum : int
        Number of rounds of a turn, at least 1.

    Notes
    -----
    A control without information about requests; each turn may cost a KV transfer.

    References
    ----------
    Textbook.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import RoundRobin
    >>> result = lapsd.compare(
    ...     policies=[RoundRobin(quantum=3)], requests=20, seeds=2, load=0.9
    ... )
    >>> result.table[["policy", "preemptions"]]
             policy  preemptions
    0  rr:quantum=3          300
    """

    name: ClassVar[str] = "rr"

    @dataclass(slots=True)
    class State:
        """The end of the latest turn of a request, in nanoseconds; -1 before it."""

        turn_end_ns: int = -1

    quantum: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.quantum <= 1_000_000:
            raise ValueError(f"{self.name}: quantum={self.quantum} must be between 1 and 1000000")

    def rank(self, job: Job, now_ns: int) -> Rank:
        in_turn = job.rounds % self.quantum > 0
        turn_end_ns = job.state.turn_end_ns
        return (not in_turn, job.arrival_ns if turn_end_ns < 0 else turn_end_ns)

    def on_round(self, job: Job, now_ns: int) -> None:
        if job.rounds % self.quantum == 0:
            job.state.turn_end_ns = now_ns  # to the end of the queue
