"""A vLLM scheduler that can take requests out with their blocks kept, and put them back.

Knows nothing of policies.

A parked request stays `RUNNING` in vLLM's eyes and is in none of its queues, so that no step has
it; the model runner keeps the state of requests that a step leaves out. When blocks run out, the
parked lose theirs before anybody else does, the last in order first, and wait to be computed again.
"""

import time
from dataclasses import dataclass
from typing import Any

from vllm.v1.core.kv_cache_manager import KVCacheBlocks
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus


@dataclass(frozen=True)
class Refusal:
    """A request that was to be admitted and found too few blocks, and how many ran beside it."""

    request_id: str
    beside: int


class ParkingScheduler(Scheduler):
    """vLLM's scheduler with a place for requests that neither run nor wait.

    Attributes
    ----------
    parked : list of Request
    places : dict of request id to int
        The order that memory goes by, the best first; who is not in it comes last.
    refused : Refusal or None
        The first in this step.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parked: list[Request] = []
        self.places: dict[str, int] = {}
        self.refused: Refusal | None = None
        self._allocate_slots = self.kv_cache_manager.allocate_slots
        self.kv_cache_manager.allocate_slots = self._allocate_or_evict

    def park(self, request: Request) -> None:
        """Take a request out of those who run, with its blocks."""
        self.running.remove(request)
        self.parked.append(request)
        if self.scheduler_config.async_scheduling:
            request.spec_token_ids = []  # placeholders for drafts that the next step would have had

    def unpark(self, request: Request) -> None:
        """Put a request back among those who run."""
        self.parked.remove(request)
        self.running.append(request)

    def evict(self, request: Request) -> None:
        """Free the blocks of one who runs or is parked; it waits, last in line, to be computed
        again.
        """
        (self.parked if request in self.parked else self.running).remove(request)
        self._preempt_request(
            request, time.monotonic(), drop_stale_output=self.requires_kv_delivery
        )
        # vLLM puts it first in line, where its loop over the line would find it in place of who it
        # was looking at
        self.waiting.remove_request(request)
        self.waiting.add_request(request)
        # should it come back at once, the model runner must be told all of it again
        self.prev_step_scheduled_req_ids.discard(request.request_id)

    def place(self, request: Request) -> int:
        """Where it is in the order of memory."""
        return self.places.get(request.request_id, len(self.places))

    def _allocate_or_evict(
        self, request: Request, *args: Any, **kwargs: Any
    ) -> KVCacheBlocks | None:
        blocks = self._allocate_slots(request, *args, **kwargs)
        while blocks is None and (
            worse := [r for r in self.parked if self.place(r) > self.place(request)]
        ):
            self.evict(max(worse, key=self.place))
            blocks = self._allocate_slots(request, *args, **kwargs)
        if blocks is None and request.status != RequestStatus.RUNNING and self.refused is None:
            self.refused = Refusal(request.request_id, len(self.running))
        return blocks

    # ---- what vLLM calls

    def update_from_output(
        self,
        scheduler_output: SchedulerOutput,
        model_runner_output: ModelRunnerOutput,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        outputs = super().update_from_output(scheduler_output, model_runner_output, *args, **kwargs)
        # where vLLM schedules ahead, a parked request's last output may come later
        self._forget_finished()
        return outputs

    def finish_requests(self, *args: Any, **kwargs: Any) -> list[Request]:
        finished: list[Request] = super().finish_requests(*args, **kwargs)
        self._forget_finished()
        return finished

    def get_request_counts(self) -> tuple[int, int]:
        running, waiting = super().get_request_counts()
        return running + len(self.parked), waiting  # as those who run they hold blocks

    def reset_prefix_cache(
        self, reset_running_requests: bool = False, *args: Any, **kwargs: Any
    ) -> bool:
        if reset_running_requests:
            self.running += self.parked
            self.parked = []
        done: bool = super().reset_prefix_cache(reset_running_requests, *args, **kwargs)
        return done

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        self.parked = []
        super().shutdown(*args, **kwargs)

    def _forget_finished(self) -> None:
        self.parked = [request for request in self.parked if not request.is_finished()]
