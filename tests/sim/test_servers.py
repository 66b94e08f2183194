"""Several servers behind a router, or with one queue."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings

from lapsd import Capacity, compare, simulate
from lapsd.policies import FCFS, LPSRPT, Policy, parse_policy
from lapsd.policies.drafts import Ema, Goodput
from lapsd.policies.kernel_gittins_online import KernelGittinsOnline
from lapsd.policies.routers import Router
from lapsd.policies.routers.spec import ROUTERS, parse_router, router_spec_of
from lapsd.sim.engine.routing import Routing
from lapsd.sim.engine.service_setup import ServerSetup
from lapsd.sim.engine.service_simulation import simulate_service
from lapsd.sim.engine.simulation import SlowEngine
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import run_many
from lapsd.traces import Profile, price, trace_from_rounds
from tests.builders import MS, context, row, workload
from tests.compilation import compiled_only
from tests.sim.equivalence import equal_runs
from tests.sim.servers import (
    Sticky,
    compiled_service_equals_specification,
    equal_services,
    service_cases,
)

ENGINES = ("simpy", "compiled")


def some_work(rounds: list[int], arrivals_ms: list[float]):
    """A workload of requests of so many rounds of 10 ms."""
    rows = [row(f"r{i}", 1, [0] * count) for i, count in enumerate(rounds)]
    return workload(
        price(trace_from_rounds(rows), Profile.constant(draft_ms=0, verify_ms=10)), arrivals_ms
    )


def servers(work, count: int, **capacity) -> list[ServerSetup]:
    """Equal servers with free switches."""
    shape = {"batch": 1, "kv_slots": "unlimited"} | capacity
    return [ServerSetup(work, context(work.priced), Capacity(**shape))] * count


@settings(max_examples=200)
@given(service_cases())
def test_the_compiled_loop_equals_the_specification_of_several_servers(case):
    assert compiled_service_equals_specification(*case)


@pytest.mark.deep
@settings(max_examples=10_000)
@given(service_cases())
def test_the_compiled_loop_equals_the_specification_of_several_servers_in_many_cases(case):
    assert compiled_service_equals_specification(*case)


@settings(max_examples=100)
@given(service_cases())
def test_one_server_behind_any_router_is_a_server(case):
    setups, policy, routing = case
    first = setups[0]
    one = simulate_service([first], policy, replace(routing, central=False), engine="auto")
    alone = simulate(first.workload, policy, context=first.context, capacity=first.capacity)
    assert equal_runs(one, alone)


def test_each_server_has_the_state_of_its_policy_to_itself():
    """The servers of the compiled loop shared the arrays of laps-sd-adapted."""
    prepared = PreparedScenario.of("reference", "llama-7b-h200", requests=40, load=0.9, servers=3)
    setups = prepared.setups(prepared.workload(0), clairvoyant=False)
    routing, order = Routing(parse_router("round-robin")), parse_policy("laps-sd-adapted")
    runs = [simulate_service(setups, order, routing, engine=engine) for engine in ENGINES]
    assert equal_services(*runs)


@pytest.mark.parametrize("drafts", [Goodput(), Ema()], ids=lambda policy: policy.name)
@pytest.mark.parametrize("router", ["jsq", "round-robin", "least-work"])
def test_draft_policies_choose_for_each_server(drafts, router):
    prepared = PreparedScenario.of(
        "reference-confidence", "llama-7b-h200", requests=40, load=1.5, batch=4, servers=3
    )
    setups = prepared.setups(prepared.workload(0), clairvoyant=False)
    runs = [
        simulate_service(setups, FCFS(drafts=drafts), Routing(parse_router(router)), engine=engine)
        for engine in ENGINES
    ]
    assert equal_services(*runs)
    assert len(np.unique(runs[0].server)) == 3


def test_profiles_take_turns_and_each_server_has_its_own_costs():
    prepared = PreparedScenario.of(
        requests=60,
        batch=4,
        servers=3,
        router="round-robin",
        server_profiles="llama-7b-h200+llama-7b-a100",
    )
    setups = prepared.setups(prepared.workload(0), clairvoyant=False)
    costs = [setup.workload.priced.profile.costs for setup in setups]
    assert costs[0] == costs[2] != costs[1]
    [run] = run_many(prepared, [FCFS()], [prepared.workload(0)])
    alone = run.service_ns / prepared.workload(0).size_ns
    slow = setups[1].workload.size_ns / setups[0].workload.size_ns
    assert np.all(run.service_ns[run.server == 1] >= setups[1].workload.size_ns[run.server == 1])
    assert slow.mean() > 1
    assert alone[run.server == 1].mean() > alone[run.server != 1].mean()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_load_is_that_of_each_server(engine):
    one = compare(policies=[FCFS()], requests=50, seeds=1, engine=engine).requests
    four = compare(policies=[FCFS()], requests=50, seeds=1, servers=4, engine=engine).requests
    assert np.allclose(one["arrival_ns"], 4 * four["arrival_ns"], rtol=1e-6)
    assert "server" not in one
    assert set(four["server"]) == {0, 1, 2, 3}


@pytest.mark.parametrize("engine", ENGINES)
def test_arrivals_see_what_is_committed_at_their_time_and_decisions_see_them(engine):
    """Request 2 arrives as request 0 is done; so server 0 is idle, and takes it at once."""
    work = some_work([1, 3, 1], [0, 0, 10])
    run = simulate_service(servers(work, 2), FCFS(), Routing(parse_router("jsq")), engine=engine)
    assert run.server.tolist() == [0, 1, 0]
    assert run.first_service_ns.tolist() == [0, 0, 10 * MS]


@pytest.mark.parametrize("engine", ENGINES)
def test_reports_are_as_old_as_they_are_and_count_what_was_sent_since(engine):
    """Requests 0 to 3 are sent in turn; at 25 ms the report of 20 ms says that server 0 is busy,
    although its request ended at 21 ms.
    """
    work = some_work([2, 2, 1], [1, 1.5, 25])
    two = servers(work, 2)
    old = Routing(parse_router("jsq"), signal_age_ms=20)
    run = simulate_service(two, FCFS(), old, engine=engine)
    assert run.server.tolist() == [0, 1, 0]
    work = some_work([2, 9, 1], [1, 1.5, 25])
    fresh = simulate_service(servers(work, 2), FCFS(), Routing(parse_router("jsq")), engine=engine)
    stale = simulate_service(servers(work, 2), FCFS(), old, engine=engine)
    assert (fresh.server[2], stale.server[2]) == (0, 0)
    assert (fresh.first_service_ns[2], stale.first_service_ns[2]) == (25 * MS, 25 * MS)


@pytest.mark.parametrize("engine", ENGINES)
def test_servers_take_from_one_queue_by_rank(engine):
    """The shortest request starts first, on the server that decides first; a started request stays
    where it is.
    """
    work = some_work([3, 2, 5, 1], [0, 0, 1, 2])
    central = Routing(central=True)
    shortest = simulate_service(servers(work, 2), LPSRPT(), central, engine=engine)
    assert shortest.server.tolist() == [1, 0, 0, 1]
    assert shortest.first_service_ns.tolist() == [0, 0, 20 * MS, 10 * MS]
    first = simulate_service(servers(work, 2), FCFS(), central, engine=engine)
    assert first.server.tolist() == [0, 1, 1, 0]
    assert first.first_service_ns.tolist() == [0, 0, 20 * MS, 30 * MS]


def test_guardrails_spread_equal_requests():
    work = some_work([4] * 8, [0] * 8)
    everything_to_one = Routing(_Stubborn(), guardrails=1.0)
    for engine in ENGINES:
        run = simulate_service(servers(work, 4), FCFS(), everything_to_one, engine=engine)
        assert np.bincount(run.server).tolist() == [2, 2, 2, 2]


@dataclass(frozen=True)
class _Stubborn(Router):
    """The last server that is allowed."""

    name = "stubborn"

    def route(self, request, servers, now_ns):
        chosen = servers.count - 1
        while not servers.allowed[chosen]:
            chosen -= 1
        return chosen


@dataclass(frozen=True)
class Returns(Router):
    """A router that returns a given value."""

    name = "returns"
    value: int = 0

    def route(self, request, servers, now_ns):
        return self.value


@dataclass(frozen=True)
class Raises(Router):
    name = "raises"

    def route(self, request, servers, now_ns):
        return servers.waiting[99] + 1


@dataclass(frozen=True)
class ReturnsText(Router):
    name = "text"

    def route(self, request, servers, now_ns):
        return "0"


@pytest.mark.parametrize("engine", ["simpy", "auto"])
@pytest.mark.parametrize(
    ("router", "message"),
    [
        (Returns(7), "returned 7: must be from 0 to 1"),
        (Returns(-1), "returned -1: must be from 0 to 1"),
        (Raises(), "raised IndexError"),
        (ReturnsText(), "returned '0': must be the number of a server"),
    ],
)
def test_a_router_that_fails_is_named_with_request_and_time(engine, router, message):
    work = some_work([1, 1], [0, 3])
    with pytest.raises(ValueError, match=r"router .*request 0 at 0 ns") as error:
        simulate_service(servers(work, 2), FCFS(), Routing(router), engine=engine)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@dataclass(frozen=True)
class UsesText(Router):
    """A router that cannot be compiled."""

    name = "uses-text"

    def route(self, request, servers, now_ns):
        return int(eval("0"))


@compiled_only
def test_a_router_that_cannot_be_compiled_runs_in_simpy_and_says_so():
    work = some_work([1, 2], [0, 3])
    with pytest.warns(SlowEngine, match="router uses-text: route: .*runs in SimPy"):
        run = simulate_service(servers(work, 2), FCFS(), Routing(UsesText()))
    assert run.server.tolist() == [0, 0]


@pytest.mark.parametrize("spec", [*ROUTERS, "jsq:d=2", "weighted:prefix=1,kv=0.5"])
def test_a_router_is_the_text_that_describes_it(spec):
    assert router_spec_of(parse_router(spec)) == spec


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ({"servers": 0}, "servers=0: must be at least 1"),
        ({"router": "nearest"}, "unknown router 'nearest'"),
        ({"servers": 2, "router": "jsq:d=0"}, "jsq: d=0: must be between 1 and 1024"),
        ({"servers": 2, "signal_age_ms": -1}, "signal_age_ms=-1"),
        ({"servers": 2, "signal_age_ms": 1e8, "load": 0.5}, "signal_age_ms=1e+08: must be at most"),
        ({"servers": 2, "router": "simulate:more=0"}, "simulate: more=0: must be between 1 and"),
        ({"servers": 2, "guardrails": 0}, "guardrails=0: must be above 0"),
        ({"servers": 2, "server_profiles": "nowhere"}, "nowhere"),
        ({"server_profiles": "llama-7b-h200+llama-7b-a100"}, "lists 2 for 1 server"),
        ({"servers": 2, "dispatch": "central", "guardrails": 1.0}, "guardrails: does not apply"),
        (
            {"servers": 2, "server_profiles": "llama-7b-h200", "profile": "llama-7b-a100"},
            "profile=llama-7b-a100: must be the first of server_profiles",
        ),
    ],
)
def test_impossible_services_are_refused_in_one_line(scenario, message):
    with pytest.raises((ValueError, FileNotFoundError), match=r".") as error:
        compare(policies=[FCFS()], requests=3, seeds=1, **scenario)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_one_queue_cannot_have_is_refused():
    work = some_work([1, 2], [0, 3])
    central = Routing(central=True)
    with pytest.raises(ValueError, match="keeps a state of its server"):
        simulate_service(servers(work, 2), KernelGittinsOnline(), central)
    tight = servers(work, 2, kv_slots="auto", kv_tokens=100, manager="alise")
    with pytest.raises(ValueError, match="memory alise: plans for the requests of its server"):
        simulate_service(tight, FCFS(), central)
    oracle = Routing(parse_router("least-work-oracle"))
    with pytest.raises(ValueError, match="knows the true remaining time of recorded rounds"):
        simulate_service(servers(work, 2), FCFS(drafts=Goodput()), oracle)


def test_own_policies_and_routers_are_told_apart():
    with pytest.raises(ValueError, match="is not a subclass of lapsd.policies.routers.Router"):
        parse_router("lapsd.policies.fcfs.FCFS")
    assert issubclass(Sticky, Router)
    assert not issubclass(Sticky, Policy)
