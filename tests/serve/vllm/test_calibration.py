"""Calibration recovers known costs from synthetic records; and an end-to-end calibration."""

import shutil
import sys

import numpy as np
import pytest

from lapsd.calibrate.reference import REFERENCE_TARGET
from lapsd.cli import calibrate_vllm
from lapsd.serve.calibration import costs_of, samples_of
from lapsd.serve.record import Record, Step
from lapsd.traces import load_profile, load_trace
from tests.serve.vllm.models import save_pair

N = 4


def step_ns(batch: int, tokens: int, contexts: int) -> int:
    """Return the cost of a step: it grows with requests, contexts and tokens (faster up to 64)."""
    return (
        1_000_000
        + 200_000 * batch
        + 9_000 * min(tokens, 64)
        + 4_000 * max(0, tokens - 64)
        + 150 * contexts
    )


def synthetic_step(
    batch: int, decoding: bool, rng: np.random.Generator, noise: float = 0.0
) -> Step:
    """Return a step with a known cost; if not `decoding`, its last request is a prompt."""
    scheduled, contexts = [N + 1] * batch, rng.integers(10, 500, batch).tolist()
    emitted = [1] * batch
    if not decoding:
        scheduled[-1], contexts[-1], emitted[-1] = int(rng.choice([8, 64, 200])), 0, 0
    ns = step_ns(batch, sum(scheduled), sum(contexts))
    ns = round(ns * rng.choice([1 - noise, 1 + 3 * noise], p=[0.75, 0.25]))
    return Step(0, ns, list(range(batch)), ns, contexts, scheduled, [0] * batch, emitted)


def records(noise: float = 0.0) -> list[Record]:
    rng = np.random.default_rng(0)
    steps = [
        synthetic_step(b, decoding, rng, noise)
        for b in (1, 2, 4)
        for decoding in (True, False)
        for _ in range(400)
    ]
    return [Record("vllm", "fcfs", steps, [], 0, 1)]


def test_calibration_recovers_known_costs():
    costs, fits = costs_of(samples_of(records()), N)
    assert sorted(costs.rounds) == sorted(costs.steps) == [1, 2, 4]
    for batch in (1, 2, 4):
        found = costs.rounds[batch]
        for contexts in (0, 300, 1500):
            want = step_ns(batch, batch * (N + 1), contexts)
            assert found.verify(N + 1)(contexts) + found.host_ns == pytest.approx(want, rel=1e-3)
            for prompt in (
                (8, 64, 200) if batch > 1 or not contexts else ()
            ):  # a prompt alone had nothing before it
                tokens = (batch - 1) * (N + 1) + prompt
                want = step_ns(batch, tokens, contexts)
                assert costs.steps[batch](tokens, contexts) == pytest.approx(want, rel=1e-3)
    assert costs.only_draft_tokens == N
    assert all(fit.median_error < 1e-3 for fit in fits.terms.values())


def test_terms_are_means_when_a_quarter_of_the_steps_is_late():
    exact, late = records()[0], records(noise=0.2)[0]
    costs, _ = costs_of(samples_of([late]), N)
    rounds = [s for s in late.steps if len(s.running) == 1 and s.emitted == [1]]
    predicted_ns = sum(costs.rounds[1].verify(N + 1)(s.contexts[0]) for s in rounds)
    assert predicted_ns == pytest.approx(sum(s.round_ns for s in rounds), rel=1e-3)
    assert predicted_ns == pytest.approx(
        sum(s.round_ns for s in exact.steps[: len(rounds)]), rel=0.1
    )


@pytest.mark.parametrize(
    ("kept", "complaint"), [(10, "10 rounds of a single request"), (405, "5 prompts")]
)
def test_too_few_samples_are_refused(kept, complaint):
    samples = samples_of(records()).iloc[:kept]
    with pytest.raises(ValueError, match=complaint):
        costs_of(samples, N)


def test_a_calibration_writes_a_profile_and_a_trace(tmp_path, monkeypatch):
    pytest.importorskip("vllm", reason="make vllm installs it")
    monkeypatch.chdir(tmp_path)
    target, draft = save_pair(tmp_path, vocabulary=4096)
    for folder in (target, draft):
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(REFERENCE_TARGET / file, folder)
    options = [
        "--requests",
        "4",
        "--max-new-tokens",
        "30",
        "--greedy",
        "--batches",
        "1,3",
        "--prompts",
        "arithmetic",
    ]
    where = [
        "--target",
        str(target),
        "--draft",
        str(draft),
        "--vllm-python",
        sys.executable,
        "--out",
        "found",
    ]
    assert calibrate_vllm.main([*options, *where]) == 0
    trace, profile = load_trace("found/trace.parquet"), load_profile("found/profile.json")
    assert len(trace) == 4
    assert trace.output_tokens.max() <= 30
    assert trace.provenance.estimated == (
        "the token that prefill emits counts as part of the prompt",
    )
    assert profile.kind == "measured"
    assert {1, 3} <= set(profile.costs.rounds)
    assert 1 in profile.costs.steps
    assert profile.round_cost(1)(4, 50) > 0
    assert "tokens of all its requests" in profile.provenance.notes["steps"]
