"""Plans served by vLLM, and their records."""

import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st

from lapsd.calibrate.models.loading import load_tokenizer
from lapsd.calibrate.prompts import bundled_prompts
from lapsd.calibrate.reference import REFERENCE_DRAFT, REFERENCE_TARGET
from lapsd.serve.plan import Plan, PlannedRequest
from lapsd.serve.record import Record
from lapsd.serve.validation.recorded import trace_of
from lapsd.serve.vllm.cpu_sampling import expand
from lapsd.serve.vllm.probe import BURST, EVERY, Probe
from lapsd.serve.vllm.runner import BLOCK, Runner
from tests.serve.vllm.engines import CONTEXT, MS
from tests.serve.vllm.test_scheduler import REQUESTS

N = 4


# one for all tests: engines share state of the process, which an engine that ends removes
@pytest.fixture(scope="session")
def runner(pair) -> Runner:
    return Runner()


@pytest.fixture(scope="module")
def plan(pair) -> Plan:
    """A plan with the requests of the other tests.

    They ask for one token less, because the first token counts as part of the prompt.
    """
    requests = [
        PlannedRequest(
            request.name,
            "toy",
            3 * MS * request.step,
            request.prompt,
            request.tokens - 1,
            request.tokens - 1,
            stream=i,
        )
        for i, request in enumerate(REQUESTS)
    ]
    return Plan(
        requests,
        "lp-srpt",
        CONTEXT,
        "busy",
        batch=2,
        kv_slots="unlimited",
        target=str(pair[0]),
        draft=str(pair[1]),
        draft_tokens=N,
        ignore_stops=True,
    )


@pytest.mark.parametrize("evict", ["swap", "recompute"])
@pytest.mark.parametrize("policy", ["fcfs", "lp-srpt", "laps-sd"])
def test_a_record_accounts_for_all_time_and_all_tokens(runner, plan, plain, policy, evict):
    alone = plain.serve(REQUESTS).tokens
    record = runner.serve(replace(plan, policy=policy, evict=evict))
    assert Record.from_json(record.to_json()) == record
    assert record.complete
    at = 0
    for step in record.steps:
        assert step.start_ns >= at
        assert step.round_ns == step.end_ns - step.start_ns > 0
        assert 1 <= len(step.running) <= 2
        at = step.end_ns
    assert record.end_ns == at == record.busy_ns + record.idle_ns
    for index, served in record.by_index.items():
        request = plan.requests[index]
        assert served.tokens == alone[request.request_id][1:]
        mine = [(s, s.running.index(index)) for s in record.steps if index in s.running]
        assert sum(s.emitted[i] for s, i in mine) == len(served.tokens)
        assert [s.accepted[i] for s, i in mine if s.emitted[i]] == list(served.accepted)
        assert (
            served.first_service_ns
            == mine[0][0].start_ns
            >= request.arrival_ns
            == served.arrival_ns
        )
        assert served.finish_ns == mine[-1][0].end_ns
        rounds = sum(s.round_ns for s, i in mine if s.emitted[i])
        assert served.service_ns == rounds
        prompt = [s.scheduled[i] for s, i in mine if not s.emitted[i]]
        assert sum(prompt) >= len(request.prompt)  # more if it was computed again
        assert {s.scheduled[i] for s, i in mine if s.accepted[i]} == {N + 1}
    trace = trace_of(plan, record)
    assert trace.output_tokens.tolist() == [request.max_new_tokens for request in plan.requests]
    again = sum(served.preemptions for served in record.results)
    assert again > 0 if policy == "lp-srpt" else policy != "fcfs" or not again


def test_sampling_at_almost_zero_temperature_is_greedy(runner):
    """vLLM 0.32 needs the fix of `lapsd.serve.vllm.cpu_sampling` for it on CPUs.

    The models of the pair must differ in their tokens.
    """
    tokenizer = load_tokenizer(str(REFERENCE_TARGET))
    prompts = [tokenizer(prompt.text)["input_ids"] for prompt in bundled_prompts("code", 0)[:4]]
    requests = [
        PlannedRequest(str(i), "code", 0, prompt, 20, 20, stream=i)
        for i, prompt in enumerate(prompts)
    ]
    plan = Plan(
        requests,
        "fcfs",
        CONTEXT,
        batch=2,
        kv_slots="unlimited",
        target=str(REFERENCE_TARGET),
        draft=str(REFERENCE_DRAFT),
        draft_tokens=N,
    )
    greedy, sampled = (runner.serve(replace(plan, temperature=t)) for t in (0.0, 0.01))
    assert [s.tokens for s in sampled.by_index.values()] == [
        s.tokens for s in greedy.by_index.values()
    ]
    assert sum(sum(s.accepted) for s in greedy.results) > 20  # some draft tokens are accepted


@given(
    values=st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=1, max_size=6),
    counts=st.lists(st.integers(0, 5), min_size=6, max_size=6),
)
def test_each_draft_token_gets_the_temperature_of_its_request(values, counts):
    counts = counts[: len(values)]
    ends = torch.tensor(counts, dtype=torch.int32).cumsum(0, dtype=torch.int32)
    found = expand(torch.tensor(values), ends, sum(counts), replace_from=0, replace_to=1)
    expected = [
        value or 1.0 for value, count in zip(values, counts, strict=True) for _ in range(count)
    ]
    assert found.tolist() == pytest.approx(expected)


def test_calibration_steps_run_between_live_steps_while_the_clock_is_stopped(
    runner, plan, plain, monkeypatch
):
    burst, asleep = Probe._burst, 1.0

    def late(self, at_ns):
        time.sleep(asleep)
        burst(self, at_ns)

    monkeypatch.setattr(Probe, "_burst", late)
    monkeypatch.setattr("lapsd.serve.vllm.probe.LEAST", 12)
    alone = plain.serve(REQUESTS).tokens
    other = replace(
        plan,
        requests=[replace(request, arrival_ns=0) for request in plan.requests[:2]],
        policy="rr",
    )
    record = runner.serve(plan, [other, replace(other, batch=1)])
    assert record.complete
    for index, served in record.by_index.items():
        assert served.tokens == alone[plan.requests[index].request_id][1:]
    assert all(
        before.end_ns <= after.start_ns for before, after in itertools.pairwise(record.steps)
    )
    assert record.end_ns == record.busy_ns + record.idle_ns
    bursts = max(len(record.steps) // EVERY, 6)  # 5 steps each, in turn, until each plan has 12
    assert [len(one.steps) for one in record.interleaved] == [
        BURST * (bursts - bursts // 2),
        BURST * (bursts // 2),
    ]
    assert all(
        step.round_ns < asleep * 1e9 for one in (record, *record.interleaved) for step in one.steps
    )
    assert {len(step.running) for step in record.interleaved[1].steps} == {1}
    assert all(
        0 < step.start_ns <= record.end_ns for one in record.interleaved for step in one.steps
    )
    assert 2 in {len(step.running) for step in record.interleaved[0].steps}
    assert runner.serve(plan).interleaved == ()  # and the engine has no requests left
    assert Record.from_json(record.to_json()) == record


def test_ctrl_c_keeps_finished_requests_and_the_engine(runner, plan):
    record = runner.serve(replace(plan, policy="tests.serve.vllm.mine.CtrlC"))
    assert not record.complete
    assert 0 < len(record.results) < len(plan.requests)
    assert all(served.tokens for served in record.results)
    assert runner.serve(plan, [plan]).complete
    cut = runner.serve(replace(plan, policy="tests.serve.vllm.mine.CtrlC"), [plan])
    assert not cut.complete
    assert cut.interleaved == ()
    assert runner.serve(plan).complete


def test_on_the_wall_clock_the_engine_sleeps_until_the_next_arrival(runner, plan):
    late = replace(
        plan, clock="wall", requests=[plan.requests[4], replace(plan.requests[6], arrival_ns=10**9)]
    )
    record = runner.serve(late)
    assert record.by_index[1].first_service_ns == 10**9
    assert record.idle_ns > 0


def test_a_run_whose_policy_fails_is_an_error(runner, plan):
    with pytest.raises(
        ValueError,
        match=r"failed, and the run continued without it: request \S+: policy Failing: rank of",
    ):
        runner.serve(replace(plan, policy="tests.serve.vllm.mine.Failing"))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"kv_slots": 2}, "kv_slots 2 with evict swap: vLLM cannot swap out caches"),
        (
            {"policy": "srpt"},
            "policy srpt: is clairvoyant, and the plan does not hold the true sizes",
        ),
    ],
)
def test_a_plan_that_vllm_cannot_serve_is_refused_in_one_line(runner, plan, changed, complaint):
    with pytest.raises(ValueError) as caught:
        runner.serve(replace(plan, **changed))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_request_longer_than_the_context_is_refused(runner, plan):
    long = replace(plan.requests[3], prompt=[1] * 250)
    with pytest.raises(
        ValueError, match=r"request 1 \(r3\): prompt and output may take 280 tokens"
    ):
        runner.serve(replace(plan, requests=[plan.requests[0], replace(long, arrival_ns=10**6)]))


def test_the_process_answers_each_pair_of_files_with_one_line(plan, pair, tmp_path):
    good, bad, ugly = (tmp_path / name for name in ("plan.json", "bad.json", "ugly.json"))
    good.write_text(replace(plan, draft_tokens=0, kv_tokens=20 * BLOCK).to_json())
    bad.write_text(json.dumps({"lapsd_plan": 99}))
    ugly.write_text(replace(plan, target=str(tmp_path)).to_json())
    none = tmp_path / "none.json"
    lines = f"{bad}\t{none}\n{ugly}\t{none}\n{good}\t{tmp_path / 'record.json'}\n"
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "lapsd.serve.vllm.runner"],
        input=lines,
        cwd=root,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
        timeout=600,
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith(("error", "done"))]
    assert len(answers) == 3, done.stderr[-2000:]
    assert answers[0] == "error\tlapsd_plan: version 2 is needed"
    assert answers[1].startswith(f"error\tvLLM refuses {tmp_path}")
    assert answers[2] == "done"
    record = Record.from_json((tmp_path / "record.json").read_text())
    assert len(record.results) == len(plan.requests)
    assert record.notes["blocks"] == 20
    assert not none.exists()
    assert all(set(served.drafted) == {0} for served in record.results)
