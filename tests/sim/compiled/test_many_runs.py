"""Several runs in one call equal the same runs one at a time, whatever a policy keeps."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest

import lapsd
from lapsd.policies import FCFS, Event, Policy, parse_policy
from lapsd.sim.engine import Capacity, Run, simulate, simulate_many

TRACE = lapsd.load_trace("reference").split(0)[1]
PRICED = lapsd.price(TRACE, lapsd.load_profile("reference"))
CONTEXT = lapsd.policy_context(PRICED)
OPEN = lapsd.Arrivals(load=1.1)
CLOSED = lapsd.Arrivals(clients=3, think_s=0.01)


def drawn(arrivals=OPEN, sizes=(12, 5, 12, 1)):
    return [
        lapsd.draw_workload(PRICED, requests=n, seed=seed, arrivals=arrivals)
        for seed, n in enumerate(sizes)
    ]


@dataclass(frozen=True)
class CountsArrivals(Policy):
    """A policy that keeps a list of the arrivals of the run."""

    seen: list[int] = field(default_factory=list)

    @dataclass
    class State:
        place: int = 0

    def bind(self, context):
        return replace(self, seen=[])

    def on_arrival(self, job):
        self.seen.append(job.predicted_tokens)
        job.state.place = job.predicted_tokens if len(self.seen) <= 12 else -job.predicted_tokens

    def rank(self, job, now_ns):
        return (job.state.place,)


@dataclass(frozen=True)
class CountsRounds(Policy):
    """A policy that writes to an array of its own after each round."""

    served: Any = None

    def bind(self, context):
        return replace(self, served=np.zeros(1, dtype=np.int64))

    def on_round(self, job, now_ns):
        self.served[0] += 1
        job.queue = 2 if self.served[0] < 200 else 1

    def rank(self, job, now_ns):
        return (job.queue,)


@dataclass(frozen=True)
class CountsEvents(Policy):
    """A policy that reverses its order after some completions."""

    done: Any = None

    def bind(self, context):
        return replace(self, done=np.zeros(1, dtype=np.int64))

    def on_event(self, event: Event) -> bool:
        self.done[0] += event.kind == "completion"
        return event.kind == "completion"

    def rank(self, job, now_ns):
        return (job.arrival_ns if self.done[0] < 6 else -job.arrival_ns,)


BUNDLED = ("fcfs", "laps-sd", "laps-sd:K=2,gamma=2", "tie", "kernel-gittins", "srpt", "alise")


def equal(one: Run, other: Run) -> bool:
    """Whether two runs are the same but for the policy object."""
    names = [f.name for f in fields(Run) if f.name != "policy"]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("arrivals", [OPEN, CLOSED], ids=["open", "closed"])
@pytest.mark.parametrize("batch", [1, 3])
def test_many_runs_equal_one_at_a_time(arrivals, batch):
    own = [CountsArrivals(), CountsRounds(), CountsEvents()]
    policies = [*own, *map(parse_policy, BUNDLED)]
    pairs = [(w, p) for w in drawn(arrivals) for p in policies]
    capacity = Capacity(batch)
    together = simulate_many(
        [w for w, _ in pairs], [p for _, p in pairs], [CONTEXT] * len(pairs), capacity, "compiled"
    )
    for (workload, policy), run in zip(pairs, together, strict=True):
        for engine in ("compiled", "simpy"):
            alone = simulate(workload, policy, context=CONTEXT, capacity=capacity, engine=engine)
            assert equal(run, alone), (policy, len(workload), engine)


@pytest.mark.parametrize("policy", [CountsArrivals(), CountsRounds(), CountsEvents()], ids=repr)
def test_what_a_policy_learns_in_a_run_ends_with_the_run(policy):
    """Also if `bind` returns the policy itself, whose lists and arrays change during a run."""
    (workload, *_) = drawn()
    first, second = simulate_many(
        [workload] * 2, [policy] * 2, [CONTEXT] * 2, Capacity(), "compiled"
    )
    assert equal(first, second)
    kept = type("Kept", (type(policy),), {"bind": lambda self, context: self})
    bound = kept(**vars(policy.bind(CONTEXT)))
    runs = [simulate(workload, bound, context=CONTEXT, engine="simpy") for _ in range(2)]
    assert equal(*runs)


def test_a_policy_in_which_nothing_changes_is_bound_once_per_context():
    calls = []

    class Bound(FCFS):
        def bind(self, context):
            calls.append(context)
            return self

    policy, other = Bound(), replace(CONTEXT, batch_slots=2)
    for context in (CONTEXT, CONTEXT, other):
        simulate_many(drawn(), [policy] * 4, [context] * 4, Capacity(), "compiled")
    assert calls == [CONTEXT, other]
