"""Plans and records are plain data and do not change in JSON."""

from dataclasses import dataclass

import pytest

from lapsd.policies import LAS
from lapsd.serve.plan import Plan, importable_spec
from lapsd.serve.record import KVTransfer, Prefilled, Record, RequestResult, Step
from tests.serve.plans import CONTEXT, plan


def test_a_plan_is_the_same_after_json():
    wanted = plan(
        3, policy="laps-sd:K=6", batch=2, kv_slots="unlimited", kv_tokens=99, clock="wall"
    )
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
    assert again.steps[0].transfers[0].kind == "swap in"
    assert again.results[0].latency_ns == 30
    assert again.busy_ns == 25


def test_files_of_another_kind_or_version_are_refused():
    for text, message in (
        ("[", "not JSON"),
        ("{}", "version 2 is needed"),
        ('{"lapsd_plan": 9}', "version 2"),
    ):
        with pytest.raises(ValueError, match=message):
            Plan.from_json(text)
    with pytest.raises(ValueError, match="lapsd_record: version 2 is needed"):
        Record.from_json(plan(1).to_json())


@dataclass(frozen=True)
class NamedLikeAnother(LAS):
    """A user's policy that inherits the name of one of lapsd's."""

    weight: float = 1.0


def test_a_users_own_policy_is_written_with_its_module():
    own = f"{__name__}.NamedLikeAnother"
    assert importable_spec(NamedLikeAnother()) == own
    assert importable_spec(NamedLikeAnother(K=3, weight=0.5)) == f"{own}:K=3,weight=0.5"
    assert importable_spec(LAS(K=3)) == "las:K=3"
    made = Plan([], policy=importable_spec(NamedLikeAnother(K=3)), context=CONTEXT).bound_policy()
    assert type(made) is NamedLikeAnother


def test_a_policy_that_no_module_holds_is_refused():
    @dataclass(frozen=True)
    class Local(LAS):
        pass

    with pytest.raises(ValueError, match=r"Local: cannot import"):
        importable_spec(Local())


def test_a_plan_refuses_decreasing_arrivals_and_unknown_clocks():
    requests = plan(3, gap_ns=10**9).requests
    with pytest.raises(ValueError, match="arrivals must not decrease"):
        Plan(requests[::-1])
    with pytest.raises(ValueError, match="clock='sun': must be busy or wall"):
        Plan(requests, clock="sun")
