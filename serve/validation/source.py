"""What can be served for real: a recorded trace and the prompts of its requests, as the trace was
recorded.

Live runs decode with the draft length, temperature, seed and cap of the recording, each request
with the random numbers it had there. Knows nothing of engines.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lapsd.policies import Policy
from lapsd.policies.spec import spec_of
from lapsd.serve.plan import Plan, PlannedRequest
from lapsd.sim.experiment import PreparedScenario
from lapsd.traces import Trace, Workload

CAP = 512  # new tokens, where a trace does not say


@dataclass(frozen=True, eq=False)
class Source:
    """Requests that can be served for real.

    Attributes
    ----------
    trace : Trace
        Of those whose prompts are there.
    prompts : mapping of a request's data set and id to token ids
    streams : mapping of the same to the key of its random numbers
    """

    trace: Trace
    prompts: dict[tuple[str, str], list[int]]
    streams: dict[tuple[str, str], int]

    @classmethod
    def of(
        cls,
        trace: Trace,
        texts: Iterable[tuple[str, str, str]],
        tokenize: Callable[[str], list[int]],
        name: str,
    ) -> "Source":
        """From a trace and (data set, request id, text) of prompts.

        Parameters
        ----------
        name : the trace's, for messages.

        Raises
        ------
        ValueError
            If the trace holds draft lengths of several kinds, or none of its requests has a prompt
            of its length.
        """
        if len(set(trace.drafted.tolist())) > 1:
            raise ValueError(f"trace {name}: its draft lengths differ, and a live run has one")
        rows = {key: i for i, key in enumerate(zip(trace.dataset, trace.request_id, strict=True))}
        prompts: dict[tuple[str, str], list[int]] = {}
        for dataset, request_id, text in texts:
            row = rows.get((dataset, request_id))
            if row is not None and len(ids := tokenize(text)) == trace.prompt_tokens[row]:
                prompts[dataset, request_id] = ids
        kept = sorted(rows[key] for key in prompts if len(prompts[key]) > 1)
        if len(kept) < 2:
            raise ValueError(
                f"trace {name}: the prompts of {len(kept)} of its {len(trace)} requests are here, 2"
                " are needed"
            )
        return cls(trace.take(kept), prompts, {key: rows[key] for key in prompts})

    @property
    def draft_tokens(self) -> int:
        """Of every round."""
        return int(self.trace.drafted[0])

    @property
    def temperature(self) -> float:
        """Of sampling."""
        return float(self.trace.provenance.notes.get("temperature", 0.0))

    def planned(
        self, trace: Trace, row: int, arrival_ns: int, predicted_tokens: int
    ) -> PlannedRequest:
        """A row of (a part of) the trace as a request."""
        key = (trace.dataset[row], trace.request_id[row])
        cap = int(self.trace.provenance.notes.get("max_new_tokens", CAP))
        return PlannedRequest(
            key[1], key[0], arrival_ns, self.prompts[key], predicted_tokens, cap, self.streams[key]
        )

    def plan(
        self, prepared: PreparedScenario, workload: Workload, policy: Policy, clock: str
    ) -> Plan:
        """A workload of a stage under a policy; without the truth."""
        columns = (
            workload.rows.tolist(),
            workload.arrival_ns.tolist(),
            workload.predicted_tokens.tolist(),
        )
        planned = [self.planned(workload.priced.trace, *row) for row in zip(*columns, strict=True)]
        return self._plan(
            prepared, planned, policy=spec_of(policy), clock=clock, context=prepared.context
        )

    def calibration(
        self, prepared: PreparedScenario, rows: Sequence[int], policy: Policy, batch: int
    ) -> Plan:
        """Requests of the half that no workload is drawn from, all at once, in batches of another
        size.
        """
        past = prepared.trace.split(prepared.scenario.split_seed)[0]
        planned = [self.planned(past, row, 0, int(past.output_tokens[row])) for row in rows]
        slots = (
            batch if prepared.scenario.capacity.kv_slots or prepared.scenario.kv_tokens else None
        )
        return self._plan(
            prepared,
            planned,
            policy=spec_of(policy),
            clock="busy",
            context=prepared.context,
            batch=batch,
            kv_slots=slots,
            kv_tokens=None,
        )

    def _plan(
        self, prepared: PreparedScenario, planned: list[PlannedRequest], **more: object
    ) -> Plan:
        capacity, known = prepared.scenario.capacity, self.trace.provenance
        whole: dict[str, object] = {
            "batch": capacity.batch,
            "kv_slots": capacity.kv_slots,
            "kv_tokens": capacity.kv_tokens,
            "evict": capacity.evict,
            "draft_tokens": self.draft_tokens,
            "temperature": self.temperature,
            "seed": int(known.notes.get("seed", 0)),
            "target": known.target.name if known.target else "",
            "draft": known.draft.name if known.draft else "",
        }
        return Plan(planned, **(whole | more))  # type: ignore[arg-type]
