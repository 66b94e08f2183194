"""The server: outputs depend on the request alone, and its records are consistent."""

import itertools
import time
from dataclasses import replace

import pytest

from lapsd.calibrate import Sampling, generate
from lapsd.serve.own.engine import OwnEngine
from lapsd.serve.own.probe import EVERY, Probe
from lapsd.serve.own.rows import Rows
from lapsd.serve.record import Record
from tests.calibrate.tiny import plain_greedy, tiny_pair
from tests.serve.plans import plan

MEMORY = {
    "one slot": {"batch": 1, "kv_slots": 1},
    "all, one at a time": {"batch": 1, "kv_slots": "unlimited"},
    "four of four": {"batch": 4, "kv_slots": 4},
    "three of four, few tokens": {"batch": 3, "kv_slots": 4, "kv_tokens": 120},
}


@pytest.fixture(scope="module")
def engine():
    return OwnEngine(tiny_pair(0.05))


@pytest.fixture(scope="module")
def decoded(engine):
    """The outputs of the calibrator for each request alone, by temperature."""
    requests = plan(6, most=16).requests
    return {
        t: [
            generate(
                engine.pair,
                list(a.prompt),
                n=3,
                max_new_tokens=a.max_new_tokens,
                sampling=Sampling(t),
                request=i,
            )
            for i, a in enumerate(requests)
        ]
        for t in (0.0, 0.8)
    }


@pytest.mark.parametrize("evict", ["swap", "recompute"])
@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_outputs_are_the_same_as_in_calibration_for_every_batch_and_memory(
    engine, decoded, temperature, memory, evict
):
    """In float64, also with sampling: each request has its own random numbers."""
    record = engine.serve(
        plan(
            6,
            most=16,
            policy="rr:quantum=2",
            temperature=temperature,
            evict=evict,
            **MEMORY[memory],
        )
    )
    for served, alone in zip(record.by_index.values(), decoded[temperature], strict=True):
        assert served.tokens == alone.tokens
        assert served.accepted == [r.accepted for r in alone.rounds]
        assert served.drafted == [r.drafted for r in alone.rounds]
    transfers = [transfer for step in record.steps for transfer in step.transfers]
    assert bool(transfers) == (memory != "all, one at a time")
    assert {transfer.kind for transfer in transfers} <= {
        "swap out",
        "swap in" if evict == "swap" else "recompute",
    }


def test_outputs_do_not_depend_on_the_policy_and_end_at_a_stop_token():
    pair = tiny_pair(0.05, stop=frozenset(range(0, 48, 5)))
    served = OwnEngine(pair)
    wanted = plan(5, most=25, batch=2, kv_slots=2)
    outputs = [
        [s.tokens for s in served.serve(replace(wanted, policy=policy)).by_index.values()]
        for policy in ("fcfs", "las", "lp-srpt", "laps-sd")
    ]
    expected = [
        plain_greedy(pair.target, list(a.prompt), a.max_new_tokens, pair.stop_ids)
        for a in wanted.requests
    ]
    assert outputs == [expected] * 4
    assert any(
        len(tokens) < a.max_new_tokens for tokens, a in zip(expected, wanted.requests, strict=True)
    )


def test_times_in_a_record_add_up(engine):
    record = engine.serve(plan(6, most=16, policy="las", batch=2, kv_slots=2))
    assert record.busy_ns + record.idle_ns == record.end_ns
    assert all(
        before.end_ns <= after.start_ns for before, after in itertools.pairwise(record.steps)
    )
    for step in record.steps:
        spent = (
            sum(transfer.ns for transfer in step.transfers)
            + sum(p.ns for p in step.prefills)
            + step.round_ns
        )
        assert step.start_ns + spent == step.end_ns
        assert 0 < step.draft_ns + step.verify_ns <= step.round_ns
    for index, served in record.by_index.items():
        mine = [step for step in record.steps if index in step.running]
        assert served.service_ns == sum(step.round_ns for step in mine)
        assert served.finish_ns == mine[-1].end_ns
        assert len(served.accepted) == len(mine)
        assert served.switch_ns == sum(
            m.ns for s in record.steps for m in s.transfers if m.request == index
        )
        assert served.arrival_ns <= served.first_service_ns < served.finish_ns
    first = record.by_index[record.steps[0].running[0]]
    assert first.first_service_ns == record.steps[0].start_ns


def test_calibration_rounds_run_between_live_rounds_while_the_clock_is_stopped(
    engine, decoded, monkeypatch
):
    step, asleep = Probe._step, 0.2

    def late(self, at_ns):
        time.sleep(asleep)
        step(self, at_ns)

    monkeypatch.setattr(Probe, "_step", late)
    made = plan(6, most=16, policy="rr:quantum=2", batch=1, kv_slots=1, gap_ns=0)
    other = plan(3, most=5, policy="rr", batch=2, kv_slots=2, gap_ns=0)
    monkeypatch.setattr("lapsd.serve.own.probe.LEAST", 3)
    record = engine.serve(made, [other, replace(other, batch=1)])
    assert record.complete
    assert [s.tokens for s in record.by_index.values()] == [alone.tokens for alone in decoded[0.0]]
    assert record.busy_ns == record.end_ns
    step_counts = [len(one.steps) for one in record.interleaved]
    assert sum(step_counts) == max(len(record.steps) // EVERY, 6)
    assert max(step_counts) - min(step_counts) <= 1
    assert max(len(s.running) for s in record.interleaved[0].steps) == 2
    assert (
        record.busy_ns < (sum(step_counts) * asleep) * 1e9 / 2
    )  # the clock of the run does not count the sleep
    for one in record.interleaved:
        starts = [s.start_ns for s in one.steps]
        assert starts == sorted(starts)
        assert 0 < starts[0] < starts[-1] <= record.end_ns
    first, second = record.interleaved[0].split()
    assert [*first.steps, *second.steps] == record.interleaved[0].steps
    assert Record.from_json(record.to_json()) == record


def test_on_the_wall_clock_no_request_is_served_before_its_arrival(engine):
    wanted = plan(3, most=4, gap_ns=40_000_000, clock="wall", batch=1)
    record = engine.serve(wanted)
    assert all(s.first_service_ns >= s.arrival_ns for s in record.results)
    assert record.idle_ns + record.busy_ns == record.end_ns


def test_an_interrupted_run_keeps_finished_requests(engine, monkeypatch):
    wanted, rounds = plan(4, most=3, gap_ns=0), Rows.round
    counted = itertools.count()

    def interrupted(self, keys, lengths):
        if next(counted) == 4:
            raise KeyboardInterrupt
        return rounds(self, keys, lengths)

    monkeypatch.setattr(Rows, "round", interrupted)
    record = engine.serve(wanted)
    assert not record.complete
    assert len(record.steps) == 4
    assert 0 < len(record.results) < 4
    monkeypatch.undo()
    assert engine.serve(wanted).complete  # and the engine still works


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "other"}, "models other + tiny: the engine runs tiny + tiny"),
        ({"kv_tokens": 20, "kv_slots": "unlimited"}, "kv_tokens 20: request 0 (r0) may never fit"),
        (
            {"policy": "srpt"},
            "policy srpt: is clairvoyant, and the plan does not hold the true sizes",
        ),
        ({"policy": "unheard-of"}, "unknown policy 'unheard-of'"),
        ({"draft_tokens": 90}, "but the context of the models is 128"),
    ],
)
def test_a_plan_that_cannot_be_served_is_refused_in_one_line(engine, changes, message):
    with pytest.raises(ValueError) as error:
        engine.serve(plan(3, **changes))
    assert message in str(error.value)


def test_serving_needs_the_lean_engine():
    with pytest.raises(ValueError, match="serving needs the lean engine for both"):
        OwnEngine(tiny_pair(0.05, engine="hf")).serve(plan(2))
