"""Prefix caches: requests share the blocks of equal leading parts of their prompts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings, strategies as st

from lapsd import Capacity, simulate, simulate_many
from lapsd.policies import FCFS
from lapsd.sim.engine.compiled import runs
from lapsd.sim.engine.occupancy import Occupancy
from lapsd.traces import Linear, Prefixes, Profile, RoundTerms, Workload, price, trace_from_rounds
from tests.builders import MS, context, row, workload, workloads
from tests.sim.equivalence import compiled_equals_specification, equal_runs
from tests.sim.prefixes import prefix_cases, prefix_draft_cases, prefixed
from tests.sim.python_loop import STEPS, python_loop

FLAT = RoundTerms(Linear(0, 0), {1: 10 * MS}, {1: 0}, 0)
PROFILE = Profile.constant(draft_ms=0, verify_ms=10)
PROFILE = replace(
    PROFILE, costs=replace(PROFILE.costs, rounds={1: FLAT, 4: FLAT}, prefill=Linear(0, MS))
)
ENGINES = pytest.mark.parametrize("engine", ["simpy", "compiled"])


def requests(prompts, arrivals_ms):
    """Return a workload of requests of two rounds, given by prompt tokens and hashes of blocks of
    4 tokens.
    """
    rows = [row(str(i), p, [0, 0], n=0, prefix_hashes=h) for i, (p, h) in enumerate(prompts)]
    return workload(price(trace_from_rounds(rows, prefix_block=4), PROFILE), arrivals_ms)


def served(work: Workload, engine: str = "auto", batch: int = 1, **capacity):
    how = {"evict": "recompute", "prefix_cache": True, **capacity}
    server = Capacity(batch, "unlimited", **how)
    return simulate(work, FCFS(), context=context(work.priced), capacity=server, engine=engine)


def finish_ms(run):
    return (run.finish_ns / MS).tolist()


@settings(max_examples=300)
@given(prefix_cases())
def test_the_compiled_loop_equals_the_specification_with_a_prefix_cache(case):
    assert compiled_equals_specification(*case, check=True)


@settings(max_examples=100)
@given(prefix_draft_cases())
def test_the_compiled_loop_equals_the_specification_with_a_prefix_cache_and_drafts(case):
    assert compiled_equals_specification(*case)


@ENGINES
def test_the_least_recently_used_blocks_leave_first(engine):
    """Of 5 blocks the third request takes that of hash 3, the last block of the second one, and the
    fourth that of hash 8. So the fourth computes 4 tokens of 12, and the last one 4 of 8.
    """
    long, short, other = (13, [1, 2, 3]), (9, [1, 2]), (9, [7, 8])
    work = requests([short, long, other, long, other], [0] * 5)
    run = served(work, engine, manager="paged:block=4+blocks=5")
    assert run.cached_tokens.tolist() == [0, 8, 0, 8, 4]
    assert finish_ms(run) == [28, 52, 80, 104, 128]


@ENGINES
def test_shared_blocks_count_once(engine):
    """Two requests of 4 blocks, 3 of which they share, fit into 5 blocks."""
    alike, apart = [(13, [1, 2, 3])] * 2, [(13, [1, 2, 3]), (13, [4, 5, 6])]
    how = {"engine": engine, "batch": 2, "manager": "paged:block=4+blocks=5"}
    assert finish_ms(served(requests(alike, [0, 0]), **how)) == [32, 32]
    assert finish_ms(served(requests(apart, [0, 0]), **how)) == [32, 64]


@ENGINES
def test_a_request_finds_what_another_computes_in_the_same_step(engine):
    """The second request decodes from the first step on, of 12 ms for tokens and 10 ms for a
    round.
    """
    work = requests([(13, [1, 2, 3])] * 2, [0, 0])
    run = served(work, engine, batch=2, manager="paged:block=4+blocks=9", prefill="mixed")
    assert finish_ms(run) == [42, 32]


def test_runs_in_one_call_begin_with_an_empty_cache():
    work = requests([(13, [1, 2, 3])] * 2, [0, 0])
    how = {"manager": "paged:block=4+blocks=9", "evict": "recompute", "prefix_cache": True}
    past, server = context(work.priced), Capacity(1, "unlimited", **how)
    for run in simulate_many([work] * 2, [FCFS()] * 2, [past] * 2, server, "compiled"):
        assert run.cached_tokens.tolist() == [0, 12]


@ENGINES
def test_the_last_token_of_a_prompt_is_always_computed(engine):
    work = requests([(8, [1, 2])] * 2, [0, 0])
    assert served(work, engine, manager="paged:block=4+blocks=9").cached_tokens.tolist() == [0, 4]


class CheckedOccupancy(Occupancy):
    """Checks what a memory says of itself at each decision."""

    def went_on(self, memory, waiting, ns):
        filled, taken = memory.usage()
        assert 0 <= filled <= taken <= memory.blocks * memory.block


@settings(max_examples=100)
@given(prefix_cases())
def test_memory_holds_no_more_than_is_occupied(case):
    work, policy, capacity = case
    past = context(work.priced)
    simulate(work, policy, context=past, capacity=capacity, occupancy=CheckedOccupancy())


@settings(max_examples=100)
@given(workloads().flatmap(prefixed), st.sampled_from([1, 2, 3]), st.sampled_from(STEPS))
def test_with_enough_memory_requests_find_what_earlier_ones_have(case, batch, prefill):
    work, block = case
    run = served(work, batch=batch, manager=f"paged:block={block}+blocks=9999", prefill="batched")
    trace, seen, found = work.priced.trace, set(), []
    for i in work.rows.tolist():
        hashes = trace.prefixes.of_row(i)[: max(0, trace.prompt_tokens[i] - 1) // block].tolist()
        found.append(block * sum(h in seen for h in hashes))
        seen.update(hashes)
    assert run.cached_tokens.tolist() == found
    own = trace.take(work.rows)
    assert own.prefixes.reusable(own.prompt_tokens) == pytest.approx(
        sum(found) / max(1, own.prompt_tokens.sum())
    )


@settings(max_examples=100)
@given(workloads(closed=True), st.sampled_from([1, 2, 3]), st.sampled_from(["alone", *STEPS]))
def test_a_cache_that_is_never_hit_changes_nothing(work, batch, prefill):
    trace = work.priced.trace
    blocks = trace.prompt_tokens // 2
    prefixes = Prefixes(2, np.append(0, np.cumsum(blocks)), np.arange(blocks.sum()))
    work = replace(work, priced=price(replace(trace, prefixes=prefixes), work.priced.profile))
    how = {"batch": batch, "manager": "paged:block=2+blocks=9999", "prefill": prefill}
    assert equal_runs(served(work, **how), served(work, prefix_cache=False, **how))


MUTANTS = {
    "a block is found before it is computed": (
        "prefixes",
        "s.prefixes.computed[s.hashes[job.first_hash + found]]",
        "s.prefixes.users[s.hashes[job.first_hash + found]]",
    ),
    "the first block of a prompt leaves first": (
        "prefixes",
        "range(job.first_hash + job.hashes - 1, job.first_hash - 1, -1)",
        "range(job.first_hash, job.first_hash + job.hashes)",
    ),
    "the most recently used block leaves first": (
        "prefixes",
        "number = s.at.first_unused\n",
        "number = s.at.last_unused\n",
    ),
    "each request counts its blocks": (
        "prefixes",
        "return counted * s.at.hashed",
        "return 0 * counted",
    ),
    "running requests count their blocks again": (
        "prefixes",
        "return (s.at.uses - s.at.used) * s.at.hashed",
        "return 0",
    ),
    "a block is found a step later": (
        "prefixes",
        "job.uncomputed_tokens + tokens\n",
        "job.uncomputed_tokens\n",
    ),
    "one block more is dropped": (
        "prefixes",
        "free // s.at.hashed)",
        "max(0, free // s.at.hashed - 1))",
    ),
    "a request that comes back computes all": (
        "prefixes",
        "max(0, kv_tokens(s, i) - 1) - cached",
        "max(0, kv_tokens(s, i) - 1) - (0 if job.started else cached)",
    ),
    "cached tokens are prefilled": (
        "loop",
        "missing = job.prompt_tokens - 1 - job.cached_tokens",
        "missing = job.prompt_tokens - 1",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_of_the_prefix_cache_is_detected(mutant, monkeypatch):
    monkeypatch.setattr(runs, "serve", python_loop(*MUTANTS[mutant]))

    @settings(max_examples=1_000, phases=[Phase.generate])  # ends at the first difference
    @given(prefix_cases())
    def equivalence(case):
        assert compiled_equals_specification(*case)

    with pytest.raises((AssertionError, ValueError, LookupError, ArithmeticError)):
        equivalence()
