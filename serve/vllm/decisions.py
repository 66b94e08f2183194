"""The order of requests under a policy, for an engine that identifies requests by their ids.

Knows nothing of vLLM or of memory.

A policy is user code inside a production engine. If it raises an exception, the exception is
reported once, and from then on requests are served first come, first served.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lapsd.policies import FCFS, Policy
from lapsd.policies.decision import Decisions
from lapsd.policies.seen import Permission, SeenJob
from lapsd.serve.vllm.job import LiveJob


@dataclass(eq=False)
class LiveDecisions:
    """The decisions of an engine, and all active requests.

    Attributes
    ----------
    decisions : Decisions
        Those of a bound policy; after it failed, those of first come, first served.
    report : callable
        Receives a line that describes the failure.
    jobs : dict of request id to LiveJob
    arrived : int
        Number of requests that have arrived so far.
    """

    decisions: Decisions
    report: Callable[[str], None]
    jobs: dict[str, LiveJob] = field(default_factory=dict)
    arrived: int = 0

    @property
    def policy(self) -> Policy:
        """The policy that decides now."""
        return self.decisions.policy

    def arrive(
        self, key: str, *, arrival_ns: int, prompt_tokens: int, output_tokens: int, now_ns: int
    ) -> None:
        """Add a request with its predicted output tokens; calls are in the order of arrival."""
        job = LiveJob(
            key, self.arrived, arrival_ns, prompt_tokens, max(1, output_tokens - 1), arrival_ns
        )
        self.arrived += 1
        self.jobs[key] = job
        with self._guarded(job):
            self.decisions.arrive(job, now_ns)

    def commit(self, key: str, emitted: int, drafted: int, round_ns: int, now_ns: int) -> None:
        """Commit a round of a request and inform the policy."""
        job = self.jobs[key]
        job.add_drafts(drafted, emitted - 1)
        with self._guarded(job):
            self.decisions.commit(job, emitted, round_ns, now_ns)

    def leave(self, key: str, now_ns: int) -> None:
        """Remove a finished or aborted request."""
        job = self.jobs.pop(key)
        with self._guarded(job):
            self.decisions.leave(job, now_ns)

    def order(self, keys: Iterable[str], now_ns: int) -> list[LiveJob]:
        """Return the jobs of these requests in the order of `Decisions.order`. O(n log n)."""
        jobs, places = [self.jobs[key] for key in keys], {}
        place = self.decisions.order(now_ns)
        for job in jobs:
            try:
                places[job] = place(job)
            except ValueError as error:
                self._fall_back(job, error)
                return sorted(jobs, key=self.decisions.order(now_ns))
        return sorted(jobs, key=places.__getitem__)

    def set_running(self, running: Iterable[str]) -> None:
        """Mark exactly these requests as running."""
        keys = set(running)
        for key, job in self.jobs.items():
            job.running = key in keys
            job.started |= job.running

    @contextmanager
    def _guarded(self, job: LiveJob) -> Iterator[None]:
        """After an error of the policy, let first come, first served decide."""
        try:
            yield
        except ValueError as error:
            self._fall_back(job, error)

    def _fall_back(self, job: LiveJob, error: ValueError) -> None:
        self.report(
            f"request {job.request_id}: {error}: requests are served first come, first served from "
            "now on"
        )
        job.seen = job.seen or SeenJob(job, None, Permission())  # an arrival may have failed
        self.decisions = Decisions(FCFS())
