"""Who runs, by a policy, among requests that an engine knows by their ids.

Knows nothing of vLLM or of memory.

A policy is somebody's code in the middle of a production engine: whatever it raises is reported
once, and from then on requests are served first come, first served.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lapsd.policies import FCFS, Event, Policy
from lapsd.policies.decision import name_of, rank_of
from lapsd.serve.vllm.job import LiveJob


@dataclass(eq=False)
class Decisions:
    """The policy, and what it knows of every request that is there.

    Attributes
    ----------
    policy : Policy
        Bound to its outlook; first come, first served once it has failed.
    report : callable
        Takes the line that says what went wrong.
    jobs : dict of request id to LiveJob
    arrived : int
        How many requests there have been.
    """

    policy: Policy
    report: Callable[[str], None]
    jobs: dict[str, LiveJob] = field(default_factory=dict)
    arrived: int = 0

    def arrive(
        self, key: str, *, arrival_ns: int, prompt_tokens: int, output_tokens: int, now_ns: int
    ) -> None:
        """Take in a request of foretold output; the order of these calls is that of arrival."""
        job = LiveJob(
            key, self.arrived, arrival_ns, prompt_tokens, max(1, output_tokens - 1), arrival_ns
        )
        self.arrived += 1
        self.jobs[key] = job
        self._tell(job, "observing", lambda: self.policy.on_event(Event("arrival", job, now_ns)))

    def commit(self, key: str, emitted: int, drafted: int, round_ns: int, now_ns: int) -> None:
        """Count a round of a request, and let the policy learn of it."""
        job = self.jobs[key]
        job.commit(emitted, drafted, round_ns)
        queue = job.queue
        self._tell(job, "learning of", lambda: self.policy.on_round(job, now_ns))
        if job.queue != queue:
            job.entered_ns = now_ns

    def leave(self, key: str, now_ns: int) -> None:
        """Forget a request, done or given up."""
        job = self.jobs.pop(key)
        self._tell(job, "observing", lambda: self.policy.on_event(Event("completion", job, now_ns)))

    def order(self, keys: Iterable[str], now_ns: int) -> list[LiveJob]:
        """Those jobs by rank; at equal ranks who runs goes first, then by entry into the queue,
        then by arrival.

        O(n log n).
        """
        jobs, places = [self.jobs[key] for key in keys], {}
        for job in jobs:
            try:
                rank = rank_of(self.policy, job, now_ns)
            except ValueError as error:
                self._fall_back(f"request {job.request_id}: {error}")
                return self.order([j.request_id for j in jobs], now_ns)
            places[job] = (rank, not job.running, job.entered_ns, job.index)
        try:
            return sorted(jobs, key=places.__getitem__)
        except Exception as error:
            self._fall_back(f"ranks that cannot be compared: {type(error).__name__}: {error}")
            return self.order([j.request_id for j in jobs], now_ns)

    def batch_slot(self, running: Iterable[str]) -> None:
        """Note who runs from now on: those, and nobody else."""
        keys = set(running)
        for key, job in self.jobs.items():
            job.running = key in keys
            job.started |= job.running

    def _tell(self, job: LiveJob, doing: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self._fall_back(
                f"{doing} request {job.request_id} raised {type(error).__name__}: {error}"
            )

    def _fall_back(self, why: str) -> None:
        name = name_of(self.policy)
        self.report(f"policy {name}: {why}: first come, first served from here on")
        self.policy = FCFS()
