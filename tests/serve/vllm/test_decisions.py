"""The order of requests under a policy, and the jobs that it sees, without vLLM."""

import pytest
from hypothesis import given, strategies as st

from lapsd.policies import FCFS, LPSRPT, LapsSD, PolicyContext, RoundRobin
from lapsd.policies.decision import Decisions
from lapsd.serve.vllm.decisions import LiveDecisions
from lapsd.serve.vllm.job import LiveJob
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request
from lapsd.traces import Profile, price, trace_from_rounds
from tests.builders import row
from tests.serve.vllm.mine import Failing

MS = 1_000_000
CONTEXT = PolicyContext(MS, [8 * MS, 16 * MS, 32 * MS])


def decisions(policy=None) -> tuple[LiveDecisions, list[str]]:
    lines: list[str] = []
    return LiveDecisions(Decisions((policy or FCFS()).bind(CONTEXT)), lines.append), lines


def arrive(found: LiveDecisions, *lengths: int, at: int = 0) -> list[str]:
    """Add requests a, b, ... with these predicted output tokens; return their ids."""
    keys = [chr(ord("a") + found.arrived + i) for i in range(len(lengths))]
    for key, tokens in zip(keys, lengths, strict=True):
        found.arrive(key, arrival_ns=at, prompt_tokens=4, output_tokens=tokens, now_ns=at)
    return keys


def order(found: LiveDecisions, keys: list[str], now_ns: int = 0) -> str:
    return "".join(job.request_id for job in found.order(keys, now_ns))


@given(st.lists(st.tuples(st.integers(0, 4), st.just(4)), min_size=1, max_size=20))
def test_a_policy_sees_a_live_request_like_a_simulated_one(rounds):
    accepted = [a for a, _ in rounds]
    priced = price(trace_from_rounds([row("r", 5, accepted)]), Profile.constant(1.0, 10.0))
    recorded = Recorded(priced, 0)
    simulated, live = Request(0, 0, 9, recorded, 0), LiveJob("r", 0, 0, 5, 9, 0)
    decisions = Decisions(FCFS())
    decisions.arrive(live, 0)
    for r, (a, drafted) in enumerate(rounds, 1):
        live.add_drafts(drafted, a)
        decisions.commit(live, a + 1, recorded.round_ns[r - 1], r)
        simulated.rounds, simulated.tokens, simulated.service_ns = (
            r,
            recorded.tokens[r],
            recorded.service_ns[r],
        )
        for name in (
            "rounds",
            "tokens",
            "service_ns",
            "drafted",
            "accepted",
            "prompt_tokens",
            "predicted_tokens",
        ):
            assert getattr(live, name) == getattr(simulated, name)
        for k in range(1, r + 1):
            assert live.acceptance(k) == simulated.acceptance(k)
            assert live.acceptances(k) == simulated.acceptances(k)
            assert live.acceptance_range(k) == simulated.acceptance_range(k)


def test_equal_ranks_are_ordered_by_running_then_queue_entry_then_arrival():
    found, _ = decisions(LPSRPT())
    keys = arrive(found, 9, 9, 9)
    assert order(found, keys) == "abc"
    found.set_running(["c"])
    assert order(found, keys) == "cab"
    found.jobs["a"].entered_ns = 5
    assert order(found, keys) == "cba"


def test_predictions_exclude_the_token_of_prefill():
    found, _ = decisions()
    arrive(found, 9, 1)
    assert [job.predicted_tokens for job in found.jobs.values()] == [8, 1]


def test_a_change_of_queue_updates_the_entry_time():
    found, _ = decisions(RoundRobin(quantum=2))
    arrive(found, 9)
    found.commit("a", 1, 0, MS, now_ns=3 * MS)
    assert found.jobs["a"].state.turn_end_ns == -1
    found.commit("a", 1, 0, MS, now_ns=4 * MS)
    assert found.jobs["a"].state.turn_end_ns == 4 * MS
    laps, _ = decisions(LapsSD(K=4, gamma=2))
    arrive(laps, 40)
    for now in (1, 2):
        laps.commit("a", 4, 4, 10 * MS, now_ns=now)
    job = laps.jobs["a"]
    assert job.state.perceptible
    assert job.entered_ns == 2
    assert job.queue > 1


def test_a_request_that_ran_once_stays_started():
    found, _ = decisions()
    keys = arrive(found, 5, 5)
    found.set_running(["b"])
    found.set_running(["a"])
    assert [(found.jobs[k].running, found.jobs[k].started) for k in keys] == [
        (True, True),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("rank", "request a: policy Failing: rank of request 0 at 7 ns raised ZeroDivisionError"),
        ("nan", "request a: policy Failing: rank (nan,) of request 0 at 7 ns: must be a tuple"),
        (
            "kinds",
            "request b: policy Failing: rank ('first',) of request 1 at 7 ns: must be a tuple",
        ),
        (
            "on_round",
            "request a: policy Failing: on_round of request 0 at 5 ns raised KeyError: 'state'",
        ),
        (
            "on_event",
            "policy Failing: on_event, arrival of request 2 at 0 ns raised RuntimeError: no event",
        ),
    ],
)
def test_a_policy_that_raises_is_reported_once_and_replaced(how, message):
    found, lines = decisions(Failing(how=how, after=1))
    keys = arrive(found, 5, 5)
    assert order(found, keys) == "ba"
    found.set_running(["b"])
    found.commit("a", 1, 0, MS, 5)
    keys += arrive(found, 5)
    assert order(found, keys, 7) == "bac"  # b has started
    found.commit("a", 1, 0, MS, 9)
    assert order(found, keys, 9) == "bac"
    assert len(lines) == 1
    assert message in lines[0]
    assert found.policy == FCFS()


def test_an_order_contains_only_the_given_requests():
    found, _ = decisions()
    keys = arrive(found, 5, 5, 5)
    assert order(found, [keys[2], keys[0]]) == "ac"
    found.leave("a", 3)
    assert set(found.jobs) == {"b", "c"}
    assert found.arrived == 3
