"""Failures in vLLM: aborts, duplicate ids, bad settings, policies that raise, untested versions."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lapsd.serve.vllm.settings import Settings
from tests.serve.vllm import mine
from tests.serve.vllm.engines import CONTEXT, Engine, TimedRequest
from tests.serve.vllm.test_scheduler import PREEMPTIONS, REQUESTS, is_over

MINE = "tests.serve.vllm.mine"


@pytest.fixture(scope="module")
def alone(plain: Engine) -> dict[str, list[int]]:
    return plain.serve(REQUESTS).tokens


@pytest.fixture
def log(caplog, monkeypatch):
    """The log lines of lapsd, independent of the handlers of vLLM."""
    monkeypatch.setattr(logging.getLogger("vllm.lapsd"), "propagate", False)
    logging.getLogger("vllm.lapsd").addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records]
    logging.getLogger("vllm.lapsd").removeHandler(caplog.handler)


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize("how", ["rank", "nan", "kinds", "on_round", "on_event"])
def test_after_a_policy_fails_requests_are_served_first_come_first_served(
    plain, alone, log, how, preemption
):
    served = plain.serve(REQUESTS, policy=f"{MINE}.Failing:how={how}", preemption=preemption)
    assert plain.scheduler.active
    assert served.tokens == alone
    lines = [line for line in log() if "Failing" in line]
    assert len(lines) == 1
    assert lines[0].endswith("requests are served first come, first served from now on")
    assert "request r" in lines[0]
    assert served.order[-1] == "r7"  # the policy would have served it before waiting requests
    assert is_over(plain)


def test_after_an_error_in_the_scheduler_class_vllm_schedules_by_itself(
    plain, alone, log, monkeypatch
):
    plain.begin()
    plain.scheduler.configure(Settings(policy="lp-srpt", preemption="parked"))
    choices = iter(range(10**6))

    def order(keys, now_ns):
        if next(choices) > 12:
            raise TypeError("a bug")
        return original(keys, now_ns)

    original = plain.scheduler.decisions.order
    monkeypatch.setattr(plain.scheduler.decisions, "order", order)
    for request in REQUESTS[:2]:
        plain.add(request)
    plain.step()
    for request in REQUESTS[2:]:  # all of them are shorter
        plain.add(request)
    while plain.engine.has_unfinished_requests():
        plain.step()
    assert {"r0", "r1"} in plain.served.parked
    assert plain.served.tokens == alone
    assert not plain.scheduler.active
    assert [line for line in log() if "vLLM schedules" in line] == [
        "lapsd: scheduling by policy failed: from now on vLLM schedules without lapsd"
    ]
    assert plain.scheduler.get_request_counts() == (0, 0)


@pytest.mark.parametrize("preemption", PREEMPTIONS)
def test_aborted_requests_leave_nothing_in_the_scheduler(plain, alone, preemption):
    """Abort a running request, a preempted request, and one that has not started."""
    plain.begin()
    plain.scheduler.configure(Settings(policy="lp-srpt", preemption=preemption))
    keys = {request.name: plain.add(request) for request in REQUESTS[:2]}  # 60 and 45 tokens remain
    for _ in range(3):
        plain.step()
    # 8, 30 and 5 tokens: two of these requests take the batch slots
    keys |= {request.name: plain.add(request) for request in REQUESTS[2:5]}
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
    assert plain.served.tokens == {name: alone[name] for name in ("r1", "r4")}
    plain.step()  # vLLM informs the model runner of the last one
    assert is_over(plain)
    assert not plain.scheduler.has_requests()


def test_two_requests_with_the_same_name_are_both_served(plain):
    requests = [
        TimedRequest("same", 20, predicted=20),
        TimedRequest("same", 10, prompt=(4, 4), step=1, predicted=10),
    ]
    served = plain.serve(requests, policy="lp-srpt")
    assert served.order == ["same", "same"]
    assert is_over(plain)


def test_a_duplicate_id_is_refused_by_vllm_and_changes_nothing(plain):
    plain.begin()
    plain.scheduler.configure(Settings(policy="lp-srpt"))
    key = plain.add(TimedRequest("once", 10, predicted=10))
    plain.step()
    with pytest.raises(AssertionError, match="duplicate"):
        plain.scheduler.add_request(plain.scheduler.requests[key])
    assert plain.scheduler.decisions.arrived == 1
    while plain.engine.has_unfinished_requests():
        plain.step()
    assert len(plain.served.tokens["once"]) == 10
    assert is_over(plain)


def test_a_policy_sees_the_rounds_that_vllm_counts(speculative):
    """Except in the last round, where draft tokens after the end are accepted and discarded."""
    served = speculative.serve(REQUESTS, policy=f"{MINE}.Watching")
    kinds = [kind for kind, _ in mine.SEEN]
    assert kinds.count("arrival") == kinds.count("completion") == len(REQUESTS)
    assert sum(accepted for _, accepted in served.rounds["r0"]) > 10
    for index, request in enumerate(REQUESTS):
        job, counted = mine.JOBS[index], served.rounds[request.name]
        assert job.prompt_tokens == len(request.prompt)
        assert job.predicted_tokens == request.tokens - 1 == job.tokens
        rounds = [(d, a) for d, a in counted if d]
        drafted, accepted = (sum(column) for column in zip(*rounds, strict=True))
        assert job.drafted == drafted
        assert accepted - 4 <= job.accepted == job.tokens - job.rounds <= accepted
        assert job.service_ns > 0
        assert job.acceptance(job.rounds) == job.accepted / job.drafted


def test_an_invalid_prediction_is_reported_and_the_request_is_served(plain, alone, log):
    requests = [*REQUESTS[:2], TimedRequest("odd", 5, prompt=(1, 2), predicted=-3)]
    served = plain.serve(requests, policy="lp-srpt")
    assert {name: served.tokens[name] for name in ("r0", "r1")} == {
        name: alone[name] for name in ("r0", "r1")
    }
    lines = [line for line in log() if "predicted_tokens" in line]
    assert len(lines) == 1
    assert "odd" in lines[0]
    assert plain.scheduler.active


# ---- errors that stop an engine from starting


def again(engine: Engine, **changed):
    """Return a new scheduler with the configuration of the engine, as vLLM makes it."""
    from lapsd.serve.vllm import LapsdScheduler

    scheduler = engine.scheduler
    config = SimpleNamespace(
        **{k: getattr(scheduler.vllm_config, k) for k in dir(scheduler.vllm_config) if k[0] != "_"}
    )
    for name, value in changed.items():
        setattr(config, name, value)
    return LapsdScheduler(
        config, scheduler.kv_cache_config, scheduler.structured_output_manager, scheduler.block_size
    )


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"policy": "lapsd"}, "unknown policy 'lapsd'"),
        ({"policy": "laps-sd:K=0"}, "K=0 must be between 1 and 64"),
        (
            {"policy": "laps-sd"},
            "policy laps-sd: learns from past requests: set a profile and a trace",
        ),
        ({"policy": "srpt"}, "policy srpt: is clairvoyant"),
        ({"preemption": "swap"}, "preemption='swap': must be recompute or parked"),
        ({"profile": "nowhere.json"}, "nowhere.json"),
        ({"slots": 3}, "unknown setting 'slots'"),
        ({"predicted_tokens": 2.5}, "predicted_tokens=2.5: must be of type int"),
        ({"predictor": "no.such.thing"}, "predictor 'no.such.thing': cannot be imported"),
    ],
)
def test_wrong_settings_stop_the_engine_with_one_line(plain, settings, complaint):
    with pytest.raises(ValueError) as caught:
        again(plain, additional_config={"lapsd": settings})
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_scheduling_policy_of_vllm_is_refused(plain):
    config = SimpleNamespace(**{**vars(plain.scheduler.scheduler_config), "policy": "priority"})
    with pytest.raises(ValueError, match="--scheduling-policy priority: must be fcfs"):
        again(plain, scheduler_config=config, additional_config={})


def test_an_untested_version_of_vllm_schedules_by_itself_and_logs_one_line(plain, log, monkeypatch):
    monkeypatch.setattr("lapsd.serve.vllm.scheduler.TRIED", ("0.0.1",))
    found = again(plain, additional_config={"lapsd": {"policy": "lp-srpt"}})
    assert not found.active
    assert log() == ["lapsd: vLLM 0.32.0 is untested (tested: 0.0.1): vLLM schedules without lapsd"]
    assert again(
        plain, additional_config={"lapsd": {"policy": "lp-srpt", "untried_vllm": True}}
    ).active


def test_clairvoyant_policies_serve_with_true_values(plain):
    left = [
        [(request.tokens - had) * 1000 for had in range(1, request.tokens + 1)]
        for request in REQUESTS
    ]
    context = replace(
        CONTEXT, true_prefill_ns=[1] * 8, true_remaining_ns=left, true_tokens_per_round=[1.0] * 8
    )
    served = plain.serve(REQUESTS, policy="srpt", context=context)
    assert served.steps == plain.serve(REQUESTS, policy="lp-srpt").steps


def test_a_policy_is_set_only_while_the_engine_has_no_requests(plain):
    plain.begin()
    plain.scheduler.configure(Settings())
    plain.add(TimedRequest("one", 3))
    with pytest.raises(ValueError, match="the engine has 1 requests"):
        plain.scheduler.configure(Settings(policy="lp-sjf"))
    while plain.engine.has_unfinished_requests():
        plain.step()
