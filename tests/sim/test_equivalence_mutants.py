"""What the law of the engine catches: promises that policies do not keep, and mutants of the
servers.
"""

from dataclasses import dataclass

import pytest
from hypothesis import Phase, given, settings

from lapsd.policies import (
    LAS,
    LPSRPT,
    NEVER,
    FastServe,
    KernelGittins,
    LapsSD,
    Policy,
    RoundRobin,
    Until,
)
from lapsd.policies.laps_sd import Perceived
from lapsd.sim.engine.memory import Estimate, Offload, Paged
from lapsd.sim.engine.servers.batch import BatchServer
from lapsd.sim.engine.servers.mixed import MixedServer
from lapsd.sim.engine.servers.offload import OffloadServer
from lapsd.sim.engine.servers.single import SingleServer
from lapsd.sim.engine.servers.together import Together
from lapsd.sim.engine.servers.totals import Needs
from lapsd.sim.engine.servers.waiting import Waiting
from lapsd.sim.engine.servers.worst_running import WorstRunning
from tests.capacities import OFFLOADING, SITTING
from tests.sim.equivalence import Tide, cases, same


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
        if until.rounds < NEVER and job.state is None:
            job.state = Perceived(job.predicted_tokens, self.mean_round_ns, 1)
        return until


@dataclass(frozen=True)
class Grouper(Policy):
    """Turns of three rounds, by a float sum that depends on how rounds were grouped."""

    def rank(self, job, now_ns):
        return (job.rounds % 3 == 0, job.state[1] if job.state else 0.0)

    def on_round(self, job, now_ns):
        rounds, total = job.state or (0, 0.0)
        job.state = (job.rounds, total + 0.1 * (job.rounds - rounds))

    def run_until(self, job, best_waiting, now_ns):
        return Until(rounds=(job.rounds // 3 + 1) * 3)


@dataclass(frozen=True)
class Forgetful(KernelGittins):
    """A promise made as if the request did not run: it lasts beyond the lead of who runs."""

    def run_until(self, job, best_waiting, now_ns):
        if best_waiting is not None:
            best_waiting = (best_waiting[0] + 2 * self.switch_penalty_ns + 1,)
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
    ids=[
        "a hint one round too far",
        "a missed wake",
        "a look ahead",
        "a float sum",
        "a lead counted twice",
    ],
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
        (Waiting, "push", as_it_ran, KernelGittins()),
        (SingleServer, "_limit_by_events", late_cut, LPSRPT()),
        (
            WorstRunning,
            "may_be_behind",
            lambda server, original: lambda self, rank, now_ns: False,
            LPSRPT(),
        ),
        (Waiting, "rank_again", lambda server, original: lambda self, now_ns: None, Tide()),
        (
            Waiting,
            "next_wake",
            lambda server, original: property(lambda self: NEVER),
            LAS(K=3, age_s=5e-6),
        ),
    ],
    ids=[
        "a rank as it ran",
        "a late cut",
        "an arrival overlooked",
        "a heap not ranked again",
        "a wake overlooked",
    ],
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


def which_runs(owner, original):
    """Only those who sit are compared with who waits: whoever prefills runs on."""
    return lambda self, rank, now_ns: (
        self.worst.rank(list(self.batch.to_ask), now_ns) or bool(self.worst.behind(rank, now_ns))
    )


@pytest.mark.parametrize(
    ("owner", "name", "mutate", "managers"),
    [
        (Paged, "catch_up", lambda owner, original: lambda self: None, ("paged",)),
        (MixedServer, "_comes_before_some", which_runs, SITTING),
        (MixedServer, "_choose", in_longer_stretches, ("auto",)),
    ],
    ids=["what was overwritten", "who prefills runs on", "a budget of one round for many"],
)
def test_mutants_of_steps_that_prompts_share_break_the_law(
    owner, name, mutate, managers, monkeypatch
):
    monkeypatch.setattr(owner, name, mutate(owner, getattr(owner, name)))
    assert breaks_the_law(cases(managers, prefills=("chunked", "mixed")))


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
        some = cases(("alise",)).map(
            lambda case: (case[0], FastServe(quantum_ms=1e-3, starve_s=5e-6), case[2])
        )
    else:
        some = cases(OFFLOADING)
    assert breaks_the_law(some)
