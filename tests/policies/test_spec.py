"""Policies as text, and policies of a user's own module."""

import importlib
import linecache
import pickle
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lapsd import policies
from lapsd.policies import POLICIES, FastServe, LapsSD, parse_policy, policy_class, spec_of
from lapsd.policies.own import sources_of
from lapsd.policies.spec import RENAMED
from lapsd.traces import load_profile, load_trace, price
from tests.builders import context

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "model.md"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sjf", f"unknown policy 'sjf': known are {', '.join(POLICIES)}, or your own as"),
        (
            "laps-sd:k=4",
            "has no parameter 'k': its parameters are K, M, sup_1_s, age_s, gamma, delta, follow",
        ),
        ("laps-sd:K=0", "K=0 must be between 1 and 64"),
        ("laps-sd:M=1", "M=1.0 must be above 1"),
        ("laps-sd:delta=-0.1", "delta=-0.1 must be between 0 and 1"),
        ("laps-sd:delta=nan", "delta=nan must be between 0 and 1"),
        ("laps-sd:gamma=0", "gamma=0 must be between 1"),
        ("laps-sd:gamma=2.5", "needs an integer, as in gamma=5"),
        ("laps-sd:K", "laps-sd: K: needs an integer, as in K=4"),
        ("las:age_s=x", "las: age_s=x: needs a number or auto"),
        ("laps-sd:K=2,K=3", "parameter 'K' is given twice"),
        ("las:sup_1_s=0", "sup_1_s=0.0 must be above 0"),
        ("las:sup_1_s=-1", "sup_1_s=-1.0 must be above 0"),
        ("laps-sd:order=random", "order=random must be remaining or total"),
        ("laps-sd:stability=x", "stability=x must be range or sd or window or posterior"),
        ("laps-sd:follow=yes", "needs true or false"),
        ("laps-sd:overrun=0.5", "overrun=0.5 must be between 1"),
        ("rr:quantum=0", "quantum=0 must be between 1"),
        ("fcfs:K=4", "policy fcfs has no parameter 'K': it has none"),
        ("srpt:context=1", "policy srpt has no parameter 'context'"),
    ],
)
def test_a_wrong_spec_is_refused_with_the_known_names(spec, message):
    with pytest.raises(ValueError) as error:
        parse_policy(spec)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "outside", "within"),
    [
        ("las:K", (0, 65), (1, 64)),
        ("las:M", (0.5, 1, 1000.1), (1.001, 1000)),
        ("las:sup_1_s", (-1, 0), (1e-9, 1e9)),
        ("las:age_s", (-1, 0), (1e-9, 1e9)),
        ("laps-sd:gamma", (0, 100_001), (1, 100_000)),
        ("laps-sd:delta", (-0.1, 1.1), (0, 1)),
        ("laps-sd:overrun", (0.9, 1000.1), (1, 1000)),
        ("laps-sd:count", (-1, 100_001), (0, 100_000)),
        ("laps-sd:switch_penalty", (-0.1, 1000.1), (0, 1000)),
        ("lp-srpt:c", (-0.1, 1000.1), (0, 1000)),
        ("lp-srpt:switch_penalty", (-0.1, 1000.1), (0, 1000)),
        ("rr:quantum", (0, 1_000_001), (1, 1_000_000)),
        ("tie:tail", (-0.1, 1.1), (0, 1)),
        ("a-min:quantile", (-0.1, 1.1), (0, 1)),
        ("boost:theta", (9e-7, 1000.1), (1e-6, 1000)),
        ("alise:overrun", (0.9, 1000.1), (1, 1000)),
        ("fastserve:quantum_ms", (0, 1.1e9), (1e-6, 1e9)),
        ("fastserve:levels", (0, 65), (1, 64)),
        ("fastserve:starve_s", (0, 1.1e9), (1e-9, 1e9)),
        ("kernel-gittins-online:known", (-1,), (0, 5)),
    ],
)
def test_each_parameter_accepts_exactly_its_range(name, outside, within):
    for value in within:
        parse_policy(f"{name}={value}")
    for value in outside:
        with pytest.raises(ValueError, match=f"{name.split(':')[1]}={value:.10g}.* must be"):
            parse_policy(f"{name}={value:.10g}")


def test_a_policy_and_its_spec_give_each_other():
    for name in POLICIES:
        assert spec_of(parse_policy(name)) == name
    policy = parse_policy("laps-sd:K=6,gamma=8,delta=0.1")
    assert policy == LapsSD(K=6, gamma=8, delta=0.1)
    assert spec_of(policy) == "laps-sd:K=6,gamma=8,delta=0.1"
    assert parse_policy("laps-sd:sup_1_s=auto") == LapsSD()
    assert parse_policy("laps-sd:follow=true,order=total") == LapsSD(follow=True, order="total")
    assert spec_of(LapsSD(follow=True, order="total")) == "laps-sd:follow=true,order=total"
    assert spec_of(LapsSD(M=3.0, delta=0.1234567890123)) == "laps-sd:M=3,delta=0.1234567890123"
    assert spec_of(FastServe(starve_s=None)) == "fastserve:starve_s=auto"
    assert parse_policy("fastserve:starve_s=auto") == FastServe(starve_s=None)


@pytest.mark.parametrize("name", POLICIES)
def test_a_bundled_policy_is_a_public_name_and_has_a_row_of_its_page(name):
    assert vars(policies)[POLICIES[name].__name__] is POLICIES[name]
    assert POLICIES[name].__name__ in policies.__all__
    assert f"\n| `{name}` | " in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", POLICIES)
def test_bound_fields_are_no_parameters(name):
    history = context(price(load_trace("reference"), load_profile("reference")))
    policy = parse_policy(name)
    assert spec_of(policy.bind(history)) == name
    assert repr(policy.bind(history)) == repr(policy)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("alike", "policy 'alike' is now called 'kernel-gittins'"),
        ("alike-online:known=0", "policy 'alike-online' is now called 'kernel-gittins-online'"),
        ("alike-ceiling", "policy 'alike-ceiling' is now called 'kernel-gittins-oracle'"),
        ("lp-srpt:stay=1", "policy lp-srpt: parameter 'stay' is now called 'switch_penalty'"),
        (
            "kernel-gittins:index=mean,patience=1",
            "policy kernel-gittins: parameter 'patience' is now called 'age_weight'",
        ),
        ("fcfs:stay=1", "policy fcfs has no parameter 'stay': it has none"),
        ("stay", "unknown policy 'stay': known are fcfs"),
    ],
)
def test_an_old_name_is_refused_with_the_new_one(spec, message):
    with pytest.raises(ValueError) as error:
        parse_policy(spec)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_no_old_name_is_in_use():
    parameters = {f for policy in POLICIES.values() for f in policy.__dataclass_fields__}
    assert not set(RENAMED) & (set(POLICIES) | parameters)
    assert set(RENAMED.values()) <= set(POLICIES) | parameters


OWN = """
from dataclasses import dataclass
from lapsd.policies import Policy


@dataclass(frozen=True)
class Newest(Policy):
    \"\"\"Last come, first served.\"\"\"

    turns: int = 3

    def rank(self, job, now_ns):
        return (job.rounds >= self.turns, -job.index)


class NoPolicy:
    pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder; modules and `sys.path` are restored at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_policy_of_a_users_own_module_is_named_by_module_and_class(folder):
    (folder / "own_policies.py").write_text(OWN)
    policy = parse_policy("own_policies.Newest:turns=5")
    assert policy.turns == 5
    assert spec_of(policy) == "Newest:turns=5"
    for spec, message in (
        ("own_policies.Oldest", "policy own_policies.Oldest: own_policies has no Oldest"),
        ("own_policies.NoPolicy", "is not a subclass of lapsd.policies.Policy"),
        ("nowhere_at_all.Newest", "cannot import nowhere_at_all"),
        ("own_policies.part.Newest", "cannot import own_policies.part"),
        ("own_policies.Newest:K=3", "has no parameter 'K': its parameters are turns"),
        ("..Newest", "unknown policy '..Newest'"),
        ("own_policies.", "unknown policy 'own_policies.'"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_policy(spec)


def test_a_file_of_the_current_folder_takes_no_place(folder):
    for name in ("traces", "simpy", "own_policies"):
        (folder / f"{name}.py").write_text(OWN)
    before = [*sys.path]
    for name in ("traces", "own_policies"):
        assert parse_policy(f"{name}.Newest").turns == 3
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    assert sys.path == before
    with pytest.raises(ValueError, match=r"policy simpy.Newest: simpy has no Newest \(.*simpy"):
        parse_policy("simpy.Newest")


def test_a_changed_file_is_loaded_again_and_an_unchanged_one_is_not(folder):
    (folder / "own_policies.py").write_text(OWN)
    first = policy_class("own_policies.Newest")
    assert policy_class("own_policies.Newest") is first
    (folder / "own_policies.py").write_text(OWN.replace("turns: int = 3", "turns: int = 4"))
    assert parse_policy("own_policies.Newest").turns == 4


def test_messages_quote_a_changed_file_as_it_was_loaded(folder):
    """Numba quotes lines by a path relative to the current folder."""
    for text in ("zero", "nought"):
        (folder / "own_policies.py").write_text(f"# {text}\n{OWN}")
        policy_class("own_policies.Newest")
        assert linecache.getline("own_policies.py", 1) == f"# {text}\n"


def test_another_process_runs_the_source_that_it_received(folder):
    (folder / "own_policies.py").write_text(OWN)
    sources = sources_of([parse_policy("own_policies.Newest"), parse_policy("fcfs")])
    (folder / "own_policies.py").unlink()
    script = (
        "import sys, pickle; from lapsd.policies import own, parse_policy\n"
        "own.receive(pickle.load(sys.stdin.buffer))\n"
        "print(parse_policy('own_policies.Newest:turns=5'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(sources), capture_output=True
    )
    assert done.stdout == b"Newest(turns=5)\n", done.stderr


def test_the_path_stays_as_it_is(folder):
    (folder / "simpy.py").write_text(OWN)
    (folder / "broken_policies.py").write_text("import not_installed")
    (folder / "folder_without_modules").mkdir()
    before = [*sys.path]
    assert parse_policy("lapsd.policies.fcfs.FCFS") == parse_policy("fcfs")
    for spec in (
        "simpy.Newest",
        "nowhere_at_all.Newest",
        "broken_policies.Newest",
        "folder_without_modules.part.Newest",
    ):
        with pytest.raises(ValueError):
            parse_policy(spec)
    assert sys.path == before


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import not_installed", "No module named 'not_installed'"),
        ("raise ImportError('needs\\n  a GPU')", "needs a GPU"),
        (
            "from lapsd.policies import Nothing",
            "cannot import name 'Nothing' from 'lapsd.policies'",
        ),
    ],
)
def test_a_module_that_fails_to_import_is_not_reported_as_missing(folder, source, reason):
    (folder / "broken_policies.py").write_text(source)
    with pytest.raises(ValueError) as error:
        parse_policy("broken_policies.Newest")
    message = f"policy broken_policies.Newest: broken_policies fails to import: {reason}"
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_module_written_after_the_folder_was_searched_is_found(folder):
    with pytest.raises(ValueError, match="cannot import late_policies"):
        parse_policy("late_policies.Newest")
    (folder / "late_policies.py").write_text(OWN)
    assert parse_policy("late_policies.Newest").turns == 3


def test_workers_of_a_sweep_import_a_policy_of_a_users_own_module(tmp_path):
    (tmp_path / "own_policies.py").write_text(OWN)
    (tmp_path / "simpy.py").write_text("raise RuntimeError('not the installed simpy')")
    script = "from lapsd.cli import main; main()"
    # as in a console script, -P keeps the current folder out of `sys.path`
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            script,
            *("sweep", "--out", "s", "--policy", "own_policies.Newest", "--policy", "fcfs"),
            *("--turns", "2:4", "--requests", "6", "--seeds", "300", "--workers", "2"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records = pd.read_parquet(tmp_path / "s")
    assert set(records["policy"]) == {"Newest:turns=2", "Newest", "Newest:turns=4", "fcfs"}
    assert records["turns"].value_counts().tolist() == [300, 300, 300]
