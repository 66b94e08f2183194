"""Our simulator agrees to the nanosecond with a second one, from docs/reference/model.md."""

import math
from dataclasses import astuple

import pytest
from hypothesis import Phase, given, settings, strategies as st

from lapsd import simulate
from lapsd.policies import LAS, LPSRPT, POLICIES, Alise, FastServe, LapsSD, RoundRobin
from lapsd.sim.engine.memory import AliseMemory, FastServeMemory, Paged, PagedPrefixes, alise
from lapsd.sim.engine.memory.offload import Offload
from lapsd.sim.engine.memory.prefix_cache import PrefixCache
from lapsd.sim.experiment.prepared_scenario import time_model_of
from tests.builders import context, workloads
from tests.capacities import EVERY, capacities
from tests.sim.prefixes import prefixed, with_cache
from tests.sim.second_alise import SecondAlise, SecondFastServe
from tests.sim.second_simulator import schedule


class Predicting(LPSRPT):
    """A policy that estimates remaining times, for memory managers that need them."""

    def remaining_ns(self, job):
        return 7 * max(0, job.predicted_tokens - job.tokens)


KINDS = st.sampled_from(
    ["fcfs", "rr", "lp-sjf", "lp-sjf-mean", "lp-srpt", "srpt", "las", "las-round", "gittins"]
) | st.sampled_from(["laps-sd", "alise", "fastserve"])
PREDICTABLE = st.sampled_from(["alise", "alise", "lp-srpt", "fastserve", "laps-sd", "las", "fcfs"])
PARAMETERS = (
    st.integers(1, 5),
    st.sampled_from([1.5, 2.0, 4.0]),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.05, 0.2, 1.0]),
    st.sampled_from([None, None, 5_000, 100_000]),
    st.fixed_dictionaries(
        {
            "follow": st.booleans(),
            "order": st.sampled_from(["remaining", "total"]),
            "preempt": st.booleans(),
            "perceptible_first": st.booleans(),
            "overrun": st.sampled_from([1.0, 1.5]),
            "stability": st.sampled_from(["range", "sd", "window", "posterior"]),
            "count": st.sampled_from([0, 0, 0, 2]),
        }
    ),
)


FOUND = (
    "first_service_ns",
    "first_token_ns",
    "finish_ns",
    "switch_ns",
    "preemptions",
    "cached_tokens",
)
MODELS = ("published", "exact")


def cases(kinds=KINDS, managers=EVERY):
    """Return strategies for workload and server, the kind of policy, and its parameters."""
    drawn = workloads(closed=True).flatmap(
        lambda work: st.tuples(st.just(work), capacities(work, managers))
    )
    return (drawn, kinds, *PARAMETERS)


@st.composite
def servers_with_prefixes(draw):
    """A workload with prefixes, and a server that caches them."""
    work, block = draw(prefixed(draw(workloads(closed=True))))
    return work, with_cache(draw(capacities(work, ("paged",))), block)


CACHED = (servers_with_prefixes(), KINDS, *PARAMETERS)
CASES, ASYNCHRONOUS = cases(), cases(PREDICTABLE, ("alise", "alise", "fastserve"))


def agree(case, kind, K, M, gamma, delta, age, interpretation):
    work, limits = case
    terms, costs = time_model_of(work.priced), work.priced.profile.costs
    past = context(work.priced)
    age_s = None if age is None else age / 1e9
    policy = {
        "las": LAS(K=K, M=M, age_s=age_s),
        "laps-sd": LapsSD(K=K, M=M, age_s=age_s, gamma=gamma, delta=delta, **interpretation),
        "rr": RoundRobin(quantum=gamma),
        "lp-srpt": Predicting(),
        "alise": Alise(K=K, M=M, age_s=age_s, overrun=M, model=MODELS[gamma % 2]),
        "fastserve": FastServe(quantum_ms=delta or 1e-3, levels=K, starve_s=age_s),
    }.get(kind) or POLICIES[kind]()
    sizes = sorted(past.past_sizes_ns)
    middle = (sizes[(len(sizes) - 1) // 2] + sizes[len(sizes) // 2]) / 2
    bounds = [max(1, math.floor(min(middle / M ** (K / 2) * M**j, 1e18))) for j in range(K - 1)]
    seconds = {
        "alise": lambda of: SecondAlise(
            of,
            (*astuple(terms)[:5], costs.prefill),
            form=MODELS[gamma % 2],
            overrun=M,
            bounds=bounds,
            age=age,
        ),
        "fastserve": lambda of: SecondFastServe(
            of,
            costs.prefill,
            starve=age or math.inf,
            quanta=[*(round((delta or 1e-3) * 1e6) * 2**j for j in range(K - 1)), 2**62],
        ),
    }
    expected = schedule(
        work,
        limits,
        kind,
        bounds=bounds,
        gamma=gamma,
        delta=delta,
        c_bar=past.mean_round_ns,
        sizes=sizes,
        interpretation=interpretation,
        age=age,
        second=seconds.get(kind),
    )
    for engine in ("simpy", "auto"):
        run = simulate(work, policy, context=past, capacity=limits, engine=engine)
        found = [getattr(run, name).tolist() for name in FOUND]
        assert found == list(expected)


@settings(max_examples=300)
@given(*CASES)
def test_both_simulators_agree_to_the_nanosecond(
    case, kind, K, M, gamma, delta, age, interpretation
):
    agree(case, kind, K, M, gamma, delta, age, interpretation)


@settings(max_examples=200)
@given(*CACHED)
def test_both_simulators_agree_with_prefix_caches(
    case, kind, K, M, gamma, delta, age, interpretation
):
    agree(case, kind, K, M, gamma, delta, age, interpretation)


@settings(max_examples=200)
@given(*ASYNCHRONOUS)
def test_both_simulators_agree_with_asynchronous_kv_transfers(
    case, kind, K, M, gamma, delta, age, interpretation
):
    agree(case, kind, K, M, gamma, delta, age, interpretation)


def leave_in_order(cache, hashes, leave=PrefixCache.leave):
    """Let a request use its blocks no longer, the first one first."""
    for hash_ in hashes:
        leave(cache, [hash_])


@pytest.mark.parametrize(
    ("owner", "name", "mutant"),
    [
        (Offload, "_until_free", lambda self, lacking, now_ns: now_ns),
        (AliseMemory, "_offload", lambda self, longest_first, now_ns: False),
        pytest.param(
            *(alise, "count_that_fit", lambda needed, room: len(list(needed))),
            marks=pytest.mark.deep,  # detected after hundreds of cases
        ),
        (FastServeMemory, "soon_free", property(lambda self: self.blocks)),
        (Paged, "_lacks", lambda self, request, blocks: request.kv_tokens - 1),
        (PagedPrefixes, "_saved", lambda self, requests: 0),
        (PagedPrefixes, "schedule", lambda self, request, tokens: None),
        (PrefixCache, "leave", lambda self, hashes: leave_in_order(self, hashes)),
    ],
    ids=[
        "rounds do not wait for transfers",
        "no swap-out ahead",
        "every request has its turn",
        "no request leaves ahead",
        "no block survives",
        "no block is shared",
        "no chunk is found",
        "the first block of a prompt leaves first",
    ],
)
def test_mutants_of_memory_managers_differ_from_the_second_simulator(
    owner, name, mutant, monkeypatch
):
    monkeypatch.setattr(owner, name, mutant)
    in_blocks = {Paged: cases(managers=("paged",)), PagedPrefixes: CACHED, PrefixCache: CACHED}
    some = in_blocks.get(owner, ASYNCHRONOUS)
    with pytest.raises(AssertionError):
        settings(max_examples=2_000, phases=[Phase.generate])(given(*some)(agree))()
