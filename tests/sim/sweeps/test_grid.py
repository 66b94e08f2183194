"""What a sweep runs, from what a user writes."""

import tomllib

import pytest
import tomli_w
from hypothesis import given, strategies as st

from lapsd.policies import spec_of
from lapsd.sim.sweeps import Sweep
from lapsd.sim.sweeps.grid import values_of


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2:5", ["2", "3", "4", "5"]),
        ("0.1:0.5:0.2", ["0.1", "0.3", "0.5"]),
        ("1:8:3", ["1", "4", "7"]),
        ("1.5,2,4:6", ["1.5", "2", "4", "5", "6"]),
        ("code,prose", ["code", "prose"]),
    ],
)
def test_ranges_include_both_ends(text, values):
    assert list(values_of(text, "K")) == values


@pytest.mark.parametrize("text", ["5:2", "1:x", "1:2:0", "1:2:3:4", "0:1:0.0000001"])
def test_a_range_that_is_none_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match=f"K '{text}': a range is low:high"):
        values_of(text, "K")


def test_a_policy_that_lacks_a_parameter_runs_once():
    sweep = Sweep(("laps-sd", "fcfs", "las"), {"K": ("2", "3"), "gamma": ("3", "5")})
    assert [spec_of(p) for p in sweep.configurations()] == [
        "laps-sd:K=2,gamma=3",
        "laps-sd:K=2",
        "laps-sd:K=3,gamma=3",
        "laps-sd:K=3",
        "fcfs",
        "las:K=2",
        "las:K=3",
    ]


def test_what_a_spec_says_stands_against_the_grid():
    sweep = Sweep(("laps-sd:K=6", "las"), {"K": ("2", "3")})
    assert [spec_of(p) for p in sweep.configurations()] == ["laps-sd:K=6", "las:K=2", "las:K=3"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sweep((), {}), "an empty grid: no policy"),
        (lambda: Sweep(("fcfs",), {"K": ()}), "an empty grid: K has no values"),
        (
            lambda: Sweep(("fcfs",), {"K": ("2",)}).configurations(),
            "parameter 'K': no policy of this sweep has it",
        ),
        (
            lambda: Sweep(("las",), {"K": ("0",)}).configurations(),
            "las: K=0 must be between 1 and 64",
        ),
        (lambda: Sweep(("fcfs",), {}, {"request": ("3",)}), "unknown setting 'request'"),
        (
            lambda: Sweep(("fcfs",), {}, {"requests": ("0",)}).combinations(),
            "requests 0: must be at least 1",
        ),
        (
            lambda: Sweep(("fcfs",), {}, {"requests": ("x",)}).combinations(),
            "requests 'x': needs an integer",
        ),
        (
            lambda: Sweep(("fcfs",), {}, {"load": ("-1",)}).combinations(),
            "load -1.0: must be above 0",
        ),
        (
            lambda: Sweep(("fcfs",), {}, {"load": ("1",), "rate": ("2",)}).combinations(),
            "exactly one of a load",
        ),
        (lambda: Sweep(seeds=0), "seeds 0: must be at least 1"),
    ],
)
def test_what_cannot_run_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_chunks_hold_every_run_once():
    many = {"K": tuple(str(k) for k in range(1, 65)), "M": tuple(str(m) for m in range(2, 13))}
    sweep = Sweep(("las", "fcfs"), many, {"load": ("0.5", "0.9")}, seeds=3, first_seed=5)
    runs = [
        (c.scenario, seed, policy)
        for c in sweep.chunks()
        for seed in range(c.first_seed, c.last_seed + 1)
        for policy in range(c.first_policy, c.last_policy + 1)
    ]
    assert (
        sum(c.runs for c in sweep.chunks()) == len(runs) == len(set(runs)) == 2 * 3 * (64 * 11 + 1)
    )
    assert {seed for _, seed, _ in runs} == {5, 6, 7}


texts = st.lists(st.integers(1, 50).map(str), min_size=1, max_size=4).map(tuple)


@given(st.dictionaries(st.sampled_from(["K", "M", "gamma"]), texts), texts, st.integers(1, 9))
def test_a_sweep_is_the_same_after_a_round_trip_through_toml(parameters, requests, seeds):
    sweep = Sweep(
        ("laps-sd", "fcfs"), parameters, {"requests": requests, "dataset": ("all", "code")}, seeds
    )
    assert Sweep.from_document(tomllib.loads(tomli_w.dumps(sweep.document()))) == sweep


def test_toml_may_hold_numbers_and_ranges(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        'policies = "las"\n[parameters]\nK = "2:4"\nM = [1.5, 2]\n[settings]\nall_at_once = true\n'
    )
    sweep = Sweep.from_toml(path)
    assert sweep.parameters == {"K": ("2", "3", "4"), "M": ("1.5", "2")}
    assert sweep.combinations()[0].all_at_once
    path.write_text("polices = 3\n")
    with pytest.raises(ValueError, match=r"sweep.toml: unknown key 'polices'"):
        Sweep.from_toml(path)
    path.write_text("K = [")
    with pytest.raises(ValueError, match=r"sweep.toml: not TOML"):
        Sweep.from_toml(path)


def test_two_policies_of_one_name_are_not_taken_for_one(tmp_path, monkeypatch):
    body = "from dataclasses import dataclass\nfrom lapsd.policies import FCFS\n@dataclass(frozen=True)\nclass Mine(FCFS):\n    name = ''\n"  # noqa: E501
    for module in ("lapsd_one", "lapsd_two"):
        (tmp_path / f"{module}.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="two policies are called"):
        Sweep(policies=("lapsd_one.Mine", "lapsd_two.Mine")).configurations()
