"""The law of the engine: skipping ahead changes nothing, to the nanosecond; and mutants that break it are caught."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from policies import (
    FCFS,
    LAS,
    LPSJF,
    LPSRPT,
    NEVER,
    SRPT,
    TIE,
    Alike,
    AlikeCeiling,
    AlikeOnline,
    Alise,
    AMin,
    Boost,
    FastServe,
    Gittins,
    LapsSD,
    LapsSDAdapted,
    LASRound,
    LPSJFMean,
    Policy,
    RoundRobin,
    Until,
)  # fmt: skip
from policies.laps_sd import Perceived
from sim import Capacity, simulate
from sim.engine.memory import Estimate, Offload, Paged
from sim.engine.run import promises
from sim.engine.servers.batch import BatchServer
from sim.engine.servers.mixed import MixedServer
from sim.engine.servers.offload import OffloadServer
from sim.engine.servers.single import SingleServer
from sim.engine.servers.together import Together
from sim.engine.servers.totals import Needs
from sim.engine.servers.waiting import Waiting
from sim.engine.servers.worst_seat import WorstSeat
from sim.experiment.run import run
from sim.experiment.stage import Stage
from tests.builders import MS, capacities, outlook, row, workload, workloads
from traces import Linear, Profile, RoundTerms, Workload, load_profile, load_trace, price, trace_from_rounds

COLUMNS = ("arrival_ns", "first_service_ns", "first_token_ns", "finish_ns", "service_ns", "switch_ns", "preemptions")


@dataclass(frozen=True)
class Tide(Policy):
    """A toy whose number of queues follows the load: one queue when few are there, three when many are."""

    few: int = 2
    present: list[int] = field(default_factory=lambda: [0], metadata={"bound": True})

    def bind(self, outlook):
        return replace(self, present=[0])

    @property
    def queues(self):
        return 1 if self.present[0] <= self.few else 3

    def rank(self, job, now_ns):
        return (min(job.rounds // 2 + 1, self.queues), job.predicted_tokens)

    def run_until(self, job, best_waiting, now_ns):
        return Until(rounds=(job.rounds // 2 + 1) * 2)

    def observe(self, event):
        queues = self.queues
        self.present[0] += 1 if event.kind == "arrival" else -1
        return self.queues != queues


SITTING = ("auto", "paged", "reserve")  # caches that stay, or move between rounds
OFFLOADING = ("fastserve", "alise")  # caches that move beside rounds


@st.composite
def policies(draw, foreseeing=False):
    """Any policy; or, `foreseeing`, one that tells memory what it foresees, be it what is left or a rank's fall."""
    queues = {"K": draw(st.integers(1, 5)), "M": draw(st.sampled_from([1.5, 2.0, 4.0])),
              "age_s": draw(st.sampled_from([None, None, 1e-9, 5e-6, 1e-4]))}  # fmt: skip
    stability = {
        "gamma": draw(st.integers(1, 4)), "delta": draw(st.sampled_from([0.0, 0.05, 0.2, 1.0])),
        "follow": draw(st.booleans()), "order": draw(st.sampled_from(["remaining", "total"])),
        "perceptible_first": draw(st.booleans()), "preempt": draw(st.booleans()),
        "overrun": draw(st.sampled_from([1.0, 1.5])),
        "stability": draw(st.sampled_from(["range", "sd", "window", "posterior"])),
        "count": draw(st.sampled_from([0, 0, 0, 2])), "stay": draw(st.sampled_from([0.0, 0.0, 1.0])),
    }  # fmt: skip
    alise = Alise(**queues, overrun=stability["overrun"], model=draw(st.sampled_from(["published", "exact"])))
    plain = [FCFS(), LPSJF(), LPSJFMean(), LPSRPT(), SRPT(), LASRound(), Gittins(), Tide(draw(st.integers(0, 4)))]
    alike = {"index": draw(st.sampled_from(["gittins", "mean"])), "stay": draw(st.sampled_from([0.0, 1.0, 3.0])),
             "patience": draw(st.sampled_from([0.0, 0.0, 0.5]))}  # fmt: skip
    srpt = LPSRPT(draw(st.sampled_from([None, 0.0, 0.5, 1.0])), draw(st.sampled_from([0.0, 1.0])))
    relatives = [srpt, srpt, AMin(draw(st.sampled_from([0.0, 0.5]))), TIE(), Boost(),
                 LapsSDAdapted(rule=draw(st.sampled_from(["present", "quantiles", "both"])))]  # fmt: skip
    online = AlikeOnline(**alike, known=draw(st.sampled_from([0, None])))
    fastserve = FastServe(
        quantum_ms=draw(st.sampled_from([1e-5, 1e-3, 0.01])), levels=draw(st.integers(1, 6)),
        starve_s=draw(st.sampled_from([None, 1e-9, 5e-6, 1e-4])),
    )  # fmt: skip
    if foreseeing:
        return draw(st.sampled_from([alise, alise, fastserve, LAS(**queues), LapsSD(**queues, **stability)]))
    return draw(st.sampled_from([
        *plain, alise, fastserve,
        RoundRobin(draw(st.integers(1, 4))), LAS(**queues), LAS(**queues), LapsSD(**queues, **stability),
        LapsSD(**queues, **stability), LapsSD(**queues),
        Alike(**alike), Alike(**alike), AlikeCeiling(), online, *relatives,
    ]))  # fmt: skip


@st.composite
def cases(draw, managers=(*SITTING, *OFFLOADING), max_requests=12, prefills=("alone", "batched")):
    """A workload, a policy, and a capacity whose memory, where it is limited, is tight."""
    foreseeing = managers == OFFLOADING and draw(st.booleans())
    work, policy = draw(workloads(max_requests=max_requests, closed=True)), draw(policies(foreseeing))
    return work, policy, draw(capacities(work, managers, prefills))


def same(work: Workload, policy: Policy, capacity: Capacity, check: bool = True) -> bool:
    """Whether skipping ahead gives what stepping through every round gives."""
    past = outlook(work.priced)
    slow, fast = (
        simulate(work, policy, outlook=past, capacity=capacity, skip=skip, check=check) for skip in (False, True)
    )
    assert promises(policy), "else both step"
    return all(np.array_equal(getattr(slow, c), getattr(fast, c)) for c in COLUMNS) and (
        (slow.rounds, slow.idle_ns, slow.end_ns) == (fast.rounds, fast.idle_ns, fast.end_ns)
    )


@settings(max_examples=400)
@given(cases())
def test_skipping_ahead_changes_nothing(case):
    assert same(*case)


@settings(max_examples=400)
@given(cases(OFFLOADING))
def test_skipping_ahead_changes_nothing_where_caches_move_beside_rounds(case):
    assert same(*case)


@settings(max_examples=400)
@given(cases(SITTING, prefills=("mixed", "chunked")))
def test_skipping_ahead_changes_nothing_where_prompts_share_steps(case):
    assert same(*case)


@pytest.mark.parametrize("policy", [FCFS(), Alise(), FastServe(), LapsSD()], ids=lambda policy: policy.name)
@pytest.mark.parametrize("memory", [
    {"memory": "tokens"}, {"memory": "reserve"}, {"memory": "paged"}, {"memory": "fastserve"}, {"memory": "alise"},
    {"memory": "alise:overlap=false"}, {"memory": "paged", "evict": "recompute", "prefill": "chunked"},
    {"memory": "paged:park=true", "evict": "recompute", "prefill": "chunked", "token_budget": 500},
    {"memory": "reserve", "prefill": "mixed"},
], ids=lambda memory: "-".join(map(str, memory.values())))  # fmt: skip
def test_skipping_ahead_changes_nothing_for_many_requests_of_real_lengths(memory, policy):
    assert same_of_real_lengths(policy, batch=24, fit=24, requests=100, load=1.3, **{"prefill": "batched"} | memory)


def same_of_real_lengths(policy: Policy, batch: int, fit: float, seed: int = 0, **setting: Any) -> bool:
    """As `same`, of Azure's lengths in memory for so many requests of mean length."""
    trace, profile = load_trace("azure-conversations"), load_profile("opt-13b-a100")
    lengths = trace.prompt_tokens + trace.output_tokens
    tokens = max(int(lengths.mean() * fit), int(lengths.max()) + 200)
    stage = Stage.of(trace, profile, batch=batch, kv_tokens=tokens, length_predictor="noisy:0.5", **setting)
    slow, fast = (run(stage, policy, seed, skip=skip) for skip in (False, True))
    return all(np.array_equal(getattr(slow, c), getattr(fast, c)) for c in COLUMNS) and (
        (slow.rounds, slow.idle_ns, slow.end_ns) == (fast.rounds, fast.idle_ns, fast.end_ns)
    )


@st.composite
def real_settings(draw):
    """A server of tight memory, and requests of real lengths."""
    batch, manager = draw(st.integers(1, 16)), draw(st.sampled_from(["tokens", "reserve", "paged", *OFFLOADING]))
    parameters = {
        "paged": st.sampled_from(["", ":park=true", ":block=1"]),
        "alise": st.sampled_from(["", ":overlap=false", ":high=0.6+low=0.3", ":int8=all"]),
    }
    moves = manager in OFFLOADING
    return {
        "policy": draw(st.sampled_from([FCFS(), Alise(), Alise(age_s=2.0), FastServe(quantum_ms=200), LapsSD(), LAS(),
                                        Gittins(), LPSJF(), LPSRPT(), AMin()])),
        "batch": batch, "fit": batch * draw(st.sampled_from([0.7, 1.0, 1.3])), "requests": draw(st.integers(20, 80)),
        "load": draw(st.sampled_from([0.7, 1.0, 1.5])), "seed": draw(st.integers(0, 99)),
        "memory": manager + draw(parameters.get(manager, st.just(""))),
        "evict": "swap" if moves else draw(st.sampled_from(["swap", "recompute"])),
        "prefill": draw(st.sampled_from(["alone", "batched"] if moves else ["batched", "mixed", "chunked"])),
    }  # fmt: skip


@pytest.mark.deep
@settings(max_examples=500, derandomize=False)
@given(real_settings(), st.sampled_from([64, 200, 512, 2048]))
def test_skipping_ahead_changes_nothing_of_real_lengths_whatever_the_server(setting, budget):
    chunked = {"token_budget": budget} if setting["prefill"] == "chunked" else {}
    assert same_of_real_lengths(**setting, **chunked)


@pytest.mark.deep
@settings(max_examples=10_000, derandomize=False)
@given(cases(max_requests=20))
def test_skipping_ahead_changes_nothing_in_any_of_ten_thousand_cases(case):
    assert same(*case)


class TooFar(RoundRobin):
    """A hint one round too far."""

    def run_until(self, job, best_waiting, now_ns):
        return Until(rounds=super().run_until(job, best_waiting, now_ns).rounds + 1)


class Sleeper(LAS):
    """A missed wake."""

    def run_until(self, job, best_waiting, now_ns):
        return super().run_until(job, best_waiting, now_ns)

    def wake(self, job, now_ns):
        return NEVER


class Peeper(LapsSD):
    """A look beyond the committed rounds: perceived as soon as it is known that it will be."""

    def run_until(self, job, best_waiting, now_ns):
        until = super().run_until(job, best_waiting, now_ns)
        if until.rounds < NEVER and job.memo is None:
            job.memo = Perceived(job.predicted_tokens, self.mean_round_ns, 1)
        return until


@dataclass(frozen=True)
class Grouper(Policy):
    """Turns of three rounds, by a float sum that depends on how rounds were grouped."""

    def rank(self, job, now_ns):
        return (job.rounds % 3 == 0, job.memo[1] if job.memo else 0.0)

    def learn(self, job, now_ns):
        rounds, total = job.memo or (0, 0.0)
        job.memo = (job.rounds, total + 0.1 * (job.rounds - rounds))

    def run_until(self, job, best_waiting, now_ns):
        return Until(rounds=(job.rounds // 3 + 1) * 3)


@dataclass(frozen=True)
class Forgetful(Alike):
    """A promise made as if the request did not run: it lasts beyond the lead of who runs."""

    def run_until(self, job, best_waiting, now_ns):
        if best_waiting is not None:
            best_waiting = (best_waiting[0] + 2 * self.lead_ns + 1,)
        return super().run_until(job, best_waiting, now_ns)


class Unsteady(LPSRPT):
    """A rank that falls, called steady."""

    def run_until(self, job, best_waiting, now_ns):
        return super().run_until(job, best_waiting, now_ns)._replace(steady=True)

    def wake(self, job, now_ns):
        return super().wake(job, now_ns)


def breaks_the_law(some_cases) -> bool:
    @settings(max_examples=3_000, phases=[Phase.generate])  # ends at the first that breaks it
    @given(some_cases)
    def law(case):
        assert same(*case, check=False)

    try:
        law()
    except (AssertionError, ValueError, LookupError):  # differs, or finds itself lost
        return True
    return False


@pytest.mark.parametrize(
    "mutant",
    [TooFar(2), Sleeper(K=3, age_s=5e-6), Peeper(gamma=2, delta=0.2), Grouper(), Forgetful()],
    ids=["a hint one round too far", "a missed wake", "a look ahead", "a float sum", "a lead counted twice"],
)
def test_mutants_of_policies_break_the_law(mutant):
    assert breaks_the_law(cases().map(lambda case: (case[0], mutant, case[2])))


def late_cut(server, original):
    """An arrival that matters is seen one round too late."""
    return lambda self, request, last, *rest: min(last, original(self, request, last, *rest) + 1)


def as_it_ran(server, original):
    """Who stops is put back with the rank that it had while it ran."""

    def push(self, request, rank, now_ns):
        if request.preemptions and not request.running:
            request.running = True
            rank = self.policy.rank(request, now_ns)
            request.running = False
        original(self, request, rank, now_ns)

    return push


def test_a_rank_that_is_called_steady_and_is_not_breaks_the_law():
    assert breaks_the_law(cases(OFFLOADING).map(lambda case: (case[0], Unsteady(), case[2])))


@pytest.mark.parametrize(
    ("owner", "name", "mutate", "policy"),
    [
        (Waiting, "push", as_it_ran, Alike()),
        (SingleServer, "_limit_by_events", late_cut, LPSRPT()),
        (WorstSeat, "may_be_behind", lambda server, original: lambda self, rank, now_ns: False, LPSRPT()),
        (Waiting, "rank_again", lambda server, original: lambda self, now_ns: None, Tide()),
        (Waiting, "next_wake", lambda server, original: property(lambda self: NEVER), LAS(K=3, age_s=5e-6)),
    ],
    ids=["a rank as it ran", "a late cut", "an arrival overlooked", "a heap not ranked again", "a wake overlooked"],
)
def test_mutants_of_the_engine_break_the_law(owner, name, mutate, policy, monkeypatch):
    monkeypatch.setattr(owner, name, mutate(owner, getattr(owner, name)))
    assert breaks_the_law(cases().map(lambda case: (case[0], policy, case[2])))


def blocks_not_caught_up(server, original):
    """Blocks that a stretch took are not taken once it is over."""
    return lambda self, request: None


def a_round_more(owner, original):
    """Who runs is said to fit a round longer than it does."""
    return lambda self, most, room: min(most, original(self, most, room) + 1)


@pytest.mark.parametrize(
    ("owner", "name", "mutate"),
    [
        (Together, "within", a_round_more),
        (Paged, "_catch_up", blocks_not_caught_up),
        (Needs, "leave", lambda owner, original: lambda self, request, rounds: None),
    ],
    ids=["a promise one round too long", "blocks of a stretch forgotten", "who left counted"],
)
def test_mutants_of_memory_in_blocks_break_the_law(owner, name, mutate, monkeypatch):
    monkeypatch.setattr(owner, name, mutate(owner, getattr(owner, name)))
    assert breaks_the_law(cases(("paged",)))


def in_longer_stretches(owner, original):
    """A stretch goes on though those who run may lack budget in its rounds."""

    def choose(self, now_ns):
        fresh = original(self, now_ns)
        self._one_round = False
        return fresh

    return choose


def who_sits(owner, original):
    """Only those who sit are compared with who waits: whoever prefills runs on."""
    return lambda self, rank, now_ns: (
        self.worst.rank(list(self.batch.to_ask), now_ns) or bool(self.worst.behind(rank, now_ns))
    )


@pytest.mark.parametrize(
    ("owner", "name", "mutate"),
    [
        (Paged, "catch_up", lambda owner, original: lambda self: None),
        (MixedServer, "_comes_before_some", who_sits),
        (MixedServer, "_choose", in_longer_stretches),
    ],
    ids=["what was overwritten", "who prefills runs on", "a budget of one round for many"],
)
def test_mutants_of_steps_that_prompts_share_break_the_law(owner, name, mutate, monkeypatch):
    monkeypatch.setattr(owner, name, mutate(owner, getattr(owner, name)))
    assert breaks_the_law(cases(SITTING, prefills=("mixed", "chunked")))


def unasked(owner, original):
    """A memory that is not told what the policy foresees."""

    def made(self):
        original(self)
        self.memory.estimate = Estimate()

    return made


@pytest.mark.parametrize(
    ("owner", "name", "mutate"),
    [
        (Together, "within", a_round_more),
        (Offload, "_catch_up", lambda owner, original: lambda self, requests: None),
        (Together, "stops", lambda owner, original: lambda self, held: None),
        (Offload, "next_ns", lambda owner, original: property(lambda self: NEVER)),
        (OffloadServer, "_commit", lambda owner, original: BatchServer._commit),
        (OffloadServer, "__post_init__", unasked),
        (OffloadServer, "_sort_out", lambda owner, original: lambda self, now_ns: None),
    ],
    ids=[
        "asked too late",
        "blocks of a stretch forgotten",
        "who stopped holds on",
        "a move's end",
        "room for who is outside",
        "unasked",
        "all apart",
    ],
)
def test_mutants_of_caches_that_move_beside_rounds_break_the_law(owner, name, mutate, monkeypatch):
    monkeypatch.setattr(owner, name, mutate(owner, getattr(owner, name)))
    if mutate is unasked:  # few notice
        some = cases(OFFLOADING[1:]).map(lambda case: (case[0], FastServe(quantum_ms=1e-3, starve_s=5e-6), case[2]))
    else:
        some = cases(OFFLOADING)
    assert breaks_the_law(some)


FLAT = RoundTerms(Linear(0, 0), {1: 10 * MS}, {1: 0}, 0)
PROFILE = Profile.constant(draft_ms=0, verify_ms=10)
PROFILE = replace(PROFILE, costs=replace(PROFILE.costs, rounds={1: FLAT, 4: FLAT}))


def by_rounds(rounds, arrivals_ms, predicted, prompts=None):
    rows = [row(str(i), 1 if prompts is None else prompts[i], [0] * k, n=0) for i, k in enumerate(rounds)]
    return workload(price(trace_from_rounds(rows), PROFILE), arrivals_ms, predicted)


def test_a_seat_that_is_free_for_want_of_memory_goes_to_a_newcomer_who_fits():
    # 0 runs; 1, too large beside it, waits; 2 goes before 1 and fits
    work = by_rounds([6, 6, 2], [0, 0, 15], [7, 9, 8], prompts=[8, 40, 1])
    policy, capacity = LPSRPT(), Capacity(2, None, 48)
    assert same(work, policy, capacity)
    run = simulate(work, policy, outlook=outlook(work.priced), capacity=capacity)
    assert run.first_service_ns[2] == 20 * MS < run.first_service_ns[1]


def test_who_lost_a_seat_to_memory_goes_behind_equals_at_the_next_boundary():
    # equal ranks: 0 and 1 run until memory is short for both; then 2, which came before 1 moved, is first in line
    @dataclass(frozen=True)
    class Moves(Policy):
        def rank(self, job, now_ns):
            return (0 if job.index == 0 else 1,)

        def learn(self, job, now_ns):
            job.queue = 2 if job.rounds >= 2 else 1

        def run_until(self, job, best_waiting, now_ns):
            return Until(rounds=2 if job.rounds < 2 else NEVER)

    work = by_rounds([9, 9, 9], [0, 0, 0], [1, 1, 1], prompts=[10, 10, 5])
    capacity = Capacity(2, None, 31)
    assert same(work, Moves(), capacity)
    run = simulate(work, Moves(), outlook=outlook(work.priced), capacity=capacity)
    assert run.preemptions.tolist()[1] >= 1
    assert run.first_service_ns[2] < run.finish_ns[0]


@dataclass(frozen=True)
class Loud(LAS):
    """Ranks otherwise, and does not say for how long."""

    def rank(self, job, now_ns):
        return (-job.queue, job.rounds)


def test_a_promise_made_for_other_methods_is_not_trusted():
    assert promises(LAS())
    assert promises(LapsSD())
    assert not promises(Loud())
    assert not promises(Policy())
    work = by_rounds([3, 4, 5], [0, 0, 5], [3, 4, 5])
    past = outlook(work.priced)
    fast, slow = (simulate(work, Loud(), outlook=past, skip=skip).finish_ns for skip in (True, False))
    assert fast.tolist() == slow.tolist()


def test_a_wake_in_the_past_is_refused_by_name():
    class Insomniac(LAS):
        def run_until(self, job, best_waiting, now_ns):
            return Until()

        def wake(self, job, now_ns):
            return now_ns

    work = by_rounds([3, 4], [0, 0], [3, 4])
    with pytest.raises(ValueError, match="policy las: wake of request 0 at 0 ns is not after 0 ns"):
        simulate(work, Insomniac(), outlook=outlook(work.priced))
