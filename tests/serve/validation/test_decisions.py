"""Given the durations of a live run, the simulator reproduces it; differences are named."""

from dataclasses import replace

import pytest

from lapsd.policies import POLICIES
from lapsd.policies.decision import Decisions
from lapsd.serve.own.engine import OwnEngine
from lapsd.serve.validation.decisions import Divergence, replay
from lapsd.serve.validation.simulated import with_true_values
from lapsd.traces import Profile
from tests.calibrate.tiny import tiny_pair
from tests.serve.plans import plan

MEMORY = {
    "b = 1, one slot": {"batch": 1, "kv_slots": 1},
    "b = 1, no limit": {"batch": 1, "kv_slots": "unlimited"},
    "b = 4, no limit": {"batch": 4, "kv_slots": "unlimited"},
    "b = 4, five slots": {"batch": 4, "kv_slots": 5, "evict": "recompute"},
    "b = 4, few tokens": {"batch": 4, "kv_slots": "unlimited", "kv_tokens": 150},
}


@pytest.fixture(scope="module")
def engine():
    return OwnEngine(tiny_pair(0.05))


@pytest.fixture(scope="module")
def plan_with_true_values(engine):
    """A plan that also holds the true values for clairvoyant policies."""
    wanted = plan(7, most=16)
    return with_true_values(wanted, engine.serve(wanted), Profile.constant(1, 3))


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_simulator_reproduces_every_live_run(engine, plan_with_true_values, policy, memory):
    """All decisions and times are equal.

    In float64: the true values come from another live run, which must have the same outputs.
    """
    wanted = replace(plan_with_true_values, policy=policy, **MEMORY[memory])
    record = engine.serve(wanted)
    run = replay(wanted, record)
    assert run.latency_ns.tolist() == [result.latency_ns for result in record.by_index.values()]


class RunningFirstRemoved(Decisions):
    def order(self, now_ns):
        return lambda job: (self.policy.rank(job, now_ns), job.entered_ns, -job.index)


class AgainstTheRank(Decisions):
    def order(self, now_ns):
        return lambda job: (tuple(-part for part in self.policy.rank(job, now_ns)), job.index)


class HalfOfARound(Decisions):
    def commit(self, job, emitted, round_ns, now_ns):
        super().commit(job, emitted, round_ns // 2, now_ns)


def skipping_requests_that_do_not_fit(ordered, batch_slots, fits):
    chosen = []
    for job in ordered:
        if len(chosen) < batch_slots and fits([*chosen, job]):
            chosen.append(job)
    return chosen


MUTANTS = {
    "running requests are not first at equal ranks": (
        "Decisions",
        RunningFirstRemoved,
        "rr:quantum=1000",
    ),
    "the highest rank is first": ("Decisions", AgainstTheRank, "las-round"),
    "a request that does not fit is skipped": ("choose", skipping_requests_that_do_not_fit, "fcfs"),
    "the policy sees half of a round": ("Decisions", HalfOfARound, "las-round"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_wrong_decisions_of_the_live_server_are_found(
    engine, plan_with_true_values, monkeypatch, mutant
):
    name, wrong, policy = MUTANTS[mutant]
    wanted = replace(
        plan_with_true_values, policy=policy, batch=3, kv_slots="unlimited", kv_tokens=100
    )
    replay(wanted, engine.serve(wanted))
    monkeypatch.setattr(f"lapsd.serve.own.server.{name}", wrong)
    record = engine.serve(wanted)
    with pytest.raises(Divergence, match=r"^(decision \d+|request \d+|the simulator is done)"):
        replay(wanted, record)


def changed(record, at, **values):
    steps = list(record.steps)
    steps[at] = replace(steps[at], **values)
    return replace(record, steps=steps)


def test_the_first_difference_is_named(engine, plan_with_true_values):
    wanted = replace(plan_with_true_values, policy="rr:quantum=2", batch=1, kv_slots=1)
    record = engine.serve(wanted)
    at = next(i for i, step in enumerate(record.steps) if step.transfers)
    first = record.results[0]
    wrong = {
        "decision 3 at": changed(record, 3, running=[5]),
        "decision 4 at": changed(record, 3, round_ns=record.steps[3].round_ns + 1),
        f"decision {at}, KV transfer 0: the simulator does a swap out; the live run does none": (
            changed(record, at, transfers=[])
        ),
        f"request {first.index}: preemptions is": replace(
            record, results=[replace(first, preemptions=99), *record.results[1:]]
        ),
        "idle_ns is": replace(record, idle_ns=record.idle_ns + 1),
        "had ended": replace(record, steps=record.steps[:-1]),
    }
    for message, tampered in wrong.items():
        with pytest.raises(Divergence) as error:
            replay(wanted, tampered)
        assert message in str(error.value)


def test_an_interrupted_run_is_not_replayed(engine, plan_with_true_values):
    record = engine.serve(plan_with_true_values)
    with pytest.raises(ValueError, match="was interrupted after 6"):
        replay(plan_with_true_values, replace(record, results=record.results[:-1]))
