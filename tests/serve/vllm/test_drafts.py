"""Draft policies in vLLM: the lengths that rounds draft and verify, and the same greedy tokens."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from lapsd.policies import parse_policy
from lapsd.policies.drafts import DraftContext, DraftPolicy
from lapsd.serve.vllm.drafts import BoundDrafts, LiveDrafts
from lapsd.serve.vllm.job import LiveJob
from lapsd.serve.vllm.scheduler_state import SchedulerState
from lapsd.serve.vllm.settings import Settings
from lapsd.traces import Profile
from tests.serve.vllm.engines import CONTEXT, Engine
from tests.serve.vllm.test_scheduler import REQUESTS

PROFILE = Profile.constant(draft_ms=0.2, verify_ms=3.0)
ROUNDS = dict.fromkeys((1, 4), PROFILE.costs.rounds[1])
COSTS = replace(PROFILE.costs, rounds=ROUNDS)


@dataclass(frozen=True)
class Odd(DraftPolicy):
    """One token for requests of odd index, all for the others."""

    most: int = 4

    def choose(self, step):
        return np.where(step.predicted_tokens % 2, 1, self.most)


@dataclass(frozen=True)
class Raising(Odd):
    def choose(self, step):
        raise RuntimeError("no length today")


def serve(engine: Engine, spec: str):
    """Serve the requests under a policy with a draft policy, with constant costs."""
    policy = parse_policy(spec)
    drafts = BoundDrafts.of(policy.drafts, DraftContext(), COSTS, 2)
    engine.begin()
    # vLLM pads the first round of a request that finds all of its prompt in the cache
    engine.engine.reset_prefix_cache()
    engine.scheduler.configure(Settings(spec), SchedulerState(policy.bind(CONTEXT), drafts=drafts))
    coming, step = sorted(REQUESTS, key=lambda request: request.step), 0
    while coming or engine.engine.has_unfinished_requests():
        while coming and coming[0].step <= step:
            engine.add(coming.pop(0))
        engine.step()
        step += 1
    engine.engine.reset_prefix_cache()
    return engine.served


@pytest.fixture(scope="module")
def alone(plain: Engine) -> dict[str, list[int]]:
    """The tokens of each request under vLLM's own scheduler."""
    return plain.serve(REQUESTS).tokens


@pytest.mark.parametrize("drafts", ["off", "fixed:most=2", "goodput:most=4", "ema:most=4", "odd"])
@pytest.mark.parametrize("name", ["speculative", "asynchronous"])
def test_greedy_tokens_do_not_depend_on_the_draft_policy(request, alone, name, drafts):
    engine: Engine = request.getfixturevalue(name)
    spec = f"{__name__}.Odd" if drafts == "odd" else drafts
    served = serve(engine, f"rr:quantum=3+{spec}")
    assert engine.scheduler.active
    assert not engine.scheduler.failed
    assert served.tokens == alone


@pytest.mark.parametrize(("drafts", "expected"), [("off", set()), ("fixed:most=2", {1, 2})])
def test_rounds_verify_as_many_drafts_as_the_policy_says(speculative, drafts, expected):
    """At the end of an output fewer are left. vLLM does not count steps without drafts."""
    served = serve(speculative, f"fcfs+{drafts}")
    assert {n for rounds in served.rounds.values() for n, _ in rounds} - {0} <= expected


def test_requests_of_a_step_verify_their_own_lengths(speculative):
    served = serve(speculative, f"fcfs+{__name__}.Odd")
    for request in REQUESTS:
        # the scheduler subtracts the token of the prefill from the prediction
        most = 1 if (request.predicted - 1) % 2 else 4
        drafted = [n for n, _ in served.rounds[request.name]]
        assert max(drafted, default=most) <= most
    assert any(n == 4 for rounds in served.rounds.values() for n, _ in rounds)


def test_after_an_error_of_the_draft_policy_vllm_drafts_by_itself(speculative, alone):
    served = serve(speculative, f"fcfs+{__name__}.Raising")
    assert "RuntimeError: no length today" in speculative.scheduler.failed
    assert "vLLM drafts as it does by itself" in speculative.scheduler.failed
    assert speculative.scheduler.active
    assert served.tokens == alone
    assert any(n == 4 for rounds in served.rounds.values() for n, _ in rounds)


def test_a_draft_policy_needs_a_draft_as_long_as_its_own(plain, speculative):
    drafts = BoundDrafts.of(parse_policy("fcfs+fixed:most=5").drafts, DraftContext(), COSTS, 2)
    known = SchedulerState(parse_policy("fcfs+fixed:most=5"), drafts=drafts)
    with pytest.raises(ValueError, match="drafts up to 5 tokens, and the engine up to 4"):
        speculative.scheduler.configure(Settings(), known)
    with pytest.raises(ValueError, match="drafts up to 5 tokens, and the engine up to 0"):
        plain.scheduler.configure(Settings(), known)
    with pytest.raises(ValueError, match="draft policy fixed: the run has no costs of rounds"):
        speculative.scheduler.configure(Settings(), SchedulerState(parse_policy("fcfs+fixed")))


# ---- without vLLM


def job(index: int, **more) -> LiveJob:
    return LiveJob(f"r{index}", index, 0, 10, 20, 0, **more)


def test_a_step_holds_what_the_requests_have_done():
    bound = BoundDrafts.of(Odd(), DraftContext(), COSTS, 4)
    drafts = LiveDrafts(bound, print)
    jobs = [job(1, tokens=5, rounds=2), job(0, tokens=7, rounds=3)]
    jobs[0].add_drafts(4, 4)
    jobs[0].add_drafts(4, 1)
    drafts.note([(4, 4), (3, 1)])
    step = drafts._step(jobs, 6)
    assert (step.requests, step.waiting, step.most, step.context) == (2, 6, 4, 32)
    assert step.contexts.tolist() == [15, 17]
    assert (step.drafted.tolist(), step.accepted.tolist()) == ([8, 0], [5, 0])
    assert step.rejected.tolist() == [1, 0]
    assert (step.last_requests, step.last_drafted, step.last_accepted) == (2, 7, 5)
    assert len(step.verify_base) == 2 * 5 + 1
    assert drafts.choose(jobs, 6, 0) == 4
    assert drafts.lengths == {"r0": 4, "r1": 4}


@pytest.mark.parametrize(
    ("policy", "costs", "message"),
    [
        ("fcfs+oracle", COSTS, "draft policy oracle: reads what is known only after drafting"),
        ("fcfs+survival:confidence=true", COSTS, "draft policy survival: reads what is known only"),
        (
            "fcfs+goodput",
            replace(COSTS, only_draft_tokens=4),
            "the profile covers rounds of 4 draft tokens only: a draft policy needs a profile with"
            " several widths of verification",
        ),
        ("fcfs+goodput", replace(COSTS, rounds={1: ROUNDS[1]}), "batch size 4: the profile covers"),
    ],
)
def test_a_draft_policy_that_vllm_cannot_ask_is_refused_in_one_line(policy, costs, message):
    with pytest.raises(ValueError, match=message):
        BoundDrafts.of(parse_policy(policy).drafts, DraftContext(), costs, 4)


def test_a_draft_policy_is_bound_to_past_requests_and_needs_a_profile():
    known = SchedulerState.of(Settings("las+goodput:most=4", profile="reference"), 4)
    assert known.drafts is not None
    assert 0.2 < known.drafts.policy.prior < 0.8
    with pytest.raises(ValueError, match="draft policy off: chooses by the costs of rounds"):
        SchedulerState.of(Settings("fcfs+off"), 4)
