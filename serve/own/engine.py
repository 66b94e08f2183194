"""The project's own engine: a pair of models that serves plans one after another.

The plans use the same KV memory.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from lapsd.calibrate import Pair, Sampling
from lapsd.calibrate.decoding.replayable import replayable
from lapsd.calibrate.stamp import stamp
from lapsd.policies import parse_policy
from lapsd.policies.kv_slots import slot_limit
from lapsd.serve.own.probe import Probe
from lapsd.serve.own.rows import Rows
from lapsd.serve.own.server import Server
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.sim.engine import Capacity
from lapsd.traces import Profile

# costs for the memory manager: the server measures KV transfers, so the manager adds no time
FREE = Profile.constant(draft_ms=0, verify_ms=1).costs


class OwnEngine:
    """Serves plans with a pair of models.

    KV memory and captured rounds are reused by the next run if they are large enough.
    """

    name = "own"

    def __init__(self, pair: Pair, command: str = "") -> None:
        self.pair, self.weights, self.provenance = pair, pair.weights, stamp(pair, command)
        self._rows: dict[int, Rows] = {}

    def interleaves(self, clock: str, kv_tokens: int | None) -> bool:
        """See `lapsd.serve.engine.Engine`; calibration plans have their own KV memory."""
        return clock == "busy"

    def serve(self, plan: Plan, interleaved: Sequence[Plan] = ()) -> Record:
        """See `lapsd.serve.engine.Engine`.

        Raises
        ------
        ValueError
            If the plan names other models, a request exceeds the context of the models or
            `kv_tokens`, the policy is clairvoyant and the plan does not hold the true values, or a
            draft policy needs to know what no server knows.
        """
        for one in (plan, *interleaved):
            self._check(one)
        if not interleaved:
            return self._with_acceptance(plan, self._server(plan).serve())
        probe = Probe([partial(self._server, other, i) for i, other in enumerate(interleaved, 1)])
        record = self._with_acceptance(plan, self._server(plan).serve(probe))
        return replace(record, interleaved=probe.finish()) if record.complete else record

    def _with_acceptance(self, plan: Plan, record: Record) -> Record:
        """Return a complete record with `accept_prob` if a draft policy chose the draft lengths."""
        if parse_policy(plan.policy).drafts is None or not record.complete:
            return record
        results = []
        for result in record.results:
            prompt = list(plan.requests[result.index].prompt)
            columns = replayable(self.pair, prompt, list(result.tokens), plan.temperature)
            results.append(replace(result, accept_prob=columns.accept_prob))
        return replace(record, results=results)

    def _server(self, plan: Plan, memory: int = 0) -> Server:
        """Return the server of one run, which uses the KV memory of that number."""
        capacity = Capacity(plan.batch, plan.kv_slots, plan.kv_tokens, plan.evict)
        return Server(
            plan, plan.bound_policy(), capacity.memory(FREE), self._rows_for(plan, memory)
        )

    def _check(self, plan: Plan) -> None:
        pair, most = self.pair, plan.longest_draft
        if (plan.target, plan.draft) != (pair.target_name, pair.draft_name):
            raise ValueError(
                f"models {plan.target} + {plan.draft}: the engine runs {pair.target_name} +"
                f" {pair.draft_name}"
            )
        for i, request in enumerate(plan.requests):
            need = len(request.prompt) + request.max_new_tokens + most + 1
            if len(request.prompt) < 2:
                raise ValueError(
                    f"request {i} ({request.request_id}): the prompt must have at least two tokens"
                )
            if need > pair.context:
                raise ValueError(
                    f"request {i} ({request.request_id}): prompt, output and draft tokens may take"
                    f" {need} tokens, but the context of the models is {pair.context}"
                )
            if plan.kv_tokens is not None and need > plan.kv_tokens:
                raise ValueError(
                    f"kv_tokens {plan.kv_tokens}: request {i} ({request.request_id}) may never fit:"
                    f" prompt, output and draft tokens may take {need} tokens"
                )

    def _rows_for(self, plan: Plan, memory: int) -> Rows:
        """Return the KV memory of this number if it is large enough for a plan, else a new one."""
        longest = (
            max(len(r.prompt) + r.max_new_tokens for r in plan.requests) + plan.longest_draft + 1
        )
        rows = max(
            plan.batch,
            min(len(plan.requests), slot_limit(plan.kv_slots, plan.batch) or len(plan.requests)),
        )
        sampling, held = Sampling(plan.temperature, plan.seed), self._rows.get(memory)
        fits = held is not None and (
            held.sampling == sampling
            and held.rows >= rows
            and held.capacity >= longest
            and held.batch >= plan.batch
        )
        if held is None or not fits:
            self._rows.pop(memory, None)  # free it before the new one is allocated
            held = Rows(self.pair, sampling, rows=rows, capacity=longest, batch=plan.batch)
            self._rows[memory] = held
        held.clear()
        return held
