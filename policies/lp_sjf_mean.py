"""Shortest job first by predicted length and true mean acceptance."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import Clairvoyant, Job, NewJob, Rank


@dataclass(frozen=True)
class LPSJFMean(Clairvoyant):
    """Fewest predicted *rounds* first, without preemption: LP-SJF that also knows the true mean
    acceptance of each request.

    The number of rounds is the predicted length divided by the true mean number of output tokens
    per round. Clairvoyant, as a control: its difference from LP-SJF is the gain from knowing
    acceptance in addition to length.

    Notes
    -----
    A control: what knowing acceptance adds to knowing the predicted length.

    References
    ----------
    Ours.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import LPSJFMean
    >>> result = lapsd.compare(policies=[LPSJFMean()], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
            policy  preemptions
    0  lp-sjf-mean            0
    """

    name: ClassVar[str] = "lp-sjf-mean"

    @dataclass(slots=True)
    class State:
        """The number of rounds that the predicted length takes."""

        predicted_rounds: float = 0.0

    def on_arrival(self, job: NewJob) -> None:
        tokens_per_round = self.truth.true_tokens_per_round[job.index]
        job.state.predicted_rounds = job.predicted_tokens / tokens_per_round

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (not job.started, job.state.predicted_rounds)
