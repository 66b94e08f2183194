"""Plans and records are plain data, the same after JSON."""

import pytest

from lapsd.serve.plan import Plan
from lapsd.serve.record import KVTransfer, Prefilled, Record, RequestResult, Step
from tests.serve.plans import plan


def test_a_plan_is_the_same_after_json():
    wanted = plan(3, policy="laps-sd:K=6", batch=2, kv_slots=None, kv_tokens=99, clock="wall")
    again = Plan.from_json(wanted.to_json())
    assert again.to_json() == wanted.to_json()
    assert [a.prompt for a in again.requests] == [a.prompt for a in wanted.requests]
    assert again.context.mean_round_ns == wanted.context.mean_round_ns
    assert again.bound_policy().K == 6


def test_a_record_is_the_same_after_json():
    step = Step(
        5,
        30,
        [1],
        15,
        [20],
        [4],
        [2],
        [3],
        [KVTransfer("swap in", 1, 20, 4)],
        [Prefilled(0, 7, 6)],
        9,
        5,
    )
    record = Record(
        "own",
        "las",
        [step],
        [RequestResult(1, 0, 5, 30, 6, 15, 4, 2, [7, 8, 9], [3], [2])],
        5,
        30,
        False,
    )
    again = Record.from_json(record.to_json())
    assert again == record
    assert again.steps[0].moves[0].kind == "swap in"
    assert again.results[0].latency_ns == 30
    assert again.busy_ns == 25


def test_files_of_another_kind_or_version_are_refused():
    for text, message in (
        ("[", "not JSON"),
        ("{}", "version 1 is needed"),
        ('{"lapsd_plan": 9}', "version 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Plan.from_json(text)
    with pytest.raises(ValueError, match="lapsd_record: version 1 is needed"):
        Record.from_json(plan(1).to_json())


def test_a_plan_holds_its_arrivals_to_their_order_and_knows_its_clocks():
    requests = plan(3, gap_ns=10**9).requests
    with pytest.raises(ValueError, match="arrivals must not decrease"):
        Plan(requests[::-1])
    with pytest.raises(ValueError, match="clock 'sun': must be busy or wall"):
        Plan(requests, clock="sun")
