"""A vLLM scheduler that can preempt requests without freeing their blocks, and resume them.

Knows nothing of policies.

A preempted request that keeps its blocks is parked: its status in vLLM stays `RUNNING`, but it is
in none of the queues, so that no step includes it. The model runner keeps the state of requests
that a step does not include. When blocks run out, parked requests lose their blocks first, the
worst rank first; they wait until they are computed again.
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
    """A request that could not be admitted for lack of blocks, while `running` others ran."""

    request_id: str
    running: int


class ParkingScheduler(Scheduler):
    """vLLM's scheduler, extended by parked requests, which neither run nor wait.

    Attributes
    ----------
    parked : list of Request
    places : dict of request id to int
        The order in which requests get memory, the best first; other requests come last.
    refused : Refusal or None
        The first refusal in this step.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parked: list[Request] = []
        self.places: dict[str, int] = {}
        self.refused: Refusal | None = None
        self._allocate_slots = self.kv_cache_manager.allocate_slots
        self.kv_cache_manager.allocate_slots = self._allocate_or_evict

    def park(self, request: Request) -> None:
        """Preempt a running request, which keeps its blocks."""
        self.running.remove(request)
        self.parked.append(request)
        if self.scheduler_config.async_scheduling:
            request.spec_token_ids = []  # placeholders for the draft tokens of the next step

    def unpark(self, request: Request) -> None:
        """Make a parked request run again."""
        self.parked.remove(request)
        self.running.append(request)

    def evict(self, request: Request) -> None:
        """Free the blocks of a running or parked request.

        It goes to the end of the waiting queue and must be computed again.
        """
        (self.parked if request in self.parked else self.running).remove(request)
        self._preempt_request(
            request, time.monotonic(), drop_stale_output=self.requires_kv_delivery
        )
        # vLLM puts it first in the waiting queue; the loop over the queue would then take it for
        # the request that the loop is about to admit
        self.waiting.remove_request(request)
        self.waiting.add_request(request)
        # if it resumes at once, the model runner needs its complete state again
        self.prev_step_scheduled_req_ids.discard(request.request_id)

    def place(self, request: Request) -> int:
        """Return the position of a request in the order of memory."""
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

    # ---- methods that vLLM calls

    def update_from_output(
        self,
        scheduler_output: SchedulerOutput,
        model_runner_output: ModelRunnerOutput,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        outputs = super().update_from_output(scheduler_output, model_runner_output, *args, **kwargs)
        # with asynchronous scheduling, the last output of a parked request may come later
        self._forget_finished()
        return outputs

    def finish_requests(self, *args: Any, **kwargs: Any) -> list[Request]:
        finished: list[Request] = super().finish_requests(*args, **kwargs)
        self._forget_finished()
        return finished

    def get_request_counts(self) -> tuple[int, int]:
        running, waiting = super().get_request_counts()
        return running + len(self.parked), waiting  # parked requests hold blocks, like running ones

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
