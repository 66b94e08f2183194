"""The equivalence tests detect policies that break their promises, and mutants of the servers."""

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
from lapsd.sim.engine.memory import Estimate, Offload, Paged
from lapsd.sim.engine.servers.batch import BatchServer
from lapsd.sim.engine.servers.mixed import MixedServer
from lapsd.sim.engine.servers.offload import OffloadServer
from lapsd.sim.engine.servers.single import SingleServer
from lapsd.sim.engine.servers.together import Together
from lapsd.sim.engine.servers.totals import Needs
from lapsd.sim.engine.servers.waiting import Waiting
from lapsd.sim.engine.servers.worst_running import WorstRunning
from tests.capacities import OFFLOADING, SYNCHRONOUS
from tests.sim.equivalence import QueuesByLoad, cases, skipping_equals_stepping


class TooFar(RoundRobin):
    """Promises one round too many."""

    def run_until(self, job, best_waiting, now_ns):
        return Until(rounds=super().run_until(job, best_waiting, now_ns).rounds + 1)


class Sleeper(LAS):
    """Never wakes."""

    def run_until(self, job, best_waiting, now_ns):
        return super().run_until(job, best_waiting, now_ns)

    def wake(self, job, now_ns):
        return NEVER


class Peeper(LapsSD):
    """Looks beyond the committed rounds: is perceptible as soon as it will become so."""

    def run_until(self, job, best_waiting, now_ns):
        until = super().run_until(job, best_waiting, now_ns)
        if until.rounds < NEVER and not job.state.perceptible:
            job.state.perceptible = True
            job.state.output_tokens, job.state.ns = job.predicted_tokens, self.mean_round_ns
        return until


@dataclass(frozen=True)
class Grouper(Policy):
    """Turns of three rounds, with a float sum that depends on how rounds are grouped."""

    def rank(self, job, now_ns):
        return (job.rounds % 3 == 0, job.state[1] if job.state else 0.0)

    def on_round(self, job, now_ns):
        rounds, total = job.state or (0, 0.0)
        job.state = (job.rounds, total + 0.1 * (job.rounds - rounds))

    def run_until(self, job, best_waiting, now_ns):
        return Until(rounds=(job.rounds // 3 + 1) * 3)


@dataclass(frozen=True)
class Forgetful(KernelGittins):
    """Counts the switch penalty twice, and so promises too many rounds."""

    def run_until(self, job, best_waiting, now_ns):
        if best_waiting is not None:
            best_waiting = (best_waiting[0] + 2 * self.switch_penalty_ns + 1,)
        return super().run_until(job, best_waiting, now_ns)


class Unsteady(LPSRPT):
    """Says that its rank is steady, though the rank falls."""

    def run_until(self, job, best_waiting, now_ns):
        return super().run_until(job, best_waiting, now_ns)._replace(steady=True)

    def wake(self, job, now_ns):
        return super().wake(job, now_ns)


def is_detected(some_cases) -> bool:
    """Return whether skipping and stepping differ in some case."""

    @settings(max_examples=3_000, phases=[Phase.generate])  # ends at the first difference
    @given(some_cases)
    def equivalence(case):
        assert skipping_equals_stepping(*case, check=False)

    try:
        equivalence()
    except (AssertionError, ValueError, LookupError):  # the runs differ, or one of them fails
        return True
    return False


@pytest.mark.parametrize(
    "mutant",
    [TooFar(2), Sleeper(K=3, age_s=5e-6), Peeper(gamma=2, delta=0.2), Grouper(), Forgetful()],
    ids=[
        "promises one round too many",
        "never wakes",
        "looks ahead",
        "float sum",
        "penalty counted twice",
    ],
)
def test_policies_that_break_their_promises_are_detected(mutant):
    assert is_detected(cases().map(lambda case: (case[0], mutant, case[2])))


def late_cut(server, original):
    """The server notices an arrival one round too late."""
    return lambda self, request, last, *rest: min(last, original(self, request, last, *rest) + 1)


def as_it_ran(server, original):
    """A stopped request waits with the rank that it had while it ran."""

    def push(self, request, rank, now_ns):
        if request.preemptions and not request.running:
            request.running = True
            rank = self.policy.rank(request, now_ns)
            request.running = False
        original(self, request, rank, now_ns)

    return push


def test_a_policy_with_a_falling_rank_called_steady_is_detected():
    assert is_detected(cases(OFFLOADING).map(lambda case: (case[0], Unsteady(), case[2])))


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
        (Waiting, "rank_again", lambda server, original: lambda self, now_ns: None, QueuesByLoad()),
        (
            Waiting,
            "next_wake",
            lambda server, original: property(lambda self: NEVER),
            LAS(K=3, age_s=5e-6),
        ),
    ],
    ids=[
        "rank while running",
        "arrival too late",
        "arrival ignored",
        "waiting not ranked again",
        "wake ignored",
    ],
)
def test_mutants_of_the_servers_are_detected(owner, name, mutate, policy, monkeypatch):
    monkeypatch.setattr(owner, name, mutate(owner, getattr(owner, name)))
    assert is_detected(cases().map(lambda case: (case[0], policy, case[2])))


def blocks_not_caught_up(server, original):
    """Blocks that requests need during a stretch are not allocated at its end."""
    return lambda self, request: None


def a_round_more(owner, original):
    """Running requests are said to fit one round longer than they do."""
    return lambda self, most, room: min(most, original(self, most, room) + 1)


@pytest.mark.parametrize(
    ("owner", "name", "mutate"),
    [
        (Together, "within", a_round_more),
        (Paged, "_catch_up", blocks_not_caught_up),
        (Needs, "leave", lambda owner, original: lambda self, request, rounds: None),
    ],
    ids=["fit one round too long", "blocks of a stretch missing", "finished request counted"],
)
def test_mutants_of_memory_in_blocks_are_detected(owner, name, mutate, monkeypatch):
    monkeypatch.setattr(owner, name, mutate(owner, getattr(owner, name)))
    assert is_detected(cases(("paged",)))


def in_longer_stretches(owner, original):
    """A stretch continues though the token budget may not suffice for its rounds."""

    def choose(self, now_ns):
        fresh = original(self, now_ns)
        self._one_round = False
        return fresh

    return choose


def only_decoding(owner, original):
    """Waiting requests are compared with decoding requests only: prefilling requests continue."""
    return lambda self, rank, now_ns: (
        self.worst.rank(list(self.batch.to_ask), now_ns) or bool(self.worst.behind(rank, now_ns))
    )


@pytest.mark.parametrize(
    ("owner", "name", "mutate", "managers"),
    [
        (Paged, "catch_up", lambda owner, original: lambda self: None, ("paged",)),
        (MixedServer, "_comes_before_some", only_decoding, SYNCHRONOUS),
        (MixedServer, "_choose", in_longer_stretches, ("auto",)),
    ],
    ids=["overwritten blocks ignored", "prefilling never stopped", "budget of one round for many"],
)
def test_mutants_of_shared_steps_are_detected(owner, name, mutate, managers, monkeypatch):
    monkeypatch.setattr(owner, name, mutate(owner, getattr(owner, name)))
    assert is_detected(cases(managers, prefills=("chunked", "mixed")))


def without_estimate(owner, original):
    """The memory manager does not get the policy's estimates."""

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
        (OffloadServer, "__post_init__", without_estimate),
        (OffloadServer, "_sort_out", lambda owner, original: lambda self, now_ns: None),
    ],
    ids=[
        "fit one round too long",
        "blocks of a stretch missing",
        "stopped requests keep blocks",
        "end of a KV transfer ignored",
        "no room for swapped-out requests",
        "no estimates",
        "requests not sorted",
    ],
)
def test_mutants_of_asynchronous_kv_transfers_are_detected(owner, name, mutate, monkeypatch):
    monkeypatch.setattr(owner, name, mutate(owner, getattr(owner, name)))
    if mutate is without_estimate:  # rarely changes a run
        some = cases(("alise",)).map(
            lambda case: (case[0], FastServe(quantum_ms=1e-3, starve_s=5e-6), case[2])
        )
    else:
        some = cases(OFFLOADING)
    assert is_detected(some)
