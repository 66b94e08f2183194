"""Draft policies on our server: the same outputs, the chosen lengths, and the replay of runs."""

from dataclasses import replace

import pytest

from lapsd.calibrate import Sampling, generate
from lapsd.policies import parse_policy
from lapsd.policies.drafts import DraftContext
from lapsd.serve.own.drafts import refuse_unknowable
from lapsd.serve.own.engine import OwnEngine
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.serve.validation.decisions import Divergence, replay
from lapsd.traces import Profile
from tests.calibrate.tiny import tiny_pair
from tests.serve.plans import plan

SCRIPTED = "tests.sim.drafting.Scripted:most=5"  # other lengths for each request of a step
POLICIES = [
    "off",
    "fixed:most=5",
    "ema:most=4,warmup=1,interval=1",
    "table:most=5,lengths=1=5/2=2/3=0",
    "goodput:most=5",
    "gated:most=5",
    "survival:most=5",
    SCRIPTED,
]
MEMORY = {
    "b = 1, one slot": {"batch": 1, "kv_slots": 1},
    "b = 4, five slots": {"batch": 4, "kv_slots": 5, "evict": "recompute"},
    "b = 3, few tokens": {"batch": 3, "kv_slots": "unlimited", "kv_tokens": 130},
}


def costs(draft_ms: float = 0.2, verify_ms: float = 3.0) -> Profile:
    """Return a profile for batches of up to four requests."""
    made = Profile.constant(draft_ms, verify_ms)
    rounds = dict.fromkeys((1, 4), made.costs.rounds[1])
    return replace(made, costs=replace(made.costs, rounds=rounds))


def drafting_plan(drafts: str, order: str = "rr:quantum=2", **more) -> Plan:
    return plan(6, most=16, policy=f"{order}+{drafts}", profile=costs(), **more)


@pytest.fixture(scope="module")
def engine():
    return OwnEngine(tiny_pair(0.05))


@pytest.fixture(scope="module")
def greedy(engine):
    """The outputs of the calibrator for each request alone."""
    return [
        generate(
            engine.pair,
            list(a.prompt),
            n=3,
            max_new_tokens=a.max_new_tokens,
            sampling=Sampling(0.0),
            request=i,
        ).tokens
        for i, a in enumerate(plan(6, most=16).requests)
    ]


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("drafts", POLICIES)
def test_greedy_outputs_do_not_depend_on_the_draft_policy_and_runs_are_replayed(
    engine, greedy, drafts, memory
):
    """In float64. After rounds without drafts the draft model reads what it has not seen."""
    wanted = drafting_plan(drafts, **MEMORY[memory])
    record = engine.serve(wanted)
    assert [result.tokens for result in record.by_index.values()] == greedy
    run = replay(wanted, record)
    assert run.latency_ns.tolist() == [r.latency_ns for r in record.by_index.values()]
    for result in record.results:
        assert len(result.accept_prob) == len(result.tokens)
        assert sum(result.accepted) <= sum(result.drafted)


@pytest.mark.parametrize("drafts", ["off", "fixed:most=5", SCRIPTED, "goodput:most=4"])
def test_a_request_samples_the_same_tokens_in_any_batch_if_its_draft_lengths_are_the_same(
    engine, drafts
):
    """Padding neither uses random numbers nor changes which tokens are accepted."""
    wanted = drafting_plan("fixed:most=2", temperature=0.8, batch=4, kv_slots="unlimited")
    alone = generate_all(engine, wanted, 2)
    assert [r.tokens for r in engine.serve(wanted).by_index.values()] == alone
    mixed = drafting_plan(drafts, temperature=0.8, batch=4, kv_slots="unlimited")
    replay(mixed, engine.serve(mixed))


def generate_all(engine: OwnEngine, wanted: Plan, n: int) -> list[list[int]]:
    return [
        generate(
            engine.pair,
            list(a.prompt),
            n=n,
            max_new_tokens=a.max_new_tokens,
            sampling=Sampling(wanted.temperature),
            request=i,
        ).tokens
        for i, a in enumerate(wanted.requests)
    ]


def test_requests_of_one_round_have_their_own_lengths(engine):
    record = engine.serve(drafting_plan(SCRIPTED, batch=4, kv_slots="unlimited", gap_ns=0))
    assert any(len(set(step.scheduled)) > 2 for step in record.steps)
    for index, result in record.by_index.items():
        steps = [(s, s.running.index(index)) for s in record.steps if index in s.running]
        assert result.drafted == [step.scheduled[place] - 1 for step, place in steps]
        assert result.accepted == [step.accepted[place] for step, place in steps]
        assert all(a <= d for a, d in zip(result.accepted, result.drafted, strict=True))


def test_a_perfect_draft_gives_each_request_its_length_and_one_more():
    engine = OwnEngine(tiny_pair(0.0))
    wanted = drafting_plan(SCRIPTED, batch=4, kv_slots="unlimited", gap_ns=0)
    for result in engine.serve(wanted).results:
        assert result.accepted[:-1] == result.drafted[:-1]


def test_another_length_is_found_by_the_replay(engine):
    wanted = drafting_plan(SCRIPTED, batch=4, kv_slots="unlimited", gap_ns=0)
    record = engine.serve(wanted)
    steps = list(record.steps)
    steps[2] = replace(steps[2], scheduled=[9 for _ in steps[2].scheduled])
    with pytest.raises(Divergence, match=r"decision 2 at .*: the live run verified \[9"):
        replay(wanted, replace(record, steps=steps))


def test_plans_and_records_with_draft_policies_are_the_same_after_json(engine):
    known = DraftContext((0.8, 0.7), (0.1, 0.9), (0.2, 0.95))
    wanted = drafting_plan("goodput:most=4")
    wanted = replace(wanted, context=replace(wanted.context, drafts=known))
    again = Plan.from_json(wanted.to_json())
    assert again.profile == wanted.profile
    assert again.context.drafts == known
    record = engine.serve(again)
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("policy", "changes", "message"),
    [
        ("fcfs+oracle", {}, "draft policy oracle: knows what will be accepted: not in live runs"),
        (
            "fcfs+survival:confidence=true",
            {},
            "draft policy survival: reads the draft model's probabilities, which are known only"
            " after drafting: not in live runs",
        ),
        ("fcfs+off", {"profile": None}, "draft policy off: the plan holds no costs of rounds"),
        (
            "fcfs+fixed:most=64",
            {"kv_tokens": 99, "kv_slots": "unlimited"},
            "kv_tokens 99: request 0 (r0) may never fit",
        ),
        ("fcfs+goodput", {"batch": 5, "kv_slots": 5}, "batch size 5: the profile covers 1 to 4"),
    ],
)
def test_a_draft_policy_that_cannot_be_served_is_refused_in_one_line(
    engine, policy, changes, message
):
    wanted = replace(plan(6, gap_ns=0, most=16, profile=costs()), policy=policy, **changes)
    with pytest.raises(ValueError) as error:
        engine.serve(wanted)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_policy_that_knows_the_remaining_time_has_no_draft_policy():
    with pytest.raises(ValueError, match="policy srpt: knows the true remaining time"):
        refuse_unknowable(parse_policy("srpt+off"))
