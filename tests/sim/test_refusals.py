"""Errors of policies and servers name the policy, the parameter or the request."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import simpy

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, LASRound, Policy, PolicyContext
from lapsd.sim.engine.recorded import recorded_rows
from lapsd.sim.engine.run_record import RunRecord
from lapsd.sim.engine.server import SimPyServer
from lapsd.traces import Profile, price, trace_from_rounds
from tests.builders import MS, row, workload
from tests.sim.by_hand import PROFILE, A, B, C, in_batches, served, three_requests


@pytest.mark.parametrize("engine", ["auto", "simpy"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("service_ns", 1, "AttributeError: job.service_ns must not be written here"),
        ("running", False, "AttributeError: job.running must not be written here"),
        ("state", 3, "AttributeError: job.state must not be written here"),
        ("tokens", -1, "AttributeError: job.tokens must not be written here"),
        ("accepted", 1, "AttributeError: job.accepted must not be written here"),
        ("recorded", None, "AttributeError: job.recorded must not be written here"),
        ("nothing", 1, "AttributeError: job.nothing must not be written here"),
        ("queue", 1.5, "TypeError: job.queue=1.5: must be of type int"),
    ],
)
@pytest.mark.filterwarnings("ignore::lapsd.sim.engine.SlowEngine")
def test_a_policy_writes_only_its_queue_and_its_state(name, value, message, engine):
    class Writes(FCFS):
        def on_round(self, job, now_ns):
            setattr(job, name, value)

    place = "policy Writes: on_round of request 0 at .* ns raised"
    with pytest.raises(ValueError, match=f"{place} {message}"):
        simulate(three_requests(), Writes(), context=PolicyContext(1, [1]), engine=engine)


@pytest.mark.parametrize("engine", ["auto", "simpy"])
@pytest.mark.parametrize("method", ["remaining_ns", "wake"])
def test_an_estimate_that_raises_ends_the_run_in_one_line(method, engine):
    class Estimates(LASRound):
        def remaining_ns(self, job):
            return 10

    def fails(self, job, now_ns=0):
        raise KeyError("no estimate")

    policy = type("Fails", (Estimates,), {method: fails})()
    rows = [row(str(i), 3, [0] * 6, n=1) for i in range(4)]
    work = workload(price(trace_from_rounds(rows), PROFILE), [0, 1, 2, 3])
    capacity = Capacity(1, "unlimited", 20, manager="alise:block=1")
    request = {"remaining_ns": 3, "wake": 0}[method]  # waits are summed in order
    place = f"policy Fails: {method} of request {request} at 48000000 ns"
    with pytest.raises(ValueError, match=f"^{place} raised KeyError: 'no estimate'$"):
        simulate(work, policy, context=PolicyContext(1, [1]), capacity=capacity, engine=engine)


def test_a_policy_cannot_look_beyond_committed_rounds():
    class Seer(FCFS):
        def on_round(self, job, now_ns):
            job.acceptance(job.rounds + 1)

    with pytest.raises(ValueError, match="committed rounds only"):
        served(Seer())


def test_too_little_memory_is_refused():
    with pytest.raises(ValueError, match="kv_slots=0: must be at least the batch size, 1"):
        served(FCFS(), kv_slots=0)
    with pytest.raises(ValueError, match="kv_tokens=0: must be at least 1"):
        Capacity(kv_tokens=0)


def test_a_round_larger_than_the_token_budget_is_refused():
    rows = [row("short", 3, [1, 1], n=2), row("long", 3, [1, 1], n=5)]
    work = workload(price(trace_from_rounds(rows), PROFILE), [0, 0])
    for budget in (6, 7):
        simulate(
            work,
            FCFS(),
            context=PolicyContext(1, [1]),
            capacity=Capacity(prefill="chunked", token_budget=budget),
        )
    with pytest.raises(ValueError, match="token_budget 5: a round of request 1 takes 6 tokens"):
        simulate(
            work,
            FCFS(),
            context=PolicyContext(1, [1]),
            capacity=Capacity(prefill="chunked", token_budget=5),
        )


@pytest.mark.parametrize(
    "manager",
    ["tokens", "reserve:output=oracle", "paged:block=1", "fastserve:block=1", "alise:block=1"],
)
def test_a_request_that_just_fits_is_served_and_a_larger_one_is_refused(manager):
    # a prompt of 6, 9 output tokens, and 2 draft tokens with one more reserved for the next round
    work = workload(price(trace_from_rounds([C, row("r", 6, [2, 2, 2], n=2)]), PROFILE), [0, 0])
    for tokens in (18, 17):
        capacity = Capacity(1, "unlimited", tokens, manager=manager)
        if tokens == 18:
            assert (
                simulate(work, FCFS(), context=PolicyContext(1, [1]), capacity=capacity).finish_ns
                > 0
            ).all()
        else:
            with pytest.raises(
                ValueError, match=f"{tokens}.*: request 1 can never fit: .*18 (tokens|blocks)"
            ):
                simulate(work, FCFS(), context=PolicyContext(1, [1]), capacity=capacity)


@pytest.mark.parametrize(
    ("spec", "outside", "within"),
    [
        ("reserve:context", (0, -1), (1, 4096)),
        ("paged:block", (0, -1), (1, 50)),
        ("fastserve:block", (0, -1), (1, 50)),
        ("fastserve:host", (-1, -50), (0, 1)),
        ("alise:low", (-0.01, 0.96), (0, 0.95)),
        ("alise:high", (0.89, 1.01), (0.9, 1)),
        ("alise:quantise_ns", (-1,), (0, 1)),
        ("alise:int8", ("half", ""), ("none", "moved", "all")),
        ("reserve:output", ("mean", ""), ("max", "pow2", "oracle")),
    ],
)
def test_parameters_of_memory_managers_have_bounds(spec, outside, within):
    for value in within:
        Capacity(1, "unlimited", 50, manager=f"{spec}={value}")
    for value in outside:
        with pytest.raises(
            ValueError,
            match=f"memory {spec.split(':')[0]}: .*{spec.split(':')[1]} '?{value}'?.* must be",
        ):
            Capacity(1, "unlimited", 50, manager=f"{spec}={value}")


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        (lambda job: (float("nan"),), r"rank \(nan,\) of request 0 at 0 ns: must be a tuple of"),
        (
            lambda job: (None if job.index else 1,),
            r"rank \(None,\) of request 1 at 0 ns: must be a",
        ),
        (lambda job: job.index, "rank 0 of request 0 at 0 ns: must be a tuple of numbers, none of"),
        (
            lambda job: (1, 2) if job.rounds else (1,),
            r"rank \(1, 2\) of request 0 at \d+ ns: must be of length 1, as the ranks before it",
        ),
        (lambda job: (Fraction(1, 1 + job.index), np.bool_(True), np.int64(3)), None),
    ],
)
def test_a_rank_is_a_tuple_of_as_many_numbers_each_time(rank, message):
    class Odd(Policy):
        def rank(self, job, now_ns):
            return rank(job)

    def run():
        return in_batches([2, 2], [0, 0], Odd(), batch=1)

    if message is None:
        run()
    else:
        with pytest.raises(ValueError, match=f"policy Odd: {message}"):
            run()


class Divides(FCFS):
    """Fails to rank request 1."""

    def rank(self, job, now_ns):
        return (1 / (job.index - 1),)


class NotANumber(FCFS):
    """Ranks a request that has run a round by NaN."""

    def rank(self, job, now_ns):
        return (math.inf - math.inf if job.rounds == 1 else 0.0,)


class FailsLater(FCFS):
    """Raises at the completion of request 1."""

    def on_event(self, event):
        return event.kind == "completion" and 1 // (event.job.index - 1) > 0


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (FailsLater(), r"on_event, completion of request 1 at \d+ ns raised ZeroDivisionError"),
        (Divides(), "rank of request 1 at 15000000 ns raised ZeroDivisionError: division by zero"),
        (
            NotANumber(),
            r"rank \(nan,\) of request 0 at \d+ ns: must be a tuple of numbers, none of",
        ),
    ],
)
def test_a_failing_policy_is_reported_alike_by_both_engines(engine, policy, message):
    with pytest.raises(ValueError, match=f"policy {type(policy).__name__}: {message}"):
        simulate(three_requests(), policy, context=PolicyContext(10 * MS, [30 * MS]), engine=engine)


def test_engines_are_named():
    with pytest.raises(ValueError, match="engine=fast: must be auto, simpy or compiled"):
        simulate(three_requests(), FCFS(), context=PolicyContext(10 * MS, [1]), engine="fast")
    with pytest.raises(ValueError, match="engine=compiled: records no timeline"):
        simulate(
            three_requests(),
            FCFS(),
            context=PolicyContext(10 * MS, [1]),
            engine="compiled",
            check=True,
        )


@pytest.mark.parametrize("engine", ["auto", "simpy"])
def test_a_workload_priced_at_a_batch_is_refused(engine):
    work = workload(price(trace_from_rounds([A, B, C]), PROFILE, 1), [0, 12, 13])
    two = replace(work, priced=replace(work.priced, batch=2))
    with pytest.raises(ValueError, match="workload priced at a batch of 2: must be priced at"):
        simulate(two, FCFS(), context=PolicyContext(10 * MS, [1]), engine=engine)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_times_that_may_exceed_64_bits_are_refused_before_the_run(engine):
    profile = Profile.constant(draft_ms=0, verify_ms=9e8)  # 10 days per round
    rows = [row(name, 1, [0] * 5_000, n=0) for name in "ab"]
    work = workload(price(trace_from_rounds(rows), profile), [0, 0])
    message = "due to rounds: up to .* ns: must be at most 4.61e\\+18 ns"
    with pytest.raises(ValueError, match=message):
        simulate(work, FCFS(), context=PolicyContext(10 * MS, [1]), engine=engine)


def test_a_server_without_progress_reports_the_reason():
    """Requests that never fit are refused before a run, so the test calls the server directly."""
    work = three_requests()
    env, capacity = simpy.Environment(), Capacity(1, "unlimited", 3)
    work.arrival_ns[:] = 0
    memory = capacity.memory(PROFILE.costs)
    server = SimPyServer(env, work, recorded_rows(work), FCFS(), capacity, memory, RunRecord(3))
    with pytest.raises(
        ValueError, match="policy fcfs: no progress at 0 ns: 3 requests wait, and the first does"
    ):
        env.run(env.process(server.serve()))


def test_a_profile_without_the_batch_size_is_refused():
    with pytest.raises(ValueError, match="batch size 3: the profile covers 1 to 2"):
        in_batches([1], [0], FCFS(), batch=3, kv_slots="unlimited")
