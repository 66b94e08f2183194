"""Settings for vLLM, and their policy and predictions, without vLLM."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from lapsd import PreparedScenario, policy_context as simulator_context
from lapsd.policies import LAS, LapsSD, PolicyContext
from lapsd.policies.switch_penalty import switch_penalty_ns
from lapsd.serve.vllm.policy_context import policy_context
from lapsd.serve.vllm.scheduler_state import SchedulerState
from lapsd.serve.vllm.settings import PREEMPTIONS, Settings
from lapsd.traces import load_profile, load_trace, price
from lapsd.traces.files import BUNDLED
from lapsd.traces.predictors import Learned
from tests.serve.vllm.mine import LastComeFirstServed


def sampling(**extra):
    return SimpleNamespace(extra_args=extra or None, max_tokens=77)


def longer_prompts_longer_answers(prompt, sampling):
    return 10 * len(prompt)


def test_a_policy_is_bound_to_past_requests_from_profile_and_trace():
    known = SchedulerState.of(
        Settings.of({"policy": "las:K=3", "profile": "reference"}), batch_slots=1
    )
    assert isinstance(known.policy, LAS)
    sizes = np.median(PreparedScenario.of().context.past_sizes_ns)  # of half of the same trace
    assert known.policy.bounds_ns[0] == pytest.approx(sizes / 2**1.5, rel=0.2)
    assert known.predicted_tokens == int(np.median(load_trace("reference").output_tokens)) + 1


def test_rounds_get_longer_with_batch_slots_up_to_those_in_the_profile():
    one, four, many = (
        SchedulerState.of(
            Settings(policy="laps-sd", profile="reference"), batch_slots=batch_slots
        ).policy
        for batch_slots in (1, 4, 10**6)
    )
    assert isinstance(one, LapsSD)
    assert one.mean_round_ns < four.mean_round_ns < many.mean_round_ns
    assert load_profile("reference").round_cost(max(load_profile("reference").costs.rounds))


def test_the_default_trace_is_in_the_folder_of_the_profile(tmp_path):
    shutil.copy(BUNDLED / "reference.json", tmp_path / "profile.json")
    settings = Settings(policy="las", profile=str(tmp_path / "profile.json"))
    with pytest.raises(ValueError, match=r"its folder has no trace\.parquet"):
        SchedulerState.of(settings, 1)
    shutil.copy(BUNDLED / "reference.parquet", tmp_path / "trace.parquet")
    assert (
        SchedulerState.of(settings, 1).policy
        == SchedulerState.of(Settings(policy="las", profile="reference"), 1).policy
    )


def test_the_policy_context_equals_that_of_the_simulator():
    trace, profile = load_trace("reference"), load_profile("reference")
    in_vllm, in_simulator = (
        policy_context(trace, profile, 4),
        simulator_context(price(trace, profile, 4), Learned()),
    )
    assert in_vllm == in_simulator  # the comparison leaves out the history
    for f in ("predicted_tokens", "tokens", "rounds", "early_tokens"):
        assert np.array_equal(getattr(in_vllm.history, f), getattr(in_simulator.history, f)), f


@pytest.mark.parametrize(
    "policy", ["fcfs", "rr", "lp-sjf", "lp-srpt", "las:sup_1_s=0.5", "gittins", "laps-sd:sup_1_s=2"]
)
def test_only_policies_that_learn_from_past_requests_need_them(policy):
    learns = policy in ("gittins", "laps-sd:sup_1_s=2")  # laps-sd learns its mean round time
    if learns:
        with pytest.raises(ValueError, match="learns from past requests"):
            SchedulerState.of(Settings(policy), 1)
    else:
        assert SchedulerState.of(Settings(policy), 1).policy


def test_the_switch_penalty_is_the_time_to_recompute_or_zero():
    trace, costs = load_trace("reference"), load_profile("reference").costs
    leads = {
        p: SchedulerState.of(
            Settings("kernel-gittins:switch_penalty=1", p, profile="reference"), 1
        ).policy.switch_penalty_ns
        for p in PREEMPTIONS
    }
    median = int(np.median(trace.prompt_tokens + trace.output_tokens // 2))
    assert leads == {
        "recompute": switch_penalty_ns(PolicyContext(1, (1,), swap_in_ns=costs.prefill(median))),
        "parked": 0,
    }


def test_predictions_come_from_the_request_then_the_predictor_then_the_default():
    here = f"{__name__}.longer_prompts_longer_answers"
    known = SchedulerState.of(Settings(predictor=here, predicted_tokens=50), 1)
    assert known.predict([1, 2, 3], sampling(predicted_tokens=12)) == 12
    assert known.predict([1, 2, 3], sampling(predicted_tokens=12.6)) == 13
    assert known.predict([1, 2, 3], sampling()) == 30
    assert SchedulerState.of(Settings(predicted_tokens=50), 1).predict([1], sampling(other=3)) == 50
    assert SchedulerState.of(Settings(), 1).predict([1], sampling()) == 77


@pytest.mark.parametrize("predicted", [0, -2, "long", True, float("nan"), float("inf"), [3]])
def test_an_invalid_prediction_is_refused(predicted):
    with pytest.raises(ValueError, match="predicted_tokens="):
        SchedulerState.of(Settings(), 1).predict([1], sampling(predicted_tokens=predicted))


def test_a_users_own_policy_is_found_by_module_and_class():
    known = SchedulerState.of(
        Settings(policy="tests.serve.vllm.mine.LastComeFirstServed:weight=3"), 1
    )
    assert known.policy == LastComeFirstServed(weight=3)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([], r"lapsd: \[\]: must be an object"),
        ({"polcy": "las"}, "unknown setting 'polcy': known are policy, preemption"),
        ({"policy": 3}, "policy=3: must be of type str"),
        ({"predicted_tokens": True}, "predicted_tokens=True: must be of type int"),
        ({"predicted_tokens": 0}, "predicted_tokens=0: must be at least 1"),
        ({"preemption": "park"}, "preemption='park': must be recompute or parked"),
        ({"trace": "reference"}, "trace without profile"),
        *(
            ({"policy": p}, f"policy {p}: learns from past requests")
            for p in ("las", "gittins", "laps-sd", "kernel-gittins", "alise", "boost")
        ),
        ({"policy": "srpt", "profile": "reference"}, "policy srpt: is clairvoyant"),
        ({"policy": "no.such.Policy"}, "cannot import no.such"),
        ({"predictor": "json.__version__x"}, "cannot be imported"),
        ({"predictor": "json.__name__"}, "is not a function"),
        ({"predictor": "nodots"}, "cannot be imported"),
    ],
)
def test_wrong_settings_are_reported_in_one_line(document, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        SchedulerState.of(Settings.of(document), 2)
    assert "\n" not in str(caught.value)
