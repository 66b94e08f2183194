"""The order of requests under a policy, for an engine that identifies requests by their ids.

Knows nothing of vLLM or of memory.

A policy is user code inside a production engine. If it raises an exception, the exception is
reported once, and from then on requests are served first come, first served.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lapsd.policies import FCFS, Event, Policy
from lapsd.policies.decision import name_of, new_state, rank_of
from lapsd.serve.vllm.job import LiveJob


@dataclass(eq=False)
class Decisions:
    """A policy and the state of all active requests.

    Attributes
    ----------
    policy : Policy
        Bound to its context; replaced by first come, first served after it failed.
    report : callable
        Receives a line that describes the failure.
    jobs : dict of request id to LiveJob
    arrived : int
        Number of requests that have arrived so far.
    """

    policy: Policy
    report: Callable[[str], None]
    jobs: dict[str, LiveJob] = field(default_factory=dict)
    arrived: int = 0

    def arrive(
        self, key: str, *, arrival_ns: int, prompt_tokens: int, output_tokens: int, now_ns: int
    ) -> None:
        """Add a request with its predicted output tokens; calls are in the order of arrival."""
        job = LiveJob(
            key, self.arrived, arrival_ns, prompt_tokens, max(1, output_tokens - 1), arrival_ns
        )
        self.arrived += 1
        self.jobs[key] = job
        self._inform(job, "on_arrival for", lambda: self._keep_state(job))
        self._inform(
            job, "on_event for", lambda: self.policy.on_event(Event("arrival", job, now_ns))
        )

    def commit(self, key: str, emitted: int, drafted: int, round_ns: int, now_ns: int) -> None:
        """Commit a round of a request and inform the policy."""
        job = self.jobs[key]
        job.commit(emitted, drafted, round_ns)
        queue = job.queue
        self._inform(job, "on_round for", lambda: self.policy.on_round(job, now_ns))
        if job.queue != queue:
            job.entered_ns = now_ns

    def leave(self, key: str, now_ns: int) -> None:
        """Remove a finished or aborted request."""
        job = self.jobs.pop(key)
        self._inform(
            job, "on_event for", lambda: self.policy.on_event(Event("completion", job, now_ns))
        )

    def order(self, keys: Iterable[str], now_ns: int) -> list[LiveJob]:
        """Return the jobs of these requests, the best rank first.

        At equal ranks running requests come first, then the order is that of entry into the queue,
        then that of arrival.

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
            self._fall_back(f"ranks cannot be compared: {type(error).__name__}: {error}")
            return self.order([j.request_id for j in jobs], now_ns)

    def set_running(self, running: Iterable[str]) -> None:
        """Mark exactly these requests as running."""
        keys = set(running)
        for key, job in self.jobs.items():
            job.running = key in keys
            job.started |= job.running

    def _keep_state(self, job: LiveJob) -> None:
        """Give a new request the State that the policy keeps of it."""
        job.state = new_state(self.policy, job.index, job.prompt_tokens, job.predicted_tokens)

    def _inform(self, job: LiveJob, hook: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self._fall_back(
                f"{hook} request {job.request_id} raised {type(error).__name__}: {error}"
            )

    def _fall_back(self, why: str) -> None:
        name = name_of(self.policy)
        self.report(
            f"policy {name}: {why}: requests are served first come, first served from now on"
        )
        self.policy = FCFS()
