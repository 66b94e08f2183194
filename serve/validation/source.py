"""Requests for live runs: a recorded trace and the prompts of its requests.

Live runs decode with the draft length, temperature, seed and cap of the recording; each request has
the same random numbers as in the recording. Knows nothing of engines.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lapsd.policies import Policy
from lapsd.policies.kv_slots import KVSlots
from lapsd.serve.plan import Plan, PlannedRequest, importable_spec
from lapsd.sim.experiment import PreparedScenario
from lapsd.traces import Trace, Workload

CAP = 512  # new tokens per request, if the trace does not record the cap


@dataclass(frozen=True, eq=False)
class Source:
    """Requests that a real engine can serve.

    Attributes
    ----------
    trace : Trace
        The requests whose prompts are available.
    prompts : mapping of data set and request id to token ids
    streams : mapping of data set and request id to the key of the request's random numbers
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
        """Return the requests of a trace whose prompts are among `texts`.

        Parameters
        ----------
        texts : (data set, request id, text) of each prompt.
        name : the name of the trace, for messages.

        Raises
        ------
        ValueError
            If the trace has several draft lengths, or fewer than two of its requests have a prompt
            of the recorded length.
        """
        if len(set(trace.drafted.tolist())) > 1:
            raise ValueError(f"trace {name}: has several draft lengths: a live run has one")
        rows = {key: i for i, key in enumerate(zip(trace.dataset, trace.request_id, strict=True))}
        prompts: dict[tuple[str, str], list[int]] = {}
        for dataset, request_id, text in texts:
            row = rows.get((dataset, request_id))
            if row is not None and len(ids := tokenize(text)) == trace.prompt_tokens[row]:
                prompts[dataset, request_id] = ids
        kept = sorted(rows[key] for key in prompts if len(prompts[key]) > 1)
        if len(kept) < 2:
            raise ValueError(
                f"trace {name}: prompts of {len(kept)} of its {len(trace)} requests are available:"
                " at least 2 are needed"
            )
        return cls(trace.take(kept), prompts, {key: rows[key] for key in prompts})

    @property
    def draft_tokens(self) -> int:
        """Draft tokens of every round."""
        return int(self.trace.drafted[0])

    @property
    def temperature(self) -> float:
        """Temperature of sampling; 0: greedy."""
        return float(self.trace.provenance.notes.get("temperature", 0.0))

    def planned_request(
        self, trace: Trace, row: int, arrival_ns: int, predicted_tokens: int
    ) -> PlannedRequest:
        """Return a row of the trace, or of a part of it, as a request of a plan."""
        key = (trace.dataset[row], trace.request_id[row])
        cap = int(self.trace.provenance.notes.get("max_new_tokens", CAP))
        return PlannedRequest(
            key[1], key[0], arrival_ns, self.prompts[key], predicted_tokens, cap, self.streams[key]
        )

    def plan(
        self, prepared: PreparedScenario, workload: Workload, policy: Policy, clock: str
    ) -> Plan:
        """Return the plan of a workload under a policy, without true values."""
        columns = (
            workload.rows.tolist(),
            workload.arrival_ns.tolist(),
            workload.predicted_tokens.tolist(),
        )
        requests = [
            self.planned_request(workload.priced.trace, *row) for row in zip(*columns, strict=True)
        ]
        return self._plan(
            prepared,
            requests,
            policy=importable_spec(policy),
            clock=clock,
            context=prepared.context,
            profile=None if policy.drafts is None else prepared.profile,
        )

    def calibration(
        self,
        prepared: PreparedScenario,
        rows: Sequence[int],
        policy: Policy,
        batch: int,
        draft_tokens: int,
    ) -> Plan:
        """Return the plan of a calibration.

        Requests of the training half arrive at once and run in batches of size `batch`, with
        `draft_tokens` draft tokens in each round.
        """
        train = prepared.trace.split(prepared.scenario.split_seed)[0]
        requests = [
            self.planned_request(train, row, 0, int(train.output_tokens[row])) for row in rows
        ]
        limited = prepared.scenario.capacity.slots or prepared.scenario.kv_tokens
        slots: KVSlots = batch if limited else "unlimited"
        return self._plan(
            prepared,
            requests,
            policy=importable_spec(policy),
            clock="busy",
            context=prepared.context,
            batch=batch,
            kv_slots=slots,
            kv_tokens=None,
            draft_tokens=draft_tokens,
        )

    def _plan(
        self, prepared: PreparedScenario, requests: list[PlannedRequest], **more: object
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
        return Plan(requests, **(whole | more))  # type: ignore[arg-type]
