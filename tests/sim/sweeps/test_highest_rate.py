"""The highest arrival rate at which a constraint holds."""

import json

import pytest

from lapsd import PreparedScenario
from lapsd.cli import app
from lapsd.policies import FCFS, parse_policy
from lapsd.sim.sweeps.fewest_servers import fewest_by_seed, fewest_servers, with_servers
from lapsd.sim.sweeps.highest_rate import Constraint, at_rate, capacity, highest_rate
from lapsd.traces import Profile, ordinary_decoding

TRACE = ordinary_decoding([1] * 20, [10, 50] * 10)
PROFILE = Profile.constant(draft_ms=0, verify_ms=1)


@pytest.fixture
def prepared():
    return PreparedScenario.of(TRACE, PROFILE, requests=20)


@pytest.mark.parametrize("seed", range(3))
def test_the_constraint_holds_at_the_highest_rate_and_not_above_it(prepared, seed):
    constraint = Constraint.parse("mean_latency_s<=0.06")
    rate = highest_rate(prepared, FCFS(), constraint, seed, tolerance=0.01)
    assert constraint.holds(at_rate(prepared, rate), FCFS(), seed)
    assert not constraint.holds(at_rate(prepared, 1.01 * rate), FCFS(), seed)


def test_a_tighter_bound_gives_a_lower_rate(prepared):
    rates = [
        capacity(prepared, FCFS(), Constraint.parse(f"mean_latency_s<={b}"), 3)[0].value
        for b in (0.05, 0.1, 0.2)
    ]
    assert rates[0] < rates[1] < rates[2]


def test_a_constraint_that_never_or_always_holds_gives_zero_or_infinity(prepared):
    assert highest_rate(prepared, FCFS(), Constraint.parse("mean_latency_s<=0.001"), 0) == 0
    assert highest_rate(prepared, FCFS(), Constraint.parse("mean_latency_s<=1000"), 0) == float(
        "inf"
    )


def test_shortest_first_has_a_higher_rate_than_first_come_first_served(prepared):
    constraint = Constraint.parse("mean_normalized_latency_s <= 0.004")
    fcfs, srpt = (capacity(prepared, parse_policy(p), constraint, 5) for p in ("fcfs", "lp-srpt"))
    assert srpt[0].value > fcfs[0].value
    assert fcfs[0].low <= fcfs[0].value <= fcfs[0].high
    assert len(fcfs[1]) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean_latency_s", "needs METRIC<=BOUND"),
        ("mean_latency_s<=0", "needs METRIC<=BOUND"),
        ("mean_latency_s<=1e", "needs METRIC<=BOUND"),
        ("speed<=1", "metric 'speed': known are"),
        ("switching_share<=1", "switching_share is not defined for a single run"),
    ],
)
def test_a_wrong_constraint_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Constraint.parse(text)


def test_arguments_out_of_range_are_refused(prepared):
    some = Constraint.parse("mean_latency_s<=1")
    with pytest.raises(ValueError, match="seeds=0: must be at least 1"):
        capacity(prepared, FCFS(), some, 0)
    with pytest.raises(ValueError, match="tolerance=0: must be between"):
        capacity(prepared, FCFS(), some, 1, tolerance=0)
    with pytest.raises(ValueError, match="requests must arrive at a rate"):
        capacity(PreparedScenario.of(TRACE, PROFILE, all_at_once=True), FCFS(), some, 1)


def test_the_command_prints_one_row_per_policy(lapsd):
    given = (
        "--policy",
        "fcfs",
        "--policy",
        "lp-srpt",
        "--seeds",
        2,
        "--requests",
        10,
        "--tolerance",
        0.3,
    )
    code, out, _ = lapsd("capacity", "--constraint", "mean_latency_s<=0.3", *given, "--json")
    rows = json.loads(out)
    assert (code, [row["policy"] for row in rows], len(rows[0]["seeds"])) == (
        0,
        ["fcfs", "lp-srpt"],
        2,
    )
    assert rows[0]["rate_per_s"] > 0
    code, out, _ = lapsd("capacity", "--constraint", "mean_latency_s<=0.3", *given)
    assert code == 0
    assert "mean_latency_s <= 0.3 s, 2 seeds" in out
    assert lapsd("capacity", "--constraint", "x")[0] == 2


@pytest.mark.parametrize("seed", range(3))
def test_the_constraint_holds_with_the_fewest_servers_and_not_with_one_fewer(seed):
    prepared = PreparedScenario.of(TRACE, PROFILE, requests=200, rate=300, router="round-robin")
    constraint = Constraint.parse("mean_latency_s<=0.045")
    servers = fewest_servers(prepared, FCFS(), constraint, seed)
    assert 9 < servers < 40
    assert constraint.holds(with_servers(prepared, int(servers)), FCFS(), seed)
    assert not constraint.holds(with_servers(prepared, int(servers) - 1), FCFS(), seed)


def test_a_better_router_needs_fewer_servers_and_no_number_may_be_enough():
    constraint = Constraint.parse("mean_latency_s<=0.04")
    needed = [
        fewest_by_seed(
            PreparedScenario.of(TRACE, PROFILE, requests=200, rate=300, router=router),
            FCFS(),
            constraint,
            3,
        )
        for router in ("jsq", "random")
    ]
    assert max(needed[0]) < min(needed[1])
    prepared = PreparedScenario.of(TRACE, PROFILE, requests=20, rate=300)
    assert fewest_by_seed(prepared, FCFS(), Constraint.parse("mean_latency_s<=0.01"), 1) == [
        float("inf")
    ]


def test_the_fewest_servers_are_printed_and_what_they_ignore_is_refused(capsys):
    asked = ["capacity", "--rate", "40", "--constraint", "mean_latency_s<=0.5", "--seeds", "2"]
    app([*asked, "--json"], standalone_mode=False)
    [record] = json.loads(capsys.readouterr().out)
    assert record["policy"] == "fcfs"
    assert all(servers >= 1 for servers in record["servers"])
    app(asked, standalone_mode=False)
    assert "servers, mean" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--servers"):
        app([*asked, "--servers", "3"], standalone_mode=False)
