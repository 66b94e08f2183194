"""The equivalence of the compiled loop and the specification: its cases, and comparisons."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lapsd import Capacity, Run, simulate
from lapsd.policies import (
    FCFS,
    LAS,
    LPSJF,
    LPSRPT,
    POLICIES,
    Alise,
    AMin,
    FastServe,
    Gittins,
    KernelGittins,
    KernelGittinsOnline,
    LapsSD,
    LapsSDAdapted,
    Policy,
    RoundRobin,
)
from lapsd.sim.engine.compiled.policy import NotCompilable
from lapsd.sim.engine.memory import EVICTIONS
from lapsd.sim.engine.run_record import COLUMNS
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.traces import Workload, load_profile, load_trace
from tests.builders import context, workloads
from tests.capacities import EVERY, OFFLOADING, capacities
from tests.sim.bridge import bridged_runs


@dataclass(frozen=True)
class QueuesByLoad(Policy):
    """A policy whose number of queues follows the load: one queue for few active requests, else
    three.
    """

    few: int = 2
    active: np.ndarray = field(
        default_factory=lambda: np.zeros(1, np.int64), compare=False, metadata={"bound": True}
    )

    def bind(self, context):
        return replace(self, active=np.zeros(1, np.int64))

    @property
    def queues(self):
        return 1 if self.active[0] <= self.few else 3

    def rank(self, job, now_ns):
        return (min(job.rounds // 2 + 1, self.queues), job.predicted_tokens)

    def on_event(self, event):
        queues = self.queues
        self.active[0] += 1 if event.kind == "arrival" else -1
        return self.queues != queues


@dataclass(frozen=True)
class EventRecorder(Policy):
    """Last come, first served; records every arrival and completion with the state of the
    request.
    """

    seen: list[tuple[Any, ...]] = field(default_factory=list, metadata={"bound": True})

    def rank(self, job, now_ns):
        return (-job.index,)

    def on_event(self, event):
        kind, job, now_ns = event
        self.seen.append(
            (
                kind,
                job.index,
                now_ns,
                job.running,
                job.started,
                job.rounds,
                job.tokens,
                job.service_ns,
            )
        )
        return False


@st.composite
def policies(draw, predictable=False):
    """Policies with any parameters.

    With `predictable`, only policies that predict remaining times or rank changes for the memory
    manager.
    """
    queues = {
        "K": draw(st.integers(1, 5)),
        "M": draw(st.sampled_from([1.5, 2.0, 4.0])),
        "age_s": draw(st.sampled_from([None, None, 1e-9, 5e-6, 1e-4])),
    }
    stability = {
        "gamma": draw(st.integers(1, 4)),
        "delta": draw(st.sampled_from([0.0, 0.05, 0.2, 1.0])),
        "follow": draw(st.booleans()),
        "order": draw(st.sampled_from(["remaining", "total"])),
        "perceptible_first": draw(st.booleans()),
        "preempt": draw(st.booleans()),
        "overrun": draw(st.sampled_from([1.0, 1.5])),
        "stability": draw(st.sampled_from(["range", "sd", "window", "posterior"])),
        "count": draw(st.sampled_from([0, 0, 0, 2])),
        "switch_penalty": draw(st.sampled_from([0.0, 0.0, 1.0])),
    }
    alise = Alise(
        **queues, overrun=stability["overrun"], model=draw(st.sampled_from(["published", "exact"]))
    )
    fastserve = FastServe(
        quantum_ms=draw(st.sampled_from([1e-5, 1e-3, 0.01])),
        levels=draw(st.integers(1, 6)),
        starve_s=draw(st.sampled_from([None, 1e-9, 5e-6, 1e-4])),
    )
    if predictable:
        return draw(
            st.sampled_from([alise, alise, fastserve, LAS(**queues), LapsSD(**queues, **stability)])
        )
    kernel = {
        "index": draw(st.sampled_from(["gittins", "mean"])),
        "switch_penalty": draw(st.sampled_from([0.0, 1.0, 3.0])),
        "age_weight": draw(st.sampled_from([0.0, 0.0, 0.5])),
    }
    srpt = LPSRPT(draw(st.sampled_from([None, 0.0, 0.5, 1.0])), draw(st.sampled_from([0.0, 1.0])))
    varied_policies = [
        alise,
        fastserve,
        QueuesByLoad(draw(st.integers(0, 4))),
        RoundRobin(draw(st.integers(1, 4))),
        LAS(**queues),
        LAS(**queues),
        LapsSD(**queues, **stability),
        LapsSD(**queues, **stability),
        LapsSD(**queues),
        KernelGittins(**kernel),
        KernelGittins(**kernel),
        KernelGittinsOnline(**kernel, known=draw(st.sampled_from([0, None]))),
        srpt,
        srpt,
        AMin(draw(st.sampled_from([0.0, 0.5]))),
        LapsSDAdapted(rule=draw(st.sampled_from(["present", "quantiles", "both"]))),
    ]
    default_policies = [
        kind() for kind in POLICIES.values() if kind not in map(type, varied_policies)
    ]
    return draw(st.sampled_from([*default_policies, *varied_policies]))


@st.composite
def cases(draw, managers=EVERY, max_requests=12, prefills=("alone", "batched")):
    """A workload, a policy, and a capacity with little memory, if memory is limited."""
    predictable = managers == OFFLOADING and draw(st.booleans())
    work, policy = (
        draw(workloads(max_requests=max_requests, closed=True)),
        draw(policies(predictable)),
    )
    return work, policy, draw(capacities(work, managers, prefills))


@st.composite
def one_at_a_time(draw):
    """A workload, a policy, and a server of batch size 1 with KV slots."""
    work, policy = draw(workloads(closed=True)), draw(policies())
    slots, evict = (
        draw(st.sampled_from([1, 1, 2, "unlimited"])),
        draw(st.sampled_from(sorted(EVICTIONS))),
    )
    return (
        work,
        policy,
        Capacity(1, slots, evict=evict, prefill=draw(st.sampled_from(["alone", "batched"]))),
    )


def compiled_equals_specification(
    work: Workload, policy: Policy, capacity: Capacity, check: bool = False
) -> bool:
    """Return whether the compiled loop gives the same run as the specification.

    With `check` the specification checks its invariants.
    """
    past = context(work.priced)
    wanted = simulate(work, policy, context=past, capacity=capacity, engine="simpy", check=check)
    return equal_runs(wanted, compiled_run(work, policy, capacity))


def compiled_run(work: Workload, policy: Policy, capacity: Capacity) -> Run:
    """Return the run by the compiled loop, which calls Python for policies that do not compile."""
    past = context(work.priced)
    try:
        return simulate(work, policy, context=past, capacity=capacity, engine="compiled")
    except NotCompilable:
        [found] = bridged_runs([work], [policy.bind(past)], capacity, past)
        return found


def equal_runs(one: Run, other: Run) -> bool:
    """Return whether two runs are equal to the nanosecond."""
    columns = ("arrival_ns", *COLUMNS)
    return all(np.array_equal(getattr(one, c), getattr(other, c)) for c in columns) and (
        (one.rounds, one.idle_ns, one.end_ns) == (other.rounds, other.idle_ns, other.end_ns)
    )


def events(work: Workload, capacity: Capacity, engine: str) -> list[tuple[Any, ...]]:
    """Return the arrivals and completions that a policy in Python sees."""
    policy = EventRecorder()
    if engine == "simpy":
        past = context(work.priced)
        run = simulate(work, policy, context=past, capacity=capacity, engine=engine)
        return run.policy.seen
    bridged_runs([work], [policy], capacity)
    return policy.seen


def equal_with_real_lengths(
    policy: Policy, batch: int, fit: float, seed: int = 0, **scenario: Any
) -> bool:
    """Return whether the compiled loop equals the specification with Azure's lengths.

    Memory suffices for `fit` requests of mean length.
    """
    trace, profile = load_trace("azure-conversations"), load_profile("opt-13b-a100")
    lengths = trace.prompt_tokens + trace.output_tokens
    tokens = max(int(lengths.mean() * fit), int(lengths.max()) + 200)
    prepared = PreparedScenario.of(
        trace, profile, batch=batch, kv_tokens=tokens, length_predictor="noisy:0.5", **scenario
    )
    work, capacity = prepared.workload(seed), prepared.scenario.capacity
    wanted, found = (
        simulate(work, policy, context=prepared.context, capacity=capacity, engine=engine)
        for engine in ("simpy", "compiled")
    )
    return equal_runs(wanted, found)


@st.composite
def real_scenarios(draw):
    """Scenarios with little memory and requests of real lengths."""
    batch, manager = (
        draw(st.integers(1, 16)),
        draw(st.sampled_from(["tokens", "reserve", "paged", *OFFLOADING])),
    )
    parameters = {
        "paged": st.sampled_from(["", ":park=true", ":block=1"]),
        "alise": st.sampled_from(["", ":overlap=false", ":high=0.6+low=0.3", ":int8=all"]),
    }
    asynchronous = manager in OFFLOADING
    return {
        "policy": draw(
            st.sampled_from(
                [
                    FCFS(),
                    Alise(),
                    Alise(age_s=2.0),
                    FastServe(quantum_ms=200),
                    LapsSD(),
                    LAS(),
                    Gittins(),
                    LPSJF(),
                    LPSRPT(),
                    AMin(),
                ]
            )
        ),
        "batch": batch,
        "fit": batch * draw(st.sampled_from([0.7, 1.0, 1.3])),
        "requests": draw(st.integers(20, 80)),
        "load": draw(st.sampled_from([0.7, 1.0, 1.5])),
        "seed": draw(st.integers(0, 99)),
        "memory": manager + draw(parameters.get(manager, st.just(""))),
        "evict": "swap" if asynchronous else draw(st.sampled_from(["swap", "recompute"])),
        "prefill": draw(
            st.sampled_from(
                ["alone", "batched"] if asynchronous else ["batched", "mixed", "chunked"]
            )
        ),
    }
