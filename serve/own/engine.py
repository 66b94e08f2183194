"""Our engine as validation sees it: a pair of models that serves plan after plan in the same KV
memory.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from lapsd.calibrate import Pair, Sampling
from lapsd.calibrate.stamp import stamp
from lapsd.serve.own.probe import Probe
from lapsd.serve.own.rows import Rows
from lapsd.serve.own.server import Server
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.sim.engine import Capacity
from lapsd.traces import Profile

FREE = Profile.constant(
    draft_ms=0, verify_ms=1
).costs  # moves take what they take: the server measures it


class OwnEngine:
    """Serves plans with a pair of models; KV memory and captured rounds stay from run to run where
    they fit.
    """

    name = "own"

    def __init__(self, pair: Pair, command: str = "") -> None:
        self.pair, self.weights, self.provenance = pair, pair.weights, stamp(pair, command)
        self._rows: dict[int, Rows] = {}

    def interleaves(self, clock: str, kv_tokens: int | None) -> bool:
        """See `lapsd.serve.engine.Engine`; calibration has memory of its own."""
        return clock == "busy"

    def serve(self, plan: Plan, interleaved: Sequence[Plan] = ()) -> Record:
        """See `lapsd.serve.engine.Engine`.

        Raises
        ------
        ValueError
            If the plan names other models, a request is longer than the models' context or what may
            be in memory, or a clairvoyant policy is not told the truth.
        """
        for one in (plan, *interleaved):
            self._check(one)
        if not interleaved:
            return self._server(plan).serve()
        probe = Probe([partial(self._server, other, i) for i, other in enumerate(interleaved, 1)])
        record = self._server(plan).serve(probe)
        return replace(record, interleaved=probe.finish()) if record.complete else record

    def _server(self, plan: Plan, memory: int = 0) -> Server:
        """For one run, in one of the KV memories."""
        capacity = Capacity(plan.batch, plan.kv_slots, plan.kv_tokens, plan.evict)
        return Server(
            plan, plan.bound_policy(), capacity.memory(FREE), self._rows_for(plan, memory)
        )

    def _check(self, plan: Plan) -> None:
        pair = self.pair
        if (plan.target, plan.draft) != (pair.target_name, pair.draft_name):
            raise ValueError(
                f"models {plan.target} + {plan.draft}: the engine runs {pair.target_name} +"
                f" {pair.draft_name}"
            )
        for i, planned in enumerate(plan.requests):
            need = len(planned.prompt) + planned.max_new_tokens + plan.draft_tokens + 1
            if len(planned.prompt) < 2:
                raise ValueError(
                    f"request {i} ({planned.request_id}): a prompt of at least two tokens is needed"
                )
            if need > pair.context:
                raise ValueError(
                    f"request {i} ({planned.request_id}): prompt, output and look-ahead may take"
                    f" {need} tokens, but the models' context is {pair.context}"
                )
            if plan.kv_tokens is not None and need > plan.kv_tokens:
                raise ValueError(
                    f"kv_tokens {plan.kv_tokens}: request {i} ({planned.request_id}) may never fit:"
                    f" prompt, output and look-ahead may take {need} tokens"
                )

    def _rows_for(self, plan: Plan, memory: int) -> Rows:
        """KV memory for a plan: the one of that number, where it is large enough."""
        longest = (
            max(len(a.prompt) + a.max_new_tokens for a in plan.requests) + plan.draft_tokens + 1
        )
        rows = max(plan.batch, min(len(plan.requests), plan.kv_slots or len(plan.requests)))
        sampling, held = Sampling(plan.temperature, plan.seed), self._rows.get(memory)
        fits = held is not None and (
            (held.n, held.sampling) == (plan.draft_tokens, sampling)
            and held.rows >= rows
            and held.capacity >= longest
            and held.batch >= plan.batch
        )
        if held is None or not fits:
            self._rows.pop(memory, None)  # before as much is taken again
            held = Rows(
                self.pair,
                plan.draft_tokens,
                sampling,
                rows=rows,
                capacity=longest,
                batch=plan.batch,
            )
            self._rows[memory] = held
        held.clear()
        return held
