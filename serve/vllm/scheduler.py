"""Scheduler classes for vLLM that serve by one of lapsd's policies.

vLLM's own scheduler does all of the work: budgets, blocks, prefix cache, drafts. Before each step
the policy says who has the seats; who loses one is taken out, who wins one is put first in line,
and vLLM schedules what it then finds. Its interface is not declared stable: versions that were not
tried get vLLM's own behaviour, as does an engine where anything here fails.
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

from lapsd.policies.decision import choose
from lapsd.serve.vllm.clock import Clock, WallClock
from lapsd.serve.vllm.decisions import Decisions
from lapsd.serve.vllm.job import LiveJob
from lapsd.serve.vllm.parking import ParkingScheduler
from lapsd.serve.vllm.scheduler_state import SchedulerState
from lapsd.serve.vllm.settings import TRIED, Settings

logger = logging.getLogger("vllm.lapsd")  # below vLLM's own, which has handlers


class LapsdScheduler(ParkingScheduler):
    """vLLM's scheduler with the seats given by a policy; settings are `additional_config["lapsd"]`.

    Attributes
    ----------
    active : bool The policy decides; where it does not, vLLM's own scheduler does, and a line in
        the log says why.
    settings : Settings
    decisions : Decisions
    failed : str
        What the policy did wrong, if it did: then it is first come, first served.
    ended_ns : int
        When the last step did.
    clock : Clock
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.active = False
        self.clock: Clock = WallClock()
        self.ended_ns = 0
        self._begun: dict[int, int] = {}  # steps under way: by scheduler output, when they began
        settings = Settings.of(self.vllm_config.additional_config.get("lapsd", {}))
        if vllm.__version__ in TRIED or settings.untried_vllm:
            self.configure(settings)
        else:
            tried = ", ".join(TRIED)
            logger.warning(
                "lapsd: vLLM %s was not tried (%s was): scheduling as vLLM does",
                vllm.__version__,
                tried,
            )

    def configure(self, settings: Settings, known: SchedulerState | None = None) -> None:
        """Serve by these settings from now on.

        Parameters
        ----------
        known : what the settings make known beforehand, unless somebody knows better.

        Raises
        ------
        ValueError
            If they are wrong, or do not go with the engine's configuration, or requests are there.
        """
        if there := self._there():
            raise ValueError(
                f"lapsd: {there} requests are there: only an empty engine gets a policy"
            )
        self._check(settings)
        known = known or SchedulerState.of(settings, self.max_num_active_reqs)
        served = str(self.vllm_config.model_config.model)
        if (
            known.model
            and known.model.rstrip("/").split("/")[-1] != served.rstrip("/").split("/")[-1]
        ):
            logger.warning(
                "lapsd: the profile was measured on %s, but %s is served", known.model, served
            )
        self.settings, self._known = settings, known
        self._begun, self.ended_ns = {}, 0
        self.decisions, self.failed = Decisions(known.policy, self._report), ""
        self.active = True

    def _there(self) -> int:
        """How many requests a policy would have to answer for."""
        return len(self.requests)

    def _report(self, line: str) -> None:
        logger.error("lapsd: %s", line)
        self.failed = line

    def _check(self, settings: Settings) -> None:
        if self.scheduler_config.policy != "fcfs":
            raise ValueError(
                f"lapsd: --scheduling-policy {self.scheduler_config.policy}: must be fcfs, or two"
                " decide"
            )
        if settings.preemption == "parked" and self.connector is not None:
            raise ValueError(
                "lapsd: preemption=parked: not with a KV connector, which moves blocks itself"
            )
        if settings.preemption == "parked" and self.parallel_config.pipeline_parallel_size > 1:
            raise ValueError("lapsd: preemption=parked: not with pipeline parallelism")

    # ---- what vLLM calls

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
        self.refused = None
        output = super().schedule(*args, **kwargs)
        with self._guarded():
            if self.active:
                self.decisions.batch_slot(request.request_id for request in self.running)
                self._begun[id(output)] = begun
        return output

    def update_from_output(
        self,
        scheduler_output: SchedulerOutput,
        model_runner_output: ModelRunnerOutput,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        served = [
            self.requests.get(request_id) for request_id in scheduler_output.num_scheduled_tokens
        ]
        before = {request: request.num_output_tokens for request in served if request is not None}
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

    # ---- what the policy is told

    def _arrive(self, request: Request) -> None:
        now_ns = self.clock.begin()
        try:
            output_tokens = self._known.foretell(
                request.prompt_token_ids or [], request.sampling_params
            )
        except Exception as error:  # a client's mistake, or a predictor's, is that of one request
            output_tokens = self._known.usual(request.sampling_params)
            logger.warning(
                "lapsd: request %s: %s: taken for %d", request.request_id, error, output_tokens
            )
        self.decisions.arrive(
            request.request_id,
            arrival_ns=min(now_ns, self.clock.arrived(request.arrival_time)),
            prompt_tokens=request.num_prompt_tokens,
            output_tokens=output_tokens,
            now_ns=now_ns,
        )

    def _commit(self, output: SchedulerOutput, before: dict[Request, int]) -> None:
        """Count the step for those who decoded in it: prefill emits the first token, and is no
        round.
        """
        now_ns = self.clock.end()
        # where vLLM schedules ahead steps overlap: one lasts from the end of the one before
        round_ns = now_ns - max(self._begun.pop(id(output), now_ns), self.ended_ns)
        self.ended_ns = now_ns
        for request, tokens in before.items():
            emitted = request.num_output_tokens - tokens
            if tokens > 0 and emitted > 0 and request.request_id in self.decisions.jobs:
                drafts = output.scheduled_spec_decode_tokens.get(request.request_id, ())
                if not self.scheduler_config.async_scheduling:
                    drafts = [token for token in drafts if token >= 0]  # the rest is padding
                self.decisions.commit(request.request_id, emitted, len(drafts), round_ns, now_ns)
        self._leave([request for request in before if request.is_finished()], now_ns)

    def _leave(self, requests: Iterable[Request], now_ns: int) -> None:
        jobs = self.decisions.jobs
        gone = [jobs[request.request_id] for request in requests if request.request_id in jobs]
        for job in sorted(gone, key=lambda job: job.index):
            self.decisions.leave(job.request_id, now_ns)

    # ---- who runs

    def _decide(self, now_ns: int) -> None:
        """Give the seats to the best, before vLLM schedules: losers out, winners first in line."""
        in_line = [request for request in self.waiting if self._is_ready(request)]
        held = [request for request in self.kv_holding_waiting if self._is_ready(request)]
        # output of a parked request that is still under way must be there before it goes on
        parked = [request for request in self.parked if not request.num_in_flight_tokens]
        present = {
            request.request_id: request for request in [*self.running, *parked, *held, *in_line]
        }
        order = self.decisions.order(present, now_ns)
        batch_slots = max(0, self.max_num_active_reqs - self.num_waiting_for_streaming_input)
        chosen = {job.request_id for job in choose(order, batch_slots, self._fits)}
        self.places = {job.request_id: place for place, job in enumerate(order)}
        for request in parked:
            if request.request_id in chosen:
                self.unpark(request)
        for request in [request for request in self.running if request.request_id not in chosen]:
            self._take_out(request)
        self._trim_parked(len(chosen))
        # who runs is preempted by vLLM from the end when blocks run out; who waits is admitted from
        # the front
        self.running.sort(key=self.place)
        line = sorted(self.waiting, key=self.place)
        self.waiting.clear()
        self.waiting.extend(line)

    def _is_ready(self, request: Request) -> bool:
        """Whether it could run now; under a pause only who holds blocks may."""
        if self.pause_state != PauseState.UNPAUSED and request not in self.kv_holding_waiting:
            return False
        return bool(self._handle_blocked_waiting_request(request))

    def _fits(self, jobs: list[LiveJob]) -> bool:
        """Whether they fit memory together, as far as the last step's refusal tells."""
        refused = self.refused
        if refused is None or len(jobs) <= refused.beside:
            return True
        return all(job.request_id != refused.request_id for job in jobs)

    def _take_out(self, request: Request) -> None:
        if self.settings.preemption == "parked":
            self.park(request)
        else:
            self.evict(request)

    def _trim_parked(self, running: int) -> None:
        """The second model runner has a slot for each request that runs or is parked, and
        `max_num_seqs` of them.
        """
        while (
            self.use_v2_model_runner
            and self.parked
            and len(self.parked) + running > self.max_num_running_reqs
        ):
            self.evict(max(self.parked, key=self.place))

    # ---- when something fails

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Whatever goes wrong within is not the engine's end, but the policy's."""
        try:
            yield
        except Exception:
            logger.exception(
                "lapsd: scheduling by policy failed: from here on vLLM schedules as it does without"
            )
            self.active = False
            for request in list(self.parked):
                self.evict(request)


class AsyncLapsdScheduler(LapsdScheduler, AsyncScheduler):
    """The same where vLLM schedules the next step while the last one runs, as it does on GPUs.

    A decision then knows of all steps but the one under way.
    """
