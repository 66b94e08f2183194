"""A fourth round of attempts: links and names, files of other programs, and draft policies."""

import os
import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lapsd
from lapsd.policies import FCFS, LapsSD
from lapsd.policies.drafts import Fixed
from lapsd.traces import load_trace, save_trace, trace_from_rounds
from lapsd.traces.errors import DONE
from lapsd.traces.files import BUNDLED
from lapsd.traces.files.trace_file import to_table
from tests.compilation import compiled_only
from tests.hostile import folders, test_second_round_drafts as drafts
from tests.hostile.harness import Case, digests, each
from tests.hostile.test_policies import STATE, own

FEW = "compare --requests 3 --seeds 1 --policy fcfs --engine simpy"
SWEEP = "sweep --requests 2 --seeds 2 --policy fcfs --workers 1 --engine simpy --out s --overwrite"


# links and names
def through_a_link(folder: Path) -> None:
    """Put a link to a sweep in another folder into the folder `s`."""
    folders.sweep(folder)
    (folder / "s").rename(folder / "real")
    (folder / "s").symlink_to("real")


def a_linked_part(folder: Path) -> None:
    """Replace a part by a link to a file outside."""
    folders.sweep(folder)
    part = folder / "s" / "part-000001.parquet"
    part.rename(folder / "kept.parquet")
    part.symlink_to(folder / "kept.parquet")


def a_part_with_another_name(folder: Path) -> None:
    """Give a part of a sweep a second name outside."""
    folders.sweep(folder)
    os.link(folder / "s" / "part-000001.parquet", folder / "kept.parquet")


def a_second_part(folder: Path) -> None:
    """Copy a part, as a program that keeps folders of several machines the same does."""
    folders.sweep(folder)
    part = folder / "s" / "part-000001.parquet"
    part.with_name("part-000001 (copy).parquet").write_bytes(part.read_bytes())


def a_file_in_the_place_of_a_link(folder: Path) -> None:
    """Put a link to a file into the folder `s`."""
    (folder / "file").write_text("kept")
    (folder / "s").symlink_to("file")


@pytest.mark.parametrize("given", [a_linked_part, a_part_with_another_name])
def test_a_file_that_a_folder_of_results_shares_is_kept(given, tmp_path):
    given(tmp_path)
    before = digests(tmp_path)["kept.parquet"]
    assert folders.lapsd(SWEEP.replace(" s ", f" {tmp_path / 's'} ")) == DONE
    assert digests(tmp_path)["kept.parquet"] == before


def a_socket(folder: Path) -> None:
    """Put sockets into the folder, named as the files that are read."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("x.json")
    for name in ("x.parquet", "x.csv", "x.toml"):
        os.link("x.json", name)


def linked_inputs(folder: Path) -> None:
    """Put a profile with two names and a link into the folder."""
    (folder / "p.json").write_bytes((BUNDLED / "reference.json").read_bytes())
    os.link(folder / "p.json", folder / "hard.json")
    (folder / "soft.json").symlink_to("p.json")


SAID = "is an input, which is never written over"
LONG = "b" * 248
PLACES = [
    Case("show s", "10 runs", DONE, through_a_link),
    Case("best s", "the best is", DONE, through_a_link),
    Case(SWEEP, "2 runs", DONE, through_a_link),
    Case("show s", "10 runs", DONE, a_linked_part),
    Case("show s", "(copy).parquet: belongs to no chunk", given=a_second_part),
    Case("best s", "(copy).parquet: belongs to no chunk", given=a_second_part),
    Case(f"{FEW} --out s --overwrite", "s: File exists", given=a_file_in_the_place_of_a_link),
    Case(f"{FEW} --profile soft.json --timeline p.json --overwrite", SAID, given=linked_inputs),
    Case(f"{FEW} --profile p.json --timeline soft.json --overwrite", SAID, given=linked_inputs),
    Case(f"{FEW} --profile p.json --timeline hard.json --overwrite", SAID, given=linked_inputs),
    Case("show x.json", "x.json: not a regular file", given=a_socket),
    Case("show x.parquet", "x.parquet: not a regular file", given=a_socket),
    Case("import azure x.csv -o o.parquet", "x.csv: not a regular file", given=a_socket),
    Case("sweep --from x.toml --out o", "x.toml: not a regular file", given=a_socket),
    Case(f"{FEW} --timeline {LONG}.json", code=DONE),
    Case(f"{FEW} --gantt {LONG}.svg", code=DONE),
    Case(f"{FEW} --timeline {LONG}bbb.json", f"{LONG}bbb.json: File name too long"),
]


@each(PLACES)
def test_links_sockets_and_long_names_are_files_or_refused(case, run):
    run(case)


# files as other programs write them
def column(name: str, kind: pa.DataType):
    """Return a function that writes a trace whose column has another type."""

    def given(folder: Path) -> None:
        table = to_table(load_trace("reference").take(range(20)))
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(kind))
        pq.write_table(table.select(table.schema.names[::-1]), folder / "t.parquet")

    given.__name__ = f"{name} as {kind}"
    return given


TYPES = [
    *(("prompt_tokens", kind) for kind in (pa.int16(), pa.uint16(), pa.int64(), pa.uint64())),
    *(("accepted", pa.list_(kind)) for kind in (pa.int8(), pa.uint32(), pa.int64())),
    ("drafted", pa.large_list(pa.int32())),
    *(("dataset", kind) for kind in (pa.large_string(), pa.string_view())),
]


@pytest.mark.parametrize(("name", "kind"), TYPES)
def test_a_trace_with_columns_of_other_widths_in_another_order_is_the_same(name, kind, tmp_path):
    column(name, kind)(tmp_path)
    policy = {"policies": FCFS(), "requests": 5, "seeds": 1, "engine": "simpy"}
    plain = lapsd.compare(load_trace("reference").take(range(20)), **policy)
    other = lapsd.compare(tmp_path / "t.parquet", **policy)
    assert other.requests["finish_ns"].tolist() == plain.requests["finish_ns"].tolist()


def test_a_trace_of_one_round_is_shown_without_nan(run):
    row = {"request_id": "a", "dataset": "d", "prompt_tokens": 1, "output_tokens": 1}
    one = trace_from_rounds([row | {"drafted": [0], "accepted": [0]}])
    stdout, _ = run(Case("show t.parquet", "", DONE, lambda f: save_trace(one, f / "t.parquet")))
    assert "nan" not in stdout


TOML = [("[[settings]]\nload = 0.5", "settings: needs one table, [settings], not [{'load': 0.5}]")]
TOML += [("parameters = 3", "parameters: needs one table, [parameters], not 3")]
TOML += [("[settings]\nload = 1979-05-27", "load=datetime.date(1979, 5, 27): needs a number")]
TOML += [("[settings]\nload.x = 0.5", "load: needs a value or a list of values, not {'x': 0.5}")]


@pytest.mark.parametrize(("text", "says"), TOML)
def test_a_sweep_of_another_shape_is_refused(text, says, run):
    run(Case("sweep --from t.toml --out s", says, given=lambda f: (f / "t.toml").write_text(text)))


def test_a_link_too_slow_to_be_meant_is_refused_before_the_tables_are_read(run):
    tables = "import aiconfigurator --target llama-7b -o p.json"
    run(Case(f"{tables} --link-gb-s 1e-300", "link_gb_s=1e-300: must be between 0.001 and 100000"))


# values of other types
VALUES = [
    (lambda: FCFS(drafts=Fixed(most=True)), "draft policy fixed: most=True: must be of type int"),
    (lambda: LapsSD(K=True), "policy laps-sd: K=True: must be of type int"),
    (lambda: LapsSD(gamma=5.0), "policy laps-sd: gamma=5.0: must be of type int"),
    (lambda: LapsSD(preempt=1), "policy laps-sd: preempt=1: must be of type bool"),
    (lambda: LapsSD(sup_1_s=True), "policy laps-sd: sup_1_s=True: must be of type float | None"),
]


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize(("made", "says"), VALUES)
def test_a_parameter_of_another_type_is_refused(made, says, engine):
    with pytest.raises(ValueError, match=says.replace("|", r"\|")):
        lapsd.compare(policies=made(), requests=2, seeds=1, engine=engine)


def test_numbers_of_numpy_are_numbers():
    policy = LapsSD(gamma=np.int64(4), delta=np.float64(0.1), preempt=np.True_, M=3)
    made = lapsd.compare(policies=policy, requests=2, seeds=1, engine="simpy")
    assert made.policies == ["laps-sd:M=3,gamma=4,delta=0.1"]


# what SimPy runs, and 64 bits or Numba do not
WIDE = "is outside the range of 64 bits, from -2**63 to 2**63 - 1"
IN_SIMPY = [
    own("k: int = 2**70\n def rank(self, job, now_ns): return (job.index % self.k,)", f"k {WIDE}"),
    own(STATE.replace("= 0", "= 2**70") + "def rank(self, job, now_ns): return (1,)", WIDE),
    own("def rank(self, job, now_ns): import random; return (job.index,)", "IMPORT_NAME"),
]
DRAFTS_IN_SIMPY = [
    drafts.own(drafts.STATE.replace("= 0", "= 2**70") + drafts.CHOOSE + drafts.ONE, WIDE),
    drafts.own(f"k: int = 2**70\n {drafts.CHOOSE}self.k; {drafts.ONE}", f"k {WIDE}"),
    drafts.own(f"{drafts.CHOOSE}import random; {drafts.ONE}", "IMPORT_NAME"),
]


@compiled_only
@each([case._replace(code=DONE) for case in [*IN_SIMPY, *DRAFTS_IN_SIMPY]])
def test_what_cannot_be_compiled_runs_in_simpy_and_says_why(case, run):
    stdout, line = run(case._replace(command=case.command.replace("simpy", "auto")))
    assert "runs in SimPy" in line
    assert stdout == run(case._replace(says=""))[0]


RETURNS = [
    drafts.own(
        f"{drafts.CHOOSE}return np.ma.masked_array(np.full(step.requests, 1), mask=True)",
        "returned MaskedArray: must be an array of whole numbers",
        engine=engine,
    )
    for engine in ("simpy", "auto")
] + [
    drafts.own(
        f"{drafts.CHOOSE}step.tokens[:] += 1; {drafts.ONE}", "ValueError: output array is read-only"
    )._replace(command=drafts.own("", "", engine="auto").command)
]


@each(RETURNS)
def test_draft_lengths_that_numba_and_numpy_take_differently_are_refused(case, run):
    run(case)
