"""LAPS-SD: least attained service while acceptance is noisy, shortest job first once it is stable.

Li, Chen, Li: "Semi-Clairvoyant Scheduling of Speculative Decoding Requests to Minimize LLM Inference Latency"
(arXiv 2505.17074). The paper's text leaves choices open; `docs/simulator.md` lists how we read it.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, Self

from policies.base import Job, Outlook, Rank
from policies.las import LAS


class Perceived(NamedTuple):
    """What was predicted of a request when it became perceptible; T̃ = ns_per_token · remaining tokens."""

    output_tokens: int
    ns_per_token: float


@dataclass(frozen=True)
class LapsSD(LAS):
    """LAS until a request is perceptible; then placed once, by remaining T̃, and served by smallest remaining T̃.

    A request is perceptible from the first round at which the running acceptance rate of its last `gamma`
    rounds spans less than `delta`. It then goes before the not-perceptible requests of its queue.

    Parameters
    ----------
    gamma : rounds of the stability window, at least 1.
    delta : its tolerance, at least 0 (at 0 nothing ever becomes perceptible).
    """

    name: ClassVar[str] = "laps-sd"

    gamma: int = 5
    delta: float = 0.05
    mean_round_ns: int = field(default=0, repr=False, metadata={"bound": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.gamma <= 100_000:
            raise ValueError(f"{self.name}: gamma={self.gamma} must be between 1 and 100000")
        if not 0 <= self.delta <= 1:
            raise ValueError(f"{self.name}: delta={self.delta} must be between 0 and 1")

    def bind(self, outlook: Outlook) -> Self:
        return replace(super().bind(outlook), mean_round_ns=outlook.mean_round_ns)

    def rank(self, job: Job, now_ns: int) -> Rank:
        if job.memo is None:
            return (job.queue, 1, 0.0)
        return (job.queue, 0, self.remaining_ns(job))

    def learn(self, job: Job, now_ns: int) -> None:
        if job.memo is not None:
            return
        if self.is_stable(job):
            job.memo = Perceived(job.predicted_tokens, self.mean_round_ns * job.rounds / (job.accepted + job.rounds))
            job.queue = self.queue_of(self.remaining_ns(job))
        else:
            job.queue = self.queue_of(job.service_ns)

    def is_stable(self, job: Job) -> bool:
        """max − min of the running acceptance rate over the last `gamma` rounds is below `delta`."""
        if job.rounds < self.gamma:
            return False
        rates = [job.acceptance(r) for r in range(job.rounds - self.gamma + 1, job.rounds + 1)]
        return max(rates) - min(rates) < self.delta

    def remaining_ns(self, job: Job) -> float:
        """T̃ = c̄ · max(0, L̂ − tokens so far) / (ā + 1), with L̂ and ā as they were perceived."""
        perceived: Perceived = job.memo
        return perceived.ns_per_token * max(0, perceived.output_tokens - job.tokens)
