"""A draft policy chooses lengths: the compiled loop, the specification and the second simulator."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numba
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, LAS, LPSRPT, SRPT
from lapsd.policies.drafts import DraftPolicy, Ema, Fixed, Oracle, Survival
from lapsd.policies.drafts.spec import DRAFT_POLICIES
from lapsd.sim.engine.drafting import Drafting, parse_graph_sizes
from lapsd.sim.engine.simulation import simulate_many
from lapsd.traces import (
    Profile,
    RoundCost,
    accepted_runs,
    at_draft_length,
    load_profile,
    price,
    ragged_round,
    trace_from_rounds,
)
from tests.builders import context, profiles, row, workload
from tests.capacities import OFFLOADING
from tests.sim.drafting import Scripted, draft_cases, positioned, with_positions
from tests.sim.equivalence import compiled_run, equal_runs
from tests.sim.second_simulator import schedule

ENGINES = ("simpy", "compiled")


def some_work():
    """A workload of three requests whose trace says what is accepted at each output position."""
    trace = trace_from_rounds([row(f"r{i}", 5 + i, [1, 0, 3, 2]) for i in range(3)])
    costs = Profile.constant(draft_ms=1, verify_ms=4)
    return workload(price(with_positions(trace, 0), costs), [0, 1, 2])


@pytest.mark.parametrize("name", [*DRAFT_POLICIES, Scripted.name])
@given(data=st.data())
@settings(max_examples=12)
def test_the_compiled_loop_equals_the_specification_under_each_draft_policy(name, data):
    work, policy, capacity = data.draw(draft_cases(names=(name,)))
    past = context(work.priced)
    wanted = simulate(work, policy, context=past, capacity=capacity, engine="simpy", check=True)
    found = compiled_run(work, policy, capacity)
    assert equal_runs(wanted, found)


@pytest.mark.deep
@given(draft_cases())
@settings(max_examples=5_000)
def test_the_compiled_loop_equals_the_specification_in_thousands_of_cases(case):
    work, policy, capacity = case
    past = context(work.priced)
    wanted = simulate(work, policy, context=past, capacity=capacity, engine="simpy", check=True)
    assert equal_runs(wanted, compiled_run(work, policy, capacity))


def second_drafts(most, drafting):
    """`Scripted`, for the second simulator."""
    steps = iter(range(1, 10**9))

    def choose(requests, last, waiting):
        step = next(steps)
        return [
            (
                r.tokens
                + 3 * r.rounds
                + 5 * r.accepted
                + r.drafted
                + 7 * r.rejected
                + r.context
                + r.predicted
                + last[2]
                + last[3]
                + waiting
                + step
            )
            % (most + 1)
            for r in requests
        ]

    return SimpleNamespace(
        choose=choose,
        most=most,
        padded=drafting.padded,
        graphs=drafting.graph_sizes,
        switch_ns=drafting.switch_ns,
        late=drafting.late,
    )


@given(draft_cases(), st.sampled_from(["fcfs", "lp-srpt", "las-round"]), st.integers(1, 6))
@settings(max_examples=100)
def test_the_second_simulator_agrees_under_a_draft_policy(case, kind, most):
    work, policy, capacity = case
    if capacity.manager.partition(":")[0] in OFFLOADING:
        kind = "fcfs"
    drafts = Scripted(most=min(most, policy.drafts.most))
    policy = {"fcfs": FCFS, "lp-srpt": LPSRPT, "las-round": LAS}[kind]
    if kind == "las-round":
        from lapsd.policies import LASRound as policy
    found = simulate(
        work,
        policy(drafts=drafts),
        context=context(work.priced),
        capacity=capacity,
        engine="compiled",
    )
    second = second_drafts(drafts.most, capacity.drafting)
    first, token, finish, switching, preempted, _ = schedule(work, capacity, kind, drafts=second)
    assert found.first_service_ns.tolist() == first
    assert found.first_token_ns.tolist() == token
    assert found.finish_ns.tolist() == finish
    assert found.switch_ns.tolist() == switching
    assert found.preemptions.tolist() == preempted


@given(positioned(closed=False), st.integers(0, 4), st.integers(1, 3), st.booleans())
@settings(max_examples=60)
def test_a_fixed_draft_length_equals_a_trace_replayed_at_that_length(work, n, batch, padded):
    trace = replace(work.priced.trace, accept_prob=None)
    replayed = at_draft_length(trace, n, np.random.default_rng(0))
    other = replace(work, priced=price(replayed, work.priced.profile))
    capacity = Capacity(batch, "unlimited", drafting=Drafting(padded))
    past = context(work.priced)
    for engine in ENGINES:
        chosen = simulate(
            work, LPSRPT(drafts=Fixed(most=n)), context=past, capacity=capacity, engine=engine
        )
        recorded = simulate(other, LPSRPT(), context=past, capacity=capacity, engine=engine)
        assert equal_runs(chosen, recorded)
        assert np.array_equal(chosen.drafted, recorded.drafted)


@given(profiles(), st.integers(1, 3), st.integers(0, 4), st.integers(0, 500))
def test_a_ragged_round_of_equal_lengths_costs_as_a_round(profile, batch, n, contexts):
    ragged = ragged_round(profile.costs, batch, 4)
    assert ragged(batch * (n + 1), n, contexts) == RoundCost(profile.costs.rounds, batch)(
        n, contexts
    )


@given(st.lists(draft_cases(managers=("auto", "paged")), min_size=1, max_size=1), st.data())
@settings(max_examples=20)
def test_many_runs_in_one_call_equal_one_at_a_time(cases, data):
    [(work, policy, capacity)] = cases
    most = policy.drafts.most  # the memory is large enough for drafts of this length
    recorded = [None] if work.priced.trace.drafted.max() <= most else []
    policies = [
        replace(policy, drafts=drafts)
        for drafts in (
            Scripted(most=min(2, most)),
            Ema(most=min(4, most), warmup=1, interval=1),
            *recorded,
            Scripted(most=min(2, most)),
        )
    ]
    past, count = context(work.priced), len(policies)
    together = simulate_many([work] * count, policies, [past] * count, capacity)
    for one, policy in zip(together, policies, strict=True):
        assert equal_runs(
            one, simulate(work, policy, context=past, capacity=capacity, engine="simpy")
        )


@dataclass(frozen=True)
class Wrong(DraftPolicy):
    """Returns what no draft policy may return."""

    name: ClassVar[str] = "wrong"
    how: str = "negative"

    def choose(self, step):
        if self.how == "negative":
            return np.full(step.requests, -1)
        if self.how == "long":
            return np.full(step.requests, 9)
        if self.how == "few":
            return np.zeros(step.requests + 1, np.int64)
        if self.how == "raises":
            return np.full(step.requests, 1 // (step.requests - step.requests))
        return np.full(step.requests, 0.5)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("negative", "returned length -1: must be between 0 and 7"),
        ("long", "returned length 9: must be between 0 and 7"),
        ("few", "one length per request"),
        ("raises", "raised ZeroDivisionError"),
        ("fractional", "must be an array of whole numbers"),
    ],
)
@pytest.mark.parametrize("engine", ["simpy", "auto"])
@pytest.mark.filterwarnings("ignore::lapsd.sim.engine.SlowEngine")
def test_a_wrong_length_is_refused_in_one_line(how, says, engine):
    work = some_work()
    with pytest.raises(ValueError, match="draft policy wrong: choose at") as error:
        simulate(work, FCFS(drafts=Wrong(how=how)), context=context(work.priced), engine=engine)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_policy_with_true_times_is_refused_with_a_draft_policy():
    work = some_work()
    with pytest.raises(ValueError, match="not with a draft policy"):
        simulate(work, SRPT(drafts=Fixed(most=2)), context=context(work.priced))


def test_a_draft_policy_without_what_it_reads_is_refused():
    work = some_work()
    bare = replace(work.priced.trace, draft_prob=None)
    work = replace(work, priced=price(bare, work.priced.profile))
    past = context(work.priced)
    with pytest.raises(ValueError, match="needs the column draft_prob"):
        simulate(work, FCFS(drafts=Survival(confidence=True)), context=past)
    late = Capacity(drafting=Drafting(late=True))
    with pytest.raises(ValueError, match="draft_lag=1 hides them"):
        simulate(work, FCFS(drafts=Survival(confidence=True)), context=past, capacity=late)
    bare = replace(bare, acceptable=None)
    work = replace(work, priced=price(bare, work.priced.profile))
    with pytest.raises(ValueError, match="holds neither 'acceptable' nor"):
        simulate(work, FCFS(drafts=Oracle()), context=past)


@pytest.mark.parametrize("text", ["8/4", "0", "x", "4/4", "-1/3", ""])
def test_graph_sizes_must_ascend(text):
    with pytest.raises(ValueError, match="graph_sizes="):
        parse_graph_sizes(text)


def test_drafts_longer_than_the_profile_prices_are_refused():
    with pytest.raises(ValueError, match="prices verifications of up to 17 tokens per request"):
        ragged_round(load_profile("reference").costs, 4, 17)
    with pytest.raises(ValueError, match="covers rounds of 0 draft tokens only"):
        ragged_round(load_profile("opt-13b-a100-tables").costs, 4, 2)


@given(st.data(), st.sampled_from([(5, 2), (5, 1), (3, 1), (7, 3), (4, 0), (2, 0)]))
@settings(max_examples=40)
def test_rounds_of_one_length_can_be_cut_to_some_shorter_lengths(data, lengths):
    recorded, shorter = lengths
    work = data.draw(positioned(closed=False))
    trace, rng = work.priced.trace, np.random.default_rng(data.draw(st.integers(0, 99)))
    certain = replace(trace, accept_prob=(rng.random(len(trace.acceptable)) < 0.7).astype(float))
    trace = replace(certain, acceptable=accepted_runs(certain, rng), accept_prob=None)
    rounds = at_draft_length(trace, recorded, np.random.default_rng(0))
    known = replace(work, priced=price(rounds, work.priced.profile))
    bare = replace(work, priced=price(replace(rounds, acceptable=None), work.priced.profile))
    policy = FCFS(drafts=Fixed(most=shorter))
    runs = [
        simulate(w, policy, context=context(work.priced), engine="simpy") for w in (known, bare)
    ]
    assert equal_runs(*runs)
    with pytest.raises(ValueError, match=r"holds neither 'acceptable' nor"):
        simulate(bare, FCFS(drafts=Ema(most=2)), context=context(work.priced))


@numba.njit
def next_length(step, i):
    return step.tokens[i] % (step.most + 1)


@dataclass(frozen=True)
class WithCompiledFunction(DraftPolicy):
    """Reads the step in a function that the user has compiled."""

    name: ClassVar[str] = "with-compiled-function"
    most: int = 3

    def choose(self, step):
        lengths = np.zeros(step.requests, np.int64)
        for i in range(step.requests):
            lengths[i] = next_length(step, i)
        return lengths


@dataclass(frozen=True)
class WithFunction(WithCompiledFunction):
    """The same with the function in Python."""

    name: ClassVar[str] = "with-function"

    def choose(self, step):
        python = getattr(next_length, "py_func", next_length)  # it is compiled, or nothing is
        return np.array([python(step, i) for i in range(step.requests)])


def test_columns_that_a_compiled_function_reads_are_filled():
    work, kinds = some_work(), (WithFunction, WithCompiledFunction)
    runs = [
        simulate(work, FCFS(drafts=kind()), context=context(work.priced), engine=engine)
        for kind, engine in zip(kinds, ENGINES, strict=True)
    ]
    assert equal_runs(*runs)
