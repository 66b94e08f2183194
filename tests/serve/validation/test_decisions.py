"""Fed with a live run's own durations, the simulator gives that run back; wrong decisions are found
out, by name.
"""

from dataclasses import replace

import pytest

import lapsd.serve.own.server as live
from lapsd.policies import POLICIES
from lapsd.serve.own.engine import OwnEngine
from lapsd.serve.validation.decisions import Divergence, replay
from lapsd.serve.validation.simulated import told_the_truth
from lapsd.traces import Profile
from tests.calibrate.tiny import tiny_pair
from tests.serve.plans import plan

MEMORY = {
    "b = 1, one slot": {"batch": 1, "kv_slots": 1},
    "b = 1, no limit": {"batch": 1, "kv_slots": None},
    "b = 4, no limit": {"batch": 4, "kv_slots": None},
    "b = 4, five slots": {"batch": 4, "kv_slots": 5, "evict": "recompute"},
    "b = 4, few tokens": {"batch": 4, "kv_slots": None, "kv_tokens": 150},
}


@pytest.fixture(scope="module")
def engine():
    return OwnEngine(tiny_pair(0.05))


@pytest.fixture(scope="module")
def planned(engine):
    """A plan with the truth in it, which clairvoyant policies are told."""
    known = plan(7, most=16)
    return told_the_truth(known, engine.serve(known), Profile.constant(1, 3))


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_simulator_gives_back_every_live_run(engine, planned, policy, memory):
    """Every decision, and every time of every request; in float64, which the truth of another run
    needs.
    """
    wanted = replace(planned, policy=policy, **MEMORY[memory])
    record = engine.serve(wanted)
    run = replay(wanted, record)
    assert run.latency_ns.tolist() == [served.latency_ns for served in record.by_index.values()]


def not_keeping_its_place(self, request):
    return (live.rank_of(self.policy, request, self.now_ns), request.entered_ns, -request.index)


def against_the_rank(self, request):
    return tuple(-part for part in live.rank_of(self.policy, request, self.now_ns)), request.index


def passing_over(ordered, batch_slots, fits):
    chosen = []
    for job in ordered:
        if len(chosen) < batch_slots and fits([*chosen, job]):
            chosen.append(job)
    return chosen


def an_arrival_late(self):
    if (
        self.arrived
        and self.arrived < len(self.requests)
        and self.requests[self.arrived].arrival_ns == self.now_ns
    ):
        return
    ADMIT(self)


def learning_before_the_tokens(self, request, tokens, round_ns):
    request.service_ns += round_ns
    self.policy.on_round(request, self.now_ns)
    request.service_ns -= round_ns
    return COMMIT(self, request, tokens, round_ns // 2)


ADMIT, COMMIT = live.Server._admit, live.Server._commit
MUTANTS = {
    "at equal ranks who runs does not keep its place": (
        "Server._order",
        not_keeping_its_place,
        "rr:quantum=1000",
    ),
    "the highest rank first": ("Server._order", against_the_rank, "las-round"),
    "who does not fit is passed over": ("choose", passing_over, "fcfs"),
    "half of a round is attained": ("Server._commit", learning_before_the_tokens, "las-round"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_server_that_decides_wrongly_is_found_out(engine, planned, monkeypatch, mutant):
    name, wrong, policy = MUTANTS[mutant]
    wanted = replace(planned, policy=policy, batch=3, kv_slots=None, kv_tokens=100)
    replay(wanted, engine.serve(wanted))
    monkeypatch.setattr(f"lapsd.serve.own.server.{name}", wrong)
    record = engine.serve(wanted)
    with pytest.raises(Divergence, match=r"^(decision \d+|request \d+|the simulator is done)"):
        replay(wanted, record)


def changed(record, at, **values):
    steps = list(record.steps)
    steps[at] = replace(steps[at], **values)
    return replace(record, steps=steps)


def test_what_differs_is_named(engine, planned):
    wanted = replace(planned, policy="rr:quantum=2", batch=1, kv_slots=1)
    record = engine.serve(wanted)
    moved = next(i for i, step in enumerate(record.steps) if step.moves)
    first = record.results[0]
    wrong = {
        "decision 3 at": changed(record, 3, running=[5]),
        "decision 4 at": changed(record, 3, round_ns=record.steps[3].round_ns + 1),
        f"decision {moved}, move 0: the simulator does a swap out; the live run: nothing more": (
            changed(record, moved, moves=[])
        ),
        f"request {first.index}: preemptions is": replace(
            record, results=[replace(first, preemptions=99), *record.results[1:]]
        ),
        "idle_ns is": replace(record, idle_ns=record.idle_ns + 1),
        "was over": replace(record, steps=record.steps[:-1]),
    }
    for message, tampered in wrong.items():
        with pytest.raises(Divergence) as error:
            replay(wanted, tampered)
        assert message in str(error.value)


def test_an_interrupted_run_is_not_replayed(engine, planned):
    record = engine.serve(planned)
    with pytest.raises(ValueError, match="was interrupted after 6"):
        replay(planned, replace(record, results=record.results[:-1]))
