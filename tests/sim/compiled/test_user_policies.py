"""Policies of users: what compiles, what does not and what is said of it, and errors in them."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from lapsd.policies import LAS, Policy
from lapsd.policies.calls import arrived
from lapsd.sim.engine.compiled.job import JOB, KEYS, NOT_A_NUMBER, RAISED
from lapsd.sim.engine.compiled.policy import NotCompilable, compile_policy, explain
from tests.compilation import IN_PYTHON, compiled_only
from tests.sim.compiled.calls import call

WEIGHT = 0.5


def halved(tokens):
    return tokens * WEIGHT


@dataclass
class Counts:
    rounds: int = 0
    share: float = 0.25
    late: bool = False


@dataclass(frozen=True)
class Own(Policy):
    """Uses what a policy of a user may use."""

    State: ClassVar[type] = Counts

    limits: tuple[int, ...] = (3, 5)
    weights: tuple[float, ...] = (1.5, 2.5)
    most: int | None = None
    mode: str = "fast"
    table: np.ndarray = field(default_factory=lambda: np.arange(6.0).reshape(2, 3), compare=False)

    @property
    def first(self):
        return self.limits[0]

    def level(self, job):
        for place, limit in enumerate(self.limits):
            if job.tokens <= limit:
                return place
        return len(self.limits)

    def on_arrival(self, job):
        job.state.share = job.predicted_tokens / 8

    def rank(self, job, now_ns):
        most = 7
        if self.most is not None:
            most = self.most
        if self.mode == "fast":
            return (self.level(job), -job.state.share, halved(job.tokens) + self.table[1, 2], most)
        return (self.first, float(now_ns), 0.0, 0)

    def on_round(self, job, now_ns):
        job.state.rounds += 1
        job.state.late = job.state.rounds > 1
        job.queue = 2 if job.state.late else 1


def job_of(policy, **values):
    """One request, its State and its record."""
    jobs = np.zeros(1, dtype=JOB)
    jobs["queue"], jobs["predicted_tokens"], jobs["prompt_tokens"] = 1, 20, 10
    for name, value in values.items():
        jobs[name] = value
    compiled = compile_policy(policy)
    return compiled, jobs, compiled.states(policy, jobs)


def run(policy, method, now_ns=0, **values):
    """The status of a compiled method, its results, and the records after it."""
    compiled, jobs, states = job_of(policy, **values)
    parameters, out = compiled.parameters(policy), np.zeros(KEYS, dtype=np.int64)
    status = call(
        getattr(compiled, method),
        parameters.address,
        int(jobs.ctypes.data),
        now_ns,
        int(out.ctypes.data),
    )
    return status, out.tolist(), jobs, states


def key_of(value):
    bits = int(np.float64(value + 0.0).view(np.int64))
    return bits if bits >= 0 else bits ^ (2**63 - 1)


@pytest.mark.parametrize("most", [None, 9])
def test_a_policy_of_a_user_compiles_as_it_is_written(most):
    status, keys, _, states = run(Own(most=most), "rank", tokens=4)
    assert status == 0
    assert keys == [1, key_of(-2.5), key_of(2.0 + 5.0), 7 if most is None else most]
    assert states[0].tolist() == (0, 2.5, False)


def test_state_and_queue_are_written_by_on_round():
    policy = Own()
    compiled, jobs, states = job_of(policy)
    parameters = compiled.parameters(policy)
    seen = []
    for _ in range(2):
        address = int(jobs.ctypes.data)
        assert call(compiled.on_round, parameters.address, address, 0, 0) == 0
        seen.append((int(jobs["queue"][0]), states[0].tolist()))
    assert seen == [(1, (1, 2.5, False)), (2, (2, 2.5, True))]


def test_a_text_selects_another_compilation_and_numbers_do_not():
    fast, slow = compile_policy(Own()), compile_policy(Own(mode="slow"))
    assert fast is compile_policy(Own(limits=(1, 2, 3), weights=(1.0,)))
    assert IN_PYTHON or fast.rank != slow.rank
    assert run(Own(mode="slow", limits=(11,)), "rank", now_ns=3)[1] == [11, key_of(3.0), 0, 0]


@pytest.mark.parametrize(
    "values", [(-np.inf, -2.0, -1e-300, -0.0, 1e-300, 0.5, 3.0, np.inf), (-7.0, -6.999999, 7.0)]
)
def test_float_ranks_are_ordered_as_floats(values):
    @dataclass(frozen=True)
    class Valued(Policy):
        value: float = 0.0

        def rank(self, job, now_ns):
            return (self.value,)

    keys = [run(Valued(value), "rank")[1][0] for value in values]
    assert keys == sorted(set(keys))
    assert run(Valued(0.0), "rank")[1] == run(Valued(-0.0), "rank")[1]


@dataclass(frozen=True)
class Wrong(Policy):
    """Fails in the way that `kind` names, once two tokens are out."""

    State: ClassVar[type] = Counts
    kind: int = 0

    def rank(self, job, now_ns):
        if self.kind == 1 and job.tokens == 2:
            return (np.nan,)
        return (1.0 / (job.tokens - 2) if self.kind == 2 else 0.0,)

    def on_round(self, job, now_ns):
        if self.kind == 3 and job.tokens == 2:
            job.state.rounds = 5 // (job.tokens - 2)


@pytest.mark.parametrize(
    ("kind", "method", "code", "message"),
    [
        (1, "rank", NOT_A_NUMBER, "rank (nan,) of request 0 at 7 ns: must be a tuple of numbers"),
        (2, "rank", RAISED, "rank of request 0 at 7 ns raised ZeroDivisionError"),
        (3, "on_round", RAISED, "on_round of request 0 at 7 ns raised ZeroDivisionError"),
    ],
)
def test_an_error_of_a_policy_names_policy_request_and_time(kind, method, code, message):
    policy = Wrong(kind)
    assert run(policy, method, tokens=1)[0] == 0
    status, _, jobs, states = run(policy, method, now_ns=7, tokens=2)
    assert status == code
    error = explain(policy, jobs, 0, 7, method)
    assert str(error).startswith("policy Wrong: ")
    assert message in str(error)
    assert len(states) == 1


def policy_with(**members):
    return dataclass(frozen=True)(type("Mine", (Policy,), members))()


def longer(self, job, now_ns):
    return (1, 2) if job.tokens else (1,)


def writes_tokens(self, job, now_ns):
    job.tokens = 3


def writes_float(self, job, now_ns):
    job.state.rounds = 0.5


def uses_isinstance(self, job, now_ns):
    return (isinstance(job.tokens, int),)


def too_long(self, job, now_ns):
    return (1, 2, 3, 4, 5)


def no_tuple(self, job, now_ns):
    return job.tokens


def ranked(self, job, now_ns):
    return (job.tokens,)


class SuperRank(LAS):
    def rank(self, job, now_ns):
        return super().rank(job, now_ns)


@dataclass(frozen=True)
class Remembering(Policy):
    seen: set = field(default_factory=set)

    def rank(self, job, now_ns):
        return (job.index in self.seen,)


@compiled_only
@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (policy_with(rank=longer), "rank: "),
        (policy_with(rank=ranked, on_round=writes_tokens), "job.tokens must not be written"),
        (
            policy_with(rank=ranked, on_round=writes_float, State=Counts),
            "State.rounds is of type int64, and float64 is written to it",
        ),
        (policy_with(rank=ranked, on_round=writes_float), "the policy declares no State"),
        (policy_with(rank=too_long), "a rank must be a tuple of 1 to 4 numbers"),
        (policy_with(rank=no_tuple), "a rank must be a tuple of 1 to 4 numbers"),
        (SuperRank(), "super has no compiled form"),
        (Remembering(), "Remembering.seen is a set"),
    ],
)
def test_a_policy_that_cannot_be_compiled_is_refused_in_one_line(policy, message):
    with pytest.raises(NotCompilable) as refused:
        compile_policy(policy)
    text = str(refused.value)
    assert message in text
    assert text.startswith("policy ")
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (dataclass(type("S", (), {"__annotations__": {"x": int}})), "fields have defaults"),
        (dataclass(type("S", (), {"__annotations__": {"x": str}, "x": "a"})), "State.x is of type"),
        (type("S", (), {}), "State must be a dataclass"),
    ],
)
def test_a_state_must_be_a_dataclass_of_numbers_with_defaults(kind, message):
    policy = policy_with(rank=ranked, State=kind)
    with pytest.raises(ValueError, match=message):
        compile_policy(policy)


def test_a_field_of_the_state_keeps_its_type():
    def on_arrival(self, job):
        job.state.rounds = 0.5

    policy = policy_with(rank=ranked, on_arrival=on_arrival, State=Counts)
    error = "raised TypeError: job.state.rounds=0.5: must be of type int"
    with pytest.raises(ValueError) as raised:
        arrived(policy, 3, 10, 10)
    assert str(raised.value) == f"policy Mine: on_arrival of request 3 {error}"
    with pytest.raises(ValueError, match=f"on_arrival of request 0 {error}"):
        job_of(policy)
