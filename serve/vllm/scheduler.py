"""Scheduler classes for vLLM that serve under one of lapsd's policies.

vLLM's own scheduler still does all of the work: token budgets, blocks, prefix cache, draft tokens.
Before each step the policy chooses the requests that get the batch slots. Running requests that are
not chosen are preempted, the waiting queue is sorted by rank, and vLLM then schedules as usual.
vLLM does not guarantee this interface. With an untested version of vLLM, or after an error in this
module, the engine schedules as vLLM does by itself.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import vllm
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from lapsd.policies.decision import Decisions, choose
from lapsd.serve.vllm.clock import Clock, WallClock
from lapsd.serve.vllm.decisions import LiveDecisions
from lapsd.serve.vllm.drafts import LiveDrafts
from lapsd.serve.vllm.job import LiveJob
from lapsd.serve.vllm.parking import ParkingScheduler
from lapsd.serve.vllm.scheduler_state import SchedulerState
from lapsd.serve.vllm.settings import TRIED, Settings

logger = logging.getLogger("vllm.lapsd")  # a child of vLLM's logger, which has handlers


class LapsdScheduler(ParkingScheduler):
    """vLLM's scheduler with batch slots assigned by a policy.

    Its settings are `additional_config["lapsd"]`.

    Attributes
    ----------
    active : bool
        Whether the policy decides; if not, vLLM schedules by itself, and a line in the log names
        the reason.
    settings : Settings
    decisions : LiveDecisions
    drafts : LiveDrafts
    failed : str
        The error of the policy, after which requests are served first come, first served; else "".
    ended_ns : int
        End of the last step.
    clock : Clock
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.active = False
        self.clock: Clock = WallClock()
        self.ended_ns = 0
        self._begun: dict[int, int] = {}  # start of each unfinished step, by its scheduler output
        settings = Settings.of(self.vllm_config.additional_config.get("lapsd", {}))
        if vllm.__version__ in TRIED or settings.untried_vllm:
            self.configure(settings)
        else:
            tried = ", ".join(TRIED)
            logger.warning(
                "lapsd: vLLM %s is untested (tested: %s): vLLM schedules without lapsd",
                vllm.__version__,
                tried,
            )

    def configure(self, settings: Settings, known: SchedulerState | None = None) -> None:
        """Serve with these settings from now on.

        Parameters
        ----------
        known : the policy and the predictions; None: as the settings say.

        Raises
        ------
        ValueError
            If the settings are invalid or do not fit the engine, or the engine has requests.
        """
        if count := self._request_count():
            raise ValueError(
                f"lapsd: the engine has {count} requests: the policy can only be set while it has"
                " none"
            )
        self._check(settings)
        known = known or SchedulerState.of(settings, self.max_num_active_reqs)
        served = str(self.vllm_config.model_config.model)
        if (
            known.model
            and known.model.rstrip("/").split("/")[-1] != served.rstrip("/").split("/")[-1]
        ):
            logger.warning(
                "lapsd: the profile was measured on %s, but the engine serves %s",
                known.model,
                served,
            )
        self._check_drafts(known)
        self.settings, self._known = settings, known
        self._begun, self.ended_ns = {}, 0
        self.decisions, self.failed = LiveDecisions(Decisions(known.policy), self._report), ""
        self.drafts = LiveDrafts(known.drafts, self._report)
        self.active = True

    def _request_count(self) -> int:
        """Return the number of requests in the engine."""
        return len(self.requests)

    def _report(self, line: str) -> None:
        logger.error("lapsd: %s", line)
        self.failed = line

    def _check(self, settings: Settings) -> None:
        if self.scheduler_config.policy != "fcfs":
            raise ValueError(
                f"lapsd: --scheduling-policy {self.scheduler_config.policy}: must be fcfs with"
                " lapsd's scheduler"
            )
        if settings.preemption == "parked" and self.connector is not None:
            raise ValueError(
                "lapsd: preemption=parked: does not work with a KV connector, which transfers"
                " blocks"
            )
        if settings.preemption == "parked" and self.parallel_config.pipeline_parallel_size > 1:
            raise ValueError("lapsd: preemption=parked: does not work with pipeline parallelism")

    def _check_drafts(self, known: SchedulerState) -> None:
        drafts = known.policy.drafts
        if drafts is None:
            return
        if known.drafts is None:
            raise ValueError(f"lapsd: draft policy {drafts.name}: the run has no costs of rounds")
        if drafts.most > self.num_spec_tokens:
            raise ValueError(
                f"lapsd: draft policy {drafts.name}: drafts up to {drafts.most} tokens, and the"
                f" engine up to {self.num_spec_tokens} (num_speculative_tokens)"
            )

    # ---- methods that vLLM calls

    def add_request(self, request: Request) -> None:
        known = request.request_id in self.requests
        super().add_request(request)
        with self._guarded():
            if self.active and not known:
                self._arrive(request)

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:
        begun = self.clock.begin()
        with self._guarded():
            if self.active and self.pause_state != PauseState.PAUSED_ALL:
                self._decide(begun)
                self._trim_drafts()
        self.refused = None
        output = super().schedule(*args, **kwargs)
        with self._guarded():
            if self.active:
                self.decisions.set_running(request.request_id for request in self.running)
                self._begun[id(output)] = begun
        return output

    def _update_after_schedule(self, scheduler_output: SchedulerOutput) -> None:
        with self._guarded():
            if self.active:
                self._choose_drafts(scheduler_output)
        super()._update_after_schedule(scheduler_output)

    def update_from_output(
        self,
        scheduler_output: SchedulerOutput,
        model_runner_output: ModelRunnerOutput,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        scheduled = [
            self.requests.get(request_id) for request_id in scheduler_output.num_scheduled_tokens
        ]
        before = {
            request: request.num_output_tokens for request in scheduled if request is not None
        }
        outputs = super().update_from_output(scheduler_output, model_runner_output, *args, **kwargs)
        with self._guarded():
            if self.active:
                self._commit(scheduler_output, before)
        return outputs

    def finish_requests(self, *args: Any, **kwargs: Any) -> list[Request]:
        finished = super().finish_requests(*args, **kwargs)
        with self._guarded():
            if self.active:
                self._leave(finished, self.clock.begin())
        return finished

    # ---- events for the policy

    def _arrive(self, request: Request) -> None:
        now_ns = self.clock.begin()
        try:
            output_tokens = self._known.predict(
                request.prompt_token_ids or [], request.sampling_params
            )
        except (
            Exception
        ) as error:  # an error of a client or of the predictor concerns one request only
            output_tokens = self._known.default_prediction(request.sampling_params)
            logger.warning(
                "lapsd: request %s: %s: predicted output is set to %d tokens",
                request.request_id,
                error,
                output_tokens,
            )
        self.decisions.arrive(
            request.request_id,
            arrival_ns=min(now_ns, self.clock.arrived(request.arrival_time)),
            prompt_tokens=request.num_prompt_tokens,
            output_tokens=output_tokens,
            now_ns=now_ns,
        )

    def _commit(self, output: SchedulerOutput, before: dict[Request, int]) -> None:
        """Commit a round for each request that decoded in the step.

        Prefill emits the first token and is not a round.
        """
        now_ns = self.clock.end()
        # asynchronous steps overlap: the time of a step starts at the end of the one before
        round_ns = now_ns - max(self._begun.pop(id(output), now_ns), self.ended_ns)
        self.ended_ns, rounds = now_ns, []
        for request, tokens in before.items():
            emitted = request.num_output_tokens - tokens
            if tokens > 0 and emitted > 0 and request.request_id in self.decisions.jobs:
                drafts = output.scheduled_spec_decode_tokens.get(request.request_id, ())
                if not self.scheduler_config.async_scheduling:
                    drafts = [token for token in drafts if token >= 0]  # negative ids are padding
                self.decisions.commit(request.request_id, emitted, len(drafts), round_ns, now_ns)
                rounds.append((len(drafts), emitted - 1))
        self.drafts.note(rounds)
        self._leave([request for request in before if request.is_finished()], now_ns)

    def _leave(self, requests: Iterable[Request], now_ns: int) -> None:
        jobs = self.decisions.jobs
        gone = [jobs[request.request_id] for request in requests if request.request_id in jobs]
        for job in sorted(gone, key=lambda job: job.index):
            self.decisions.leave(job.request_id, now_ns)

    # ---- decisions

    def _decide(self, now_ns: int) -> None:
        """Choose the running requests, before vLLM schedules.

        Preempts running requests that are not chosen and sorts the waiting queue.
        """
        waiting = [request for request in self.waiting if self._is_ready(request)]
        held = [request for request in self.kv_holding_waiting if self._is_ready(request)]
        # a parked request can resume only after its last step has returned
        parked = [request for request in self.parked if not request.num_in_flight_tokens]
        active = {
            request.request_id: request for request in [*self.running, *parked, *held, *waiting]
        }
        order = self.decisions.order(active, now_ns)
        batch_slots = max(0, self.max_num_active_reqs - self.num_waiting_for_streaming_input)
        chosen = {job.request_id for job in choose(order, batch_slots, self._fits)}
        self.places = {job.request_id: place for place, job in enumerate(order)}
        for request in parked:
            if request.request_id in chosen:
                self.unpark(request)
        for request in [request for request in self.running if request.request_id not in chosen]:
            self._preempt(request)
        self._trim_parked(len(chosen))
        # vLLM preempts running requests from the end of the list when blocks run out, and admits
        # waiting requests from the front of the queue
        self.running.sort(key=self.place)
        queue = sorted(self.waiting, key=self.place)
        self.waiting.clear()
        self.waiting.extend(queue)

    def _trim_drafts(self) -> None:
        """Cut the draft tokens of each running request to its length, before vLLM schedules."""
        for request in self.running:
            length = self.drafts.lengths.get(request.request_id)
            if length is not None and len(request.spec_token_ids) > length:
                request.spec_token_ids = request.spec_token_ids[:length]

    def _choose_drafts(self, output: SchedulerOutput) -> None:
        """Choose how much the step that was just scheduled drafts, for the next round.

        The draft model drafts as many tokens for each request as the longest draft has.
        """
        jobs = [self.decisions.jobs[key] for key in output.num_scheduled_tokens]
        if jobs:
            longest = self.drafts.choose(jobs, len(self.waiting), self.ended_ns)
            if longest is not None:
                output.num_spec_tokens_to_schedule = longest

    def _is_ready(self, request: Request) -> bool:
        """Whether a request can run now; in a pause only requests that hold blocks can."""
        if self.pause_state != PauseState.UNPAUSED and request not in self.kv_holding_waiting:
            return False
        return bool(self._handle_blocked_waiting_request(request))

    def _fits(self, jobs: list[LiveJob]) -> bool:
        """Whether requests fit the memory together, judging by the refusal in the last step."""
        refused = self.refused
        if refused is None or len(jobs) <= refused.running:
            return True
        return all(job.request_id != refused.request_id for job in jobs)

    def _preempt(self, request: Request) -> None:
        if self.settings.preemption == "parked":
            self.park(request)
        else:
            self.evict(request)

    def _trim_parked(self, running: int) -> None:
        """Evict parked requests that exceed the slots of vLLM's second model runner.

        It has `max_num_seqs` slots, one per running or parked request.
        """
        while (
            self.use_v2_model_runner
            and self.parked
            and len(self.parked) + running > self.max_num_running_reqs
        ):
            self.evict(max(self.parked, key=self.place))

    # ---- failures

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """On an exception, let vLLM schedule by itself instead of ending the engine."""
        try:
            yield
        except Exception:
            logger.exception(
                "lapsd: scheduling by policy failed: from now on vLLM schedules without lapsd"
            )
            self.active = False
            for request in list(self.parked):
                self.evict(request)


class AsyncLapsdScheduler(LapsdScheduler, AsyncScheduler):
    """`LapsdScheduler` for asynchronous scheduling, which vLLM uses on GPUs.

    vLLM then schedules a step while the previous one runs, so that the policy does not know the
    result of that step yet.
    """
