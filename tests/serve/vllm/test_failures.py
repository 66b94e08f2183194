"""What goes wrong around a policy in vLLM: aborts, doubled ids, bad settings, code that raises,
untried versions.
"""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lapsd.serve.vllm.settings import Settings
from tests.serve.vllm import mine
from tests.serve.vllm.engines import CONTEXT, Ask, Engine
from tests.serve.vllm.test_scheduler import ASKS, PREEMPTIONS, is_over

MINE = "tests.serve.vllm.mine"


@pytest.fixture(scope="module")
def alone(plain: Engine) -> dict[str, list[int]]:
    return plain.serve(ASKS).tokens


@pytest.fixture
def log(caplog, monkeypatch):
    """Lines that lapsd wrote, whatever vLLM does with them."""
    monkeypatch.setattr(logging.getLogger("vllm.lapsd"), "propagate", False)
    logging.getLogger("vllm.lapsd").addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records]
    logging.getLogger("vllm.lapsd").removeHandler(caplog.handler)


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize("how", ["rank", "nan", "kinds", "learn", "observe"])
def test_a_policy_that_fails_is_named_once_and_the_rest_is_served_first_come_first_served(
    plain, alone, log, how, preemption
):
    served = plain.serve(ASKS, policy=f"{MINE}.Failing:how={how}", preemption=preemption)
    assert plain.scheduler.active
    assert served.tokens == alone
    lines = [line for line in log() if "Failing" in line]
    assert len(lines) == 1
    assert lines[0].endswith("first come, first served from here on")
    if how != "kinds":
        assert "request r" in lines[0]
    assert (
        served.order[-1] == "r7"
    )  # the last come first would have had it before those that waited
    assert is_over(plain)


def test_a_failure_of_our_own_leaves_the_engine_to_vllm(plain, alone, log, monkeypatch):
    plain.begin()
    plain.scheduler.configure(Settings(policy="lp-srpt", preemption="parked"))
    choices = iter(range(10**6))

    def order(keys, now_ns):
        if next(choices) > 12:
            raise TypeError("a bug")
        return original(keys, now_ns)

    original = plain.scheduler.decisions.order
    monkeypatch.setattr(plain.scheduler.decisions, "order", order)
    for ask in ASKS[:2]:
        plain.add(ask)
    plain.step()
    for ask in ASKS[2:]:  # all of them shorter
        plain.add(ask)
    while plain.engine.has_unfinished_requests():
        plain.step()
    assert {"r0", "r1"} in plain.found.parked
    assert plain.found.tokens == alone
    assert not plain.scheduler.active
    assert [line for line in log() if "vLLM schedules" in line] == [
        "lapsd: scheduling by policy failed: from here on vLLM schedules as it does without"
    ]
    assert plain.scheduler.get_request_counts() == (0, 0)


@pytest.mark.parametrize("preemption", PREEMPTIONS)
def test_whoever_is_aborted_leaves_nothing_behind(plain, alone, preemption):
    """Of those who run, who lost their seat, and who have not begun."""
    plain.begin()
    plain.scheduler.configure(Settings(policy="lp-srpt", preemption=preemption))
    keys = {ask.name: plain.add(ask) for ask in ASKS[:2]}  # 60 and 45 tokens to go
    for _ in range(3):
        plain.step()
    keys |= {
        ask.name: plain.add(ask) for ask in ASKS[2:5]
    }  # 8, 30 and 5: two of them take the seats
    plain.step()
    assert [plain.names[r.request_id] for r in plain.scheduler.running] == ["r4", "r2"]
    out = {"r0", "r1"}
    assert {plain.names[r.request_id] for r in plain.scheduler.parked} == (
        out if preemption == "parked" else set()
    )
    assert plain.scheduler.get_num_unfinished_requests() == 5
    plain.engine.abort_request(["r0", "r2", "r3"])
    assert plain.scheduler.get_num_unfinished_requests() == 2
    assert keys["r0"] not in plain.scheduler.decisions.jobs
    while plain.engine.has_unfinished_requests():
        plain.step()
    assert plain.found.tokens == {name: alone[name] for name in ("r1", "r4")}
    plain.step()  # vLLM tells the model runner of the last one
    assert is_over(plain)
    assert not plain.scheduler.has_requests()


def test_two_requests_of_one_name_are_two(plain):
    asks = [Ask("same", 20, predicted=20), Ask("same", 10, prompt=(4, 4), step=1, predicted=10)]
    served = plain.serve(asks, policy="lp-srpt")
    assert served.order == ["same", "same"]
    assert is_over(plain)


def test_an_id_that_is_there_already_is_refused_as_vllm_refuses_it_and_changes_nothing(plain):
    plain.begin()
    plain.scheduler.configure(Settings(policy="lp-srpt"))
    key = plain.add(Ask("once", 10, predicted=10))
    plain.step()
    with pytest.raises(AssertionError, match="duplicate"):
        plain.scheduler.add_request(plain.scheduler.requests[key])
    assert plain.scheduler.decisions.arrived == 1
    while plain.engine.has_unfinished_requests():
        plain.step()
    assert len(plain.found.tokens["once"]) == 10
    assert is_over(plain)


def test_what_a_policy_sees_of_rounds_is_what_vllm_counts(speculative):
    """But for the last round, where drafts past the output's end are accepted and thrown away."""
    served = speculative.serve(ASKS, policy=f"{MINE}.Watching")
    kinds = [kind for kind, _ in mine.SEEN]
    assert kinds.count("arrival") == kinds.count("completion") == len(ASKS)
    assert sum(accepted for _, accepted in served.rounds["r0"]) > 10
    for index, ask in enumerate(ASKS):
        job, counted = mine.JOBS[index], served.rounds[ask.name]
        assert job.prompt_tokens == len(ask.prompt)
        assert job.predicted_tokens == ask.tokens - 1 == job.tokens
        rounds = [(d, a) for d, a in counted if d]
        drafted, accepted = (sum(column) for column in zip(*rounds, strict=True))
        assert job.drafted == drafted
        assert accepted - 4 <= job.accepted == job.tokens - job.rounds <= accepted
        assert job.service_ns > 0
        assert job.acceptance(job.rounds) == job.accepted / job.drafted


def test_a_prediction_that_is_none_is_named_and_the_request_is_served(plain, alone, log):
    asks = [*ASKS[:2], Ask("odd", 5, prompt=(1, 2), predicted=-3)]
    served = plain.serve(asks, policy="lp-srpt")
    assert {name: served.tokens[name] for name in ("r0", "r1")} == {
        name: alone[name] for name in ("r0", "r1")
    }
    told = [line for line in log() if "predicted_tokens" in line]
    assert len(told) == 1
    assert "odd" in told[0]
    assert plain.scheduler.active


# ---- what stops an engine from starting


def again(engine: Engine, **changed):
    """A scheduler made anew with the engine's configuration, as vLLM makes it."""
    from lapsd.serve.vllm import LapsdScheduler

    there = engine.scheduler
    config = SimpleNamespace(
        **{k: getattr(there.vllm_config, k) for k in dir(there.vllm_config) if k[0] != "_"}
    )
    for name, value in changed.items():
        setattr(config, name, value)
    return LapsdScheduler(
        config, there.kv_cache_config, there.structured_output_manager, there.block_size
    )


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"policy": "lapsd"}, "unknown policy 'lapsd'"),
        ({"policy": "laps-sd:K=0"}, "K=0 must be between 1 and 64"),
        (
            {"policy": "laps-sd"},
            "policy laps-sd: learns from past requests: give a profile and a trace",
        ),
        ({"policy": "srpt"}, "policy srpt: is clairvoyant"),
        ({"preemption": "swap"}, "preemption='swap' must be recompute or parked"),
        ({"profile": "nowhere.json"}, "nowhere.json"),
        ({"seats": 3}, "unknown setting 'seats'"),
        ({"predicted_tokens": 2.5}, "predicted_tokens=2.5 must be of type int"),
        ({"predictor": "no.such.thing"}, "predictor 'no.such.thing': cannot be imported"),
    ],
)
def test_wrong_settings_stop_the_engine_with_one_line(plain, settings, complaint):
    with pytest.raises(ValueError) as caught:
        again(plain, additional_config={"lapsd": settings})
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scheduling_policy_of_vllms_own_is_refused(plain):
    config = SimpleNamespace(**{**vars(plain.scheduler.scheduler_config), "policy": "priority"})
    with pytest.raises(ValueError, match="--scheduling-policy priority: must be fcfs"):
        again(plain, scheduler_config=config, additional_config={})


def test_a_version_that_was_not_tried_gets_one_line_and_vllms_own_scheduling(
    plain, log, monkeypatch
):
    monkeypatch.setattr("lapsd.serve.vllm.scheduler.TRIED", ("0.0.1",))
    found = again(plain, additional_config={"lapsd": {"policy": "lp-srpt"}})
    assert not found.active
    assert log() == ["lapsd: vLLM 0.32.0 was not tried (0.0.1 was): scheduling as vLLM does"]
    assert again(
        plain, additional_config={"lapsd": {"policy": "lp-srpt", "untried_vllm": True}}
    ).active


def test_clairvoyant_policies_serve_where_somebody_knows_the_truth(plain):
    left = [[(ask.tokens - had) * 1000 for had in range(1, ask.tokens + 1)] for ask in ASKS]
    truth = replace(
        CONTEXT, true_prefill_ns=[1] * 8, true_remaining_ns=left, true_tokens_per_round=[1.0] * 8
    )
    served = plain.serve(ASKS, policy="srpt", context=truth)
    assert served.steps == plain.serve(ASKS, policy="lp-srpt").steps


def test_a_policy_is_given_only_to_an_empty_engine(plain):
    plain.begin()
    plain.scheduler.configure(Settings())
    plain.add(Ask("one", 3))
    with pytest.raises(ValueError, match="1 requests are there"):
        plain.scheduler.configure(Settings(policy="lp-sjf"))
    while plain.engine.has_unfinished_requests():
        plain.step()
