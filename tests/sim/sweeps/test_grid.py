"""The combinations of a sweep, and the texts from which it is read."""

import tomllib

import pytest
import tomli_w
from hypothesis import given, strategies as st

from lapsd.policies import spec_of
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS
from lapsd.sim.sweeps import Sweep, values
from lapsd.sim.sweeps.values import NONE, setting_values, text_of, values_of


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
def test_an_invalid_range_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match=f"K '{text}': a range is low:high"):
        values_of(text, "K")


def test_a_policy_without_a_parameter_runs_once():
    sweep = Sweep(("laps-sd", "fcfs", "las"), {"K": (2, 3), "gamma": (3, 5)})
    assert [spec_of(p) for p in sweep.configurations()] == [
        "laps-sd:K=2,gamma=3",
        "laps-sd:K=2",
        "laps-sd:K=3,gamma=3",
        "laps-sd:K=3",
        "fcfs",
        "las:K=2",
        "las:K=3",
    ]


def test_a_parameter_in_a_spec_is_fixed():
    sweep = Sweep(("laps-sd:K=6", "las"), {"K": (2, 3)})
    assert [spec_of(p) for p in sweep.configurations()] == ["laps-sd:K=6", "las:K=2", "las:K=3"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sweep((), {}), "an empty grid: no policy"),
        (lambda: Sweep(("fcfs",), {"K": ()}), "an empty grid: K has no values"),
        (
            lambda: Sweep(("fcfs",), {"K": (2,)}).configurations(),
            "parameter 'K': no policy of this sweep has it",
        ),
        (
            lambda: Sweep(("las",), {"K": (0,)}).configurations(),
            "las: K=0 must be between 1 and 64",
        ),
        (lambda: Sweep(("fcfs",), {}, {"request": (3,)}), "unknown setting 'request'"),
        (
            lambda: Sweep(("fcfs",), {}, {"requests": (0,)}).combinations(),
            "requests=0: must be at least 1",
        ),
        (
            lambda: Sweep.from_document({"settings": {"requests": "x"}}),
            "requests='x': needs an integer",
        ),
        (
            lambda: Sweep(("fcfs",), {}, {"load": (-1.0,)}).combinations(),
            "load=-1.0: must be above 0",
        ),
        (
            lambda: Sweep(("fcfs",), {}, {"load": (1.0,), "rate": (2.0,)}).combinations(),
            "a load, a rate",
        ),
        (lambda: Sweep(seeds=0), "seeds=0: must be at least 1"),
    ],
)
def test_an_invalid_sweep_is_refused_with_the_name_of_the_wrong_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_chunks_hold_every_run_once():
    many = {"K": tuple(range(1, 65)), "M": tuple(range(2, 13))}
    sweep = Sweep(("las", "fcfs"), many, {"load": (0.5, 0.9)}, seeds=3, first_seed=5)
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


numbers = st.lists(st.integers(1, 50), min_size=1, max_size=4).map(tuple)
parameter_grids = st.fixed_dictionaries(
    {},
    optional={
        "K": numbers,
        "M": st.lists(st.floats(1.1, 9), min_size=1, max_size=3).map(tuple),
        "sup_1_s": st.sampled_from([(None,), (0.038, None)]),
        "follow": st.just((True, False)),
    },
)


@given(parameter_grids, numbers, st.floats(0.1, 2), st.integers(1, 9))
def test_a_sweep_is_the_same_after_a_round_trip_through_toml(parameters, requests, load, seeds):
    settings = {"requests": requests, "load": (load,), "dataset": (None, "code")}
    sweep = Sweep(("laps-sd", "fcfs"), parameters, settings, seeds)
    assert Sweep.from_document(tomllib.loads(tomli_w.dumps(sweep.document()))) == sweep


def test_toml_may_hold_numbers_and_ranges(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        'policies = "las"\n[parameters]\nK = "2:4"\nM = [1.5, 2]\n[settings]\nall_at_once = true\n'
    )
    sweep = Sweep.from_toml(path)
    assert sweep.parameters == {"K": (2, 3, 4), "M": (1.5, 2.0)}
    assert sweep.settings == {"all_at_once": (True,)}
    assert sweep.combinations()[0].all_at_once
    path.write_text("polices = 3\n")
    with pytest.raises(ValueError, match=r"sweep.toml: unknown key 'polices'"):
        Sweep.from_toml(path)
    path.write_text("K = [")
    with pytest.raises(ValueError, match=r"sweep.toml: not TOML"):
        Sweep.from_toml(path)


def test_two_policies_of_the_same_name_are_refused(tmp_path, monkeypatch):
    body = "from dataclasses import dataclass\nfrom lapsd.policies import FCFS\n@dataclass(frozen=True)\nclass Mine(FCFS):\n    name = ''\n"  # noqa: E501
    for module in ("lapsd_one", "lapsd_two"):
        (tmp_path / f"{module}.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="two policies are called"):
        Sweep(policies=("lapsd_one.Mine", "lapsd_two.Mine")).configurations()


def test_texts_and_values_give_the_same_sweep():
    texts = {
        "policies": ["las", "laps-sd"],
        "parameters": {"K": "2:4", "M": ["1.5,2"], "follow": "true", "sup_1_s": ["auto", "0.038"]},
        "settings": {"requests": "10:20:5", "rate_per_s": "1.5", "dataset": "all,code"},
    }
    typed = {
        "policies": ["las", "laps-sd"],
        "parameters": {"K": range(2, 5), "M": [1.5, 2], "follow": True, "sup_1_s": [None, 0.038]},
        "settings": {"requests": [10, 15, 20], "rate": 1.5, "dataset": [None, "code"]},
    }
    sweep = Sweep.from_document(typed)
    assert Sweep.from_document(texts) == sweep
    assert Sweep.from_document(texts).document() == sweep.document()
    assert [spec_of(p) for p in sweep.configurations()][:3] == [
        "las:K=2,M=1.5",
        "las:K=2,M=1.5,sup_1_s=0.038",
        "las:K=2",
    ]


@pytest.mark.parametrize("name", SCENARIO_FIELDS)
def test_a_setting_is_read_again_from_its_text(name):
    field = SCENARIO_FIELDS[name]
    others = {int: 7, float: 0.25, bool: True, str: "text"}
    possible = {field.default, *field.texts, *field.one_of, others[field.kind]}
    for value in possible | ({None} if field.optional else set()):
        assert setting_values(text_of(value, NONE.get(name, "none")), field) == (value,)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"K": 2.5}, "las: K=2.5: needs an integer, as in K=4"),
        ({"K": True}, "las: K=true: needs an integer"),
        ({"K": [None]}, "las: K=auto: needs an integer"),
        ({"M": "x"}, "las: M=x: needs a number, as in M=2"),
        ({"follow": 1}, "laps-sd: follow=1: needs true or false"),
        ({"follow": "yes"}, "laps-sd: follow=yes: needs true or false"),
        ({"K": {"low": 1}}, "K: needs a value or a list of values, not {'low': 1}"),
    ],
)
def test_a_parameter_of_a_wrong_type_is_refused(parameters, message):
    with pytest.raises(ValueError) as error:
        Sweep.from_document({"policies": ["las", "laps-sd"], "parameters": parameters})
    assert message in str(error.value)


def test_a_document_replaces_values_of_a_base():
    base = Sweep.from_document(
        {"seeds": 7, "parameters": {"K": "2:4", "M": 3}, "settings": {"load": 0.5, "batch": 2}}
    )
    sweep = Sweep.from_document({"parameters": {"K": "5"}, "settings": {"load": "0.9"}}, base=base)
    assert (sweep.seeds, sweep.parameters) == (7, {"K": (5,), "M": (3.0,)})
    assert sweep.settings == {"load": (0.9,), "batch": (2,)}


def test_a_parameter_of_a_base_may_belong_to_a_policy_that_is_given_later():
    base = Sweep.from_document({"parameters": {"quantum": "2:3"}})
    sweep = Sweep.from_document({"policies": "rr"}, base=base)
    assert sweep.parameters == {"quantum": (2, 3)}
    assert [spec_of(policy) for policy in sweep.configurations()] == [
        "rr:quantum=2",
        "rr:quantum=3",
    ]


def test_values_of_the_right_type_are_not_turned_into_texts(monkeypatch):
    def refuse(*arguments, **more):
        raise AssertionError("a conversion")

    monkeypatch.setattr(values, "text_from_value", refuse)
    monkeypatch.setattr(values, "value_from_text", refuse)
    parameters = {"K": [2, 3], "M": 1.5, "follow": True, "sup_1_s": 0.038}
    sweep = Sweep.from_document({"parameters": parameters, "settings": {"requests": [5]}})
    assert sweep.parameters == {"K": (2, 3), "M": (1.5,), "follow": (True,), "sup_1_s": (0.038,)}
    assert sweep.settings == {"requests": (5,)}


def test_an_old_name_of_a_parameter_is_answered_with_the_new_one():
    sweep = Sweep(policies=("lp-srpt",), parameters={"stay": (1,)})
    with pytest.raises(ValueError, match="parameter 'stay' is now called 'switch_penalty'"):
        sweep.configurations()
