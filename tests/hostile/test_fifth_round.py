"""A fifth round of attempts: several servers, own routers, plots of sweeps, sessions."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lapsd
from lapsd.policies import FCFS, parse_policy
from lapsd.sim.figures.saving import image
from lapsd.sim.sweeps import best, grid, parts
from lapsd.sim.sweeps.summary import plot_heat_map, plot_sweep
from lapsd.traces.errors import DONE
from lapsd.traces.files import write_whole
from tests.hostile import folders, test_second_round_drafts as drafts
from tests.hostile.harness import Case, each

FEW = "compare --requests 4 --seeds 1 --policy fcfs --engine simpy"
CLASS = "@dataclass(frozen=True)\nclass Own(Router):"
ROUTE = "def route(self, request, servers, now_ns): "
STATE = "@dataclass\n class State:\n  x: int = 0\n "
HEAD = """
import math, sys
from dataclasses import dataclass, replace
import numpy as np
from lapsd.policies.routers import Router
"""


def own(body: str, says: str = "", code: int = 2, *, engine: str = "simpy", more: str = "") -> Case:
    """A case in which `mine.py` holds a router `Own` with this body."""
    lines = body if ROUTE in body else f"{body}\n {ROUTE}return 0"

    def given(folder: Path) -> None:
        (folder / "mine.py").write_text(f"{HEAD}{CLASS}\n {lines}")

    given.__name__ = " ".join(body.split())
    servers = f"--servers 3 --router mine.Own --all-at-once {more}"
    return Case(f"{FEW.replace('simpy', engine)} {servers}", says, code, given)


# routers
WHERE = "router Own: route of request 0 at 0 ns"
ROUTERS = [
    own(ROUTE + "return 3", f"{WHERE} returned 3: must be from 0 to 2"),
    own(ROUTE + "return -1", f"{WHERE} returned -1: must be from 0 to 2"),
    own(ROUTE + "return 0.0", f"{WHERE} returned 0.0: must be the number of a server"),
    own(ROUTE + "return True", f"{WHERE} returned True: must be the number of a server"),
    own(ROUTE + "return None", f"{WHERE} returned None: must be the number of a server"),
    own(ROUTE + "return np.int64(1)", code=DONE),
    own(ROUTE + "raise ValueError('two\\nlines')", f"{WHERE} raised ValueError: two lines"),
    own(ROUTE + "sys.exit(0)", f"{WHERE} raised SystemExit: 0"),
    own(ROUTE + "servers.waiting[0] = 99; return 0", "raised ValueError: assignment destination"),
    own(ROUTE + "request.index = 1; return 0", "raised FrozenInstanceError: cannot assign"),
    own(ROUTE + "self.k = 3; return 0", "raised FrozenInstanceError: cannot assign"),
    own(ROUTE + "return request.random[0] % 3", "raised IndexError: index 0 is out of bounds"),
    own(STATE + ROUTE + "servers.state.x = 1.5; return 0", "servers.state.x=1.5: must be of type"),
    own(STATE + ROUTE + "servers.state.y = 1; return 0", "servers.state.y must not be written"),
    own(ROUTE + "return 0", "guardrails do not allow that server", more="--guardrails 1e-9"),
    own("def bind(self, context): return 3", "bind raised TypeError: it must return a router"),
    own("clairvoyant = 'no'", "clairvoyant raised TypeError: it must be True or False"),
    own("name = 'jsq'", "is called 'jsq', as a bundled one"),
    own("draws = -1", "draws raised ValueError: must be a whole number from 0 to 1024"),
    own("draws = True", "draws raised ValueError: must be a whole number from 0 to 1024"),
    own("signal_age_ms = 1e10", "signal_age_ms raised ValueError: must be from 0 to 1e+09"),
    own("signal_age_ms = 1e-5", "signal_age_ms raised ValueError: must be 0, or at least 0.1"),
]
ZERO = "raised RuntimeWarning: divide by zero encountered in scalar"
DIVISIONS = [
    own(ROUTE + f"return int(servers.slots[0] {how} servers.waiting[0])", ZERO, engine=engine)
    for how in ("%", "//", "/")
    for engine in ("simpy", "auto")
] + [drafts.own(f"{drafts.CHOOSE}step.contexts[0] % (0 * step.contexts[0]); {drafts.ONE}", ZERO)]


@each(ROUTERS + DIVISIONS)
def test_a_router_that_misbehaves_is_named_with_its_request(case, run):
    run(case)


# several servers
AGE = "--servers 2 --signal-age-ms"
SERVERS = [
    Case(f"{FEW} {AGE} 0.1 --rate 1e-4", "reports of each server: must be at most 100,000,000"),
    Case(
        f"{FEW} {AGE} 0.1 --clients 2 --think 1e6", "signal_age_ms=0.1: a run of at least 1e+06 s"
    ),
    Case(f"{FEW} {AGE} 0.05", "signal_age_ms=0.05: must be 0, or at least 0.1"),
    Case(f"{FEW} {AGE} 0.1", code=DONE),
    Case(f"{FEW} --servers 3 --guardrails 1e-300", code=DONE),
    Case(f"{FEW} --servers 3 --guardrails 1 --load 0.999999999999", code=DONE),
    Case(f"{FEW} --servers 4097", "servers=4097: must be at least 1 and at most 4096"),
    Case(f"{FEW} --servers 2 --router jsq:d=1025", "jsq: d=1025: must be between 1 and 1024"),
    Case(f"{FEW} --servers 2 --router lapsd.policies.FCFS", "is not a subclass of lapsd.policies."),
    Case(f"{FEW} --servers 2 --server-profiles reference+", "must be names, as in A+B"),
    Case(f"{FEW} --servers 2 --dispatch central --guardrails 3", "does not apply to one queue"),
    Case("capacity --rate 2 --servers 3", "--servers: has no effect with --rate"),
    Case("capacity --rate 1e-12 --requests 4", "s to arrive, above 1000000000 s"),
    Case("capacity --requests 3 --policy fcfs --policy fcfs", "policy fcfs is given twice"),
    Case(
        "capacity --requests 3 --rate 2 --policy fcfs --policy fcfs", "policy fcfs is given twice"
    ),
]


@each(SERVERS)
def test_an_extreme_of_several_servers_is_served_or_refused(case, run):
    run(case)


@pytest.mark.parametrize("dispatch", ["router", "central"])
def test_equal_profiles_that_are_listed_are_those_that_are_not(dispatch):
    def finish(**more):
        policies = [parse_policy("las")]
        how = {"requests": 12, "seeds": 2, "servers": 3, "engine": "simpy", "dispatch": dispatch}
        return lapsd.compare(policies=policies, **how, **more).requests["finish_ns"].tolist()

    assert finish(server_profiles="reference+reference") == finish()


# plots and verdicts of a sweep
GRID = "--requests 3 --seeds 4 --workers 1 --engine simpy"


def made(options: str):
    """Return a function that puts a sweep with these options into the folder `s`."""

    def given(folder: Path) -> None:
        assert folders.lapsd(f"sweep --out {folder / 's'} {GRID} {options}") == DONE

    given.__name__ = options
    return given


WITH_K = made("--policy fcfs --policy las --K 2,3 --load 0.5,0.8")
DRAFTS = made("--policy fcfs --draft-policy off --draft-policy fixed")
ONE_OR_TWO = made("--policy fcfs --servers 1,2")
AGES = made("--policy fcfs --servers 2 --signal-age-ms none,5,50")
PLOT = "show s --plot a.png"
HEAT = f"{PLOT} --value"
PLOTS = [
    Case(f"{HEAT} mean_latency_s --x K --y load --where policy=fcfs", "drawn", DONE, WITH_K),
    Case(f"{HEAT} mean_latency_s --x rate --y cv", "drawn", DONE, AGES),
    Case(
        f"{HEAT} accepted_share --x load --y draft_policy --where draft_policy=off",
        "metric 'accepted_share': is not defined in these runs",
        given=DRAFTS,
    ),
    Case(
        f"{PLOT} --x load --y imbalance --where servers=1",
        "metric 'imbalance': is not defined in these runs",
        given=ONE_OR_TWO,
    ),
    Case(f"{PLOT} --x load --where K=9", "where 'K=9': the values are -, 2, 3", given=WITH_K),
    Case(
        f"{PLOT} --x load --where load=0.5 --where load=0.8",
        "where 'load=0.8': the values are 0.5",
        given=WITH_K,
    ),
    Case("show s --where servers", "needs NAME=VALUE, NAME one of servers", given=ONE_OR_TWO),
    Case("best s --metric imbalance", "is not defined for fcfs with servers 1", given=ONE_OR_TWO),
    Case("best s --metric imbalance --by servers", "not defined for fcfs", given=ONE_OR_TWO),
    Case("best s --by signal_age_ms", "signal_age_ms None", DONE, AGES),
]


@each(PLOTS)
def test_a_plot_of_missing_values_shows_them_or_is_refused(case, run):
    run(case)


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> dict[str, pd.DataFrame]:
    """Return the records of two sweeps, by name."""
    found = {}
    for name, given in (("K", WITH_K), ("ages", AGES)):
        folder = tmp_path_factory.mktemp(name)
        given(folder)
        found[name] = lapsd.read_sweep(folder / "s")
    return found


def test_a_line_of_records_without_a_value_of_the_hue_is_drawn(records):
    figure = plot_sweep(records["ages"], "load", "mean_latency_s", "signal_age_ms")
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["signal_age_ms 5", "signal_age_ms 50", "signal_age_ms -"]


def test_policies_without_the_parameter_of_the_axis_are_levels_of_every_line(records):
    axes = plot_sweep(records["K"], "K", "mean_latency_s", "load").axes[0]
    assert [note.get_text() for note in axes.texts] == ["fcfs, load 0.5", "fcfs, load 0.8"]
    axes = plot_sweep(records["K"], "K", "mean_latency_s", "policy_name").axes[0]
    assert [note.get_text() for note in axes.texts] == ["fcfs"]
    axes = plot_sweep(records["ages"], "signal_age_ms", "mean_latency_s").axes[0]
    assert [note.get_text() for note in axes.texts] == ["signal_age_ms -"]


def test_a_heat_map_has_a_column_for_runs_without_the_parameter(records):
    table = records["K"]
    figure = plot_heat_map(table, "K", "load", "mean_latency_s")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["-", "2", "3"]
    means = table.groupby(["load", "policy"])["mean_latency_s"].mean().unstack()
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, means.sort_index(ascending=False))
    assert image(figure, format="png")


# parts of another version
def with_columns(change: Callable[[pa.Table], pa.Table], name: str):
    """Return a function that makes a sweep with a part of other columns, which is sealed."""

    def given(folder: Path) -> None:
        folders.sweep(folder)
        digest = json.loads((folder / "s" / "_sweep.json").read_text())["sha256"]
        part = folder / "s" / "part-000001.parquet"
        parts.write_part(folder / "s", digest, 1, change(pq.read_table(part)))

    given.__name__ = name
    return given


LATENCY = "mean_latency_s"
LESS = with_columns(lambda t: t.drop(["imbalance"]), "less")
MORE = with_columns(lambda t: t.append_column("new", t[LATENCY]), "more")
TEXT = with_columns(
    lambda t: t.set_column(t.schema.names.index(LATENCY), LATENCY, t["policy"]), "text"
)
TURNED = with_columns(lambda t: t.select(t.schema.names[::-1]), "turned")
PART = "s/part-000001.parquet"
PARTS = [
    Case("show s", f"{PART}: lacks the column 'imbalance' of the other parts", given=LESS),
    Case("best s", f"{PART}: has a column 'new', unlike the other parts", given=MORE),
    Case("show s", f"{PART}, column '{LATENCY}': is of type string, not double", given=TEXT),
    Case("best s", f"{PART}: has its columns in another order", given=TURNED),
]


@each(PARTS)
def test_a_part_of_other_columns_is_named(case, run):
    run(case)


@pytest.mark.parametrize("given", [LESS, MORE, TEXT, TURNED])
def test_a_part_of_other_columns_is_run_again(given, tmp_path, monkeypatch):
    folders.sweep(tmp_path)
    whole = lapsd.read_sweep(tmp_path / "s")
    (tmp_path / "s").rename(tmp_path / "whole")
    given(tmp_path)
    monkeypatch.setattr(grid, "RUNS_PER_CHUNK", 2)
    with pytest.warns(parts.DamagedPart, match="part-000001"):
        pd.testing.assert_frame_equal(lapsd.resume(tmp_path / "s", workers=1), whole)


# calls in Python
def test_records_that_are_none_are_refused(records):
    table = records["K"]
    for call, says in (
        (lambda: best("s"), "records: need a table, as lapsd.read_sweep returns it, not a str"),
        (lambda: best(table.drop(columns="policy")), "records: have no column 'policy'"),
        (lambda: best(table.set_index("seed")), "records: have no column 'seed'"),
        (lambda: best(table, None), "by=None: needs a list of settings"),
        (lambda: best(table, 3), "by=3: needs a list of settings"),
        (lambda: best(table, metric=["p99_latency_s"]), "metric=.*: needs a text"),
        (lambda: lapsd.sweep("s", ["las"], [1, 2]), r"parameters=\[1, 2\]: needs values by name"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


def test_truths_of_numpy_are_truths():
    made = lapsd.compare(policies=FCFS(), all_at_once=np.True_, requests=2, seeds=1, engine="simpy")
    assert made.scenario.all_at_once is True


# sessions
SESSIONS = [
    Case("generate -o t.parquet --sessions 0", "--sessions 0: must be at least 1"),
    Case("generate -o t.parquet --sessions 2 --prefix-block 0", "block=0: must be between 1 and"),
    Case(
        "generate -o t.parquet --sessions 2 --system-tokens 1000000000 --prefix-block 1",
        "hashes of blocks: must be at most 50,000,000",
    ),
]


@each(SESSIONS)
def test_sessions_of_too_many_blocks_are_refused(case, run):
    run(case)


# a file system that cannot be written to
def read_only(folder: Path) -> None:
    """Let the folder look as one on a file system that is mounted for reading."""
    (folder / "s").mkdir()


READ_ONLY = [
    Case("generate -o s/t.parquet", "s/t.parquet: the folder s cannot be written to"),
    Case(f"{FEW} --plot s/a.png", "--plot s/a.png: the folder s cannot be written to"),
    Case("advise --profile llama-7b-h200 --out s/a.json", "the folder s cannot be written to"),
]


@each([case._replace(given=read_only) for case in READ_ONLY])
def test_a_folder_that_cannot_be_written_to_is_named_before_any_work(case, run, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK or Path(path).name != "s")
    run(case)


def test_the_message_of_a_failed_write_names_the_file_of_the_user(tmp_path, monkeypatch):
    def refuse(path: Path, *rest: object, **more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match="Read-only file system") as caught:
        write_whole(tmp_path / "a.png", refuse)
    assert caught.value.filename == str(tmp_path / "a.png")


def test_json_of_an_unreachable_constraint_has_null(run):
    command = "capacity --rate 2 --requests 3 --seeds 1 --json --constraint mean_latency_s<=1e-9"
    stdout, _ = run(Case(command.replace("<", "'<'"), code=DONE))
    assert json.loads(stdout)[0]["servers"] == [None]
