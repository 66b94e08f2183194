"""A second round of attempts: mixes, results edited by hand, metrics, files of strange types."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lapsd
from lapsd.policies import FCFS
from lapsd.traces import load_trace
from lapsd.traces.errors import DONE
from lapsd.traces.files.trace_file import to_table
from tests.hostile import folders
from tests.hostile.harness import Case, each

FEW = "compare --requests 3 --seeds 1 --policy fcfs --engine simpy"
MIX = "a mix is NAME=SHARE+NAME=SHARE"
MIXES = [
    *(
        Case(f"{FEW} --dataset '{mix}'", MIX)
        for mix in (
            *("code=0+prose=1", "code=-1+prose=2", "code=0.5+code=0.5", "code=", "=0.5"),
            *("code=0.5+", "code=1e308+prose=1e308", "code=0.5 + prose=0.5", "code=٣+prose=1"),
        )
    ),
    Case(f"{FEW} --dataset code=0.5+nosuch=0.5", "dataset 'nosuch': the trace holds"),
    Case(f"{FEW} --dataset all=0.5+code=0.5", "dataset 'all': the trace holds"),
    Case(f"{FEW} --dataset code=1e-320+prose=1", code=DONE),
    Case(f"{FEW} --dataset code=0.3333+prose=0.6667", code=DONE),
]

PATHS = [
    Case(f"{FEW} --out /proc/x", "/proc/x: No such file or directory"),
    Case(f"{FEW} --out /dev/null/x", "/dev/null/x: Not a directory"),
    Case(f"{FEW} --out {'a' * 300}", "File name too long"),
    Case(f"{FEW} --out ..", "is not empty and holds no result"),
    Case(f"{FEW} --out '\udcff'", "surrogates not allowed"),
    Case(f"{FEW} --out 'a\0b'", "embedded null byte"),
    Case(f"{FEW} --plot /dev/null/x.png", "there is no folder /dev/null"),
    Case(f"{FEW} --plot .png", "the file's ending must be one of"),
    Case(f"{FEW} --plot x.PNG", "the file's ending must be one of"),
    Case(f"generate -o {'a' * 300}.parquet", "File name too long"),
    Case("generate -o /dev/full", "/dev/full exists already"),
    Case(f"{FEW} --trace /proc/self/mem", "not a readable Parquet file"),
    Case(f"{FEW} --trace /etc/passwd", "not a readable Parquet file"),
    Case(f"{FEW} --trace @list.json/x", "Not a directory"),
    Case(f"{FEW} --trace Reference", "trace Reference: no such file"),
    Case(f"{FEW} --trace 's3://a/b'", "no such file"),
    Case(f"{FEW} --trace -- x", "--trace: needs a value"),
    Case(f"{FEW} --profile @escapes.parquet", "not text in UTF-8"),
    Case(f"{FEW} --arrivals @escapes.parquet", "not an arrivals file of lapsd"),
    Case(f"{FEW} --out 'new\nline'", code=DONE),
    Case(f"{FEW} --out '$HOME'", code=DONE),
]


@each(MIXES + PATHS)
def test_a_mix_or_a_path_is_meant_as_it_is_written(case, run):
    run(case)


# traces whose columns have other types
P = "field 'prompt_tokens'"
TYPES = {
    "texts": (lambda values: list(map(str, values)), f"{P}: type string, expected int32"),
    "decimals": (lambda values: list(map(Decimal, values)), f"{P}: type decimal128"),
    "floats": (lambda values: list(map(float, values)), f"{P}: type double, expected int32"),
    "truths": (lambda values: [True] * len(values), f"{P}: type bool, expected int32"),
    "lists": (lambda values: [[v] for v in values], f"{P}: type list<"),
    "dates": (lambda values: pa.array(values, pa.int64()).cast(pa.timestamp("s")), f"{P}: type ti"),
    "nulls": (lambda values: pa.nulls(len(values)), f"{P}: type null, expected int32"),
    "one null": (lambda values: [None, *values[1:]], "row 0, field 'prompt_tokens': missing"),
    "unsigned": (lambda values: pa.array([2**63] * len(values), pa.uint64()), "not in range"),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_column_of_another_type_is_named(name, run):
    change, says = TYPES[name]

    def given(folder: Path) -> None:
        table = to_table(load_trace("reference").take(range(4)))
        column = change(table["prompt_tokens"].to_pylist())
        made = column if isinstance(column, pa.Array) else pa.array(column)
        at = table.schema.get_field_index("prompt_tokens")
        pq.write_table(table.set_column(at, "prompt_tokens", made), folder / "t.parquet")

    run(Case("show t.parquet", says, given=given))


def changed(name: str, change, says: str, code: int = 2) -> Case:
    """A case in which the table of a trace is changed as a whole."""

    def given(folder: Path) -> None:
        table = to_table(load_trace("reference").take(range(4)))
        made = change(table)
        note = {**(table.schema.metadata or {}), **(made.schema.metadata or {})}
        pq.write_table(made.replace_schema_metadata(note), folder / "t.parquet", row_group_size=2)

    given.__name__ = name
    return Case("show --verbose t.parquet", says, code, given)


def note(text: str, says: str, code: int = 2) -> Case:
    """A case in which a trace has this text as its provenance."""
    return changed(text, lambda t: t.replace_schema_metadata({"lapsd": text}), says, code)


DRAFTS = (0.5, 1.5, -0.1, np.nan, np.inf)
TABLES = [
    changed("no rows", lambda t: t.slice(0, 0), "holds no requests"),
    changed(
        "a column twice",
        lambda t: t.append_column("dataset", t["dataset"]),
        "not a readable Parquet file (Multiple matches",
    ),
    changed("no column", lambda t: t.drop(["accepted"]), "no column 'accepted'"),
    changed(
        "other case",
        lambda t: t.rename_columns([name.upper() for name in t.schema.names]),
        "no column 'request_id'",
    ),
    changed("extra", lambda t: t.append_column("größe\x1b[31m\n", t["dataset"]), "", DONE),
    *(
        changed(
            f"probabilities of {value}",
            lambda t, value=value: t.append_column(
                "draft_prob", pa.array([[value] * n for n in t["output_tokens"].to_pylist()])
            ),
            "" if value == 0.5 else "field 'draft_prob': must lie between 0 and 1",
            DONE if value == 0.5 else 2,
        )
        for value in DRAFTS
    ),
    note("", "metadata key 'lapsd': not JSON"),
    note("null", "schema version None"),
    note('{"schema_version": 99}', "schema version 99, this lapsd reads version 1"),
    note('{"schema_version": "1"}', "schema version '1'"),
    note('{"schema_version": 1, "source": 3}', "'3' is not of type str"),
    note('{"schema_version": 1, "source": {"a": [1]}}', "is not of type str"),
]


@each(TABLES)
def test_a_table_that_is_hardly_a_trace_is_named(case, run):
    run(case)


# sweeps
def made(options: str, name: str):
    """Return a function that puts a sweep with these options into the folder `s`."""

    def given(folder: Path) -> None:
        assert folders.lapsd(f"sweep --out {folder / 's'} --requests 3 --workers 1 {options}") == 0

    given.__name__ = name
    return given


def without_digest(document) -> None:
    """Remove the digest, and change a setting."""
    del document["sha256"]
    document["sweep"]["settings"]["requests"] = ["4"]


FOUR = made("--seeds 4 --policy fcfs --policy srpt", "four seeds")
OFF = made("--seeds 4 --draft-policy off --draft-policy fixed", "no drafts")
ONE = made("--seeds 1 --policy fcfs", "one run")
EDITED = folders.described(without_digest)
SWEEPS = [
    Case("best s", "1 seeds: must be at least 4", given=ONE),
    Case("show s", "fcfs", DONE, ONE),
    Case("show s --plot a.png --x load", "drawn", DONE, ONE),
    Case(
        "best s --metric seed", "metric 'seed': is a parameter, a setting or the seed", given=FOUR
    ),
    Case("best s --metric load", "metric 'load': is a parameter, a setting or the", given=FOUR),
    Case("best s --metric policy", "column 'policy': is not a number", given=FOUR),
    Case("best s --metric accepted_share", "is not defined for fcfs+off", given=OFF),
    Case("best s --metric accepted_share --json", "is not defined for fcfs+off", given=OFF),
    Case("best s --by policy", "by policy: groups are made by settings only", given=FOUR),
    Case("best s --by seeds", "column 'seeds': the sweep has", given=FOUR),
    Case("show s --y accepted_share", "fcfs+fixed", DONE, OFF),
    Case("show s --where load=0.7", "where 'load=0.7': ", given=FOUR),
    Case("show s --where policy=las", "where 'policy=las': the values are fcfs, srpt", given=FOUR),
    Case("show s --where policy=", "where 'policy=': the values are fcfs, srpt", given=FOUR),
    Case("show s --where =1", "where '=1': needs NAME=VALUE", given=FOUR),
    Case("show s --plot a.png", "--plot of a sweep needs --x", given=FOUR),
    Case("show s --plot a.png --x load --hue load", "column 'load': is given twice", given=FOUR),
    Case("show s --plot a.png --x load --y load --value mean_latency_s", "twice", given=FOUR),
    Case("show s --plot s/part-000000.parquet --x load", "ending must be", given=FOUR),
    Case("show s", "it names its sweep, and the description of the sweep has no", given=EDITED),
    Case("best s", "it names its sweep, and the description of the sweep has no", given=EDITED),
    Case("sweep --resume s", "_sweep.json: is damaged: it has no digest", given=EDITED),
]


@each(SWEEPS)
def test_a_question_that_a_sweep_cannot_answer_is_refused(case, run):
    run(case)


def link(folder: Path) -> None:
    """Put a link to itself into the folder."""
    (folder / "s").symlink_to(folder / "s")


LINKS = [
    Case("show s", "Too many levels of symbolic links", given=link),
    Case("best s", "holds no sweep", given=link),
    Case("sweep --resume s", "holds no sweep", given=link),
    Case(f"{FEW} --out s", "s: File exists", given=link),
    Case(f"{FEW} --out s --overwrite", "s: File exists", given=link),
]


@each(LINKS)
def test_a_link_to_itself_is_refused(case, run):
    run(case)


JSON = [
    "compare --requests 1 --seeds 1 --policy fcfs --json",
    "compare --requests 2 --warmup 1 --seeds 1 --policy fcfs --json",
    "compare --requests 3 --clients 3 --think 0 --warmup 2 --seeds 1 --policy fcfs --json",
    "compare --requests 3 --seeds 1 --draft-policy off --json",
    "capacity --requests 1 --seeds 1 --json",
    "capacity --requests 3 --seeds 1 --json --constraint 'mean_latency_s<=1e-9'",
]


@pytest.mark.parametrize("command", JSON)
def test_json_is_valid_and_holds_no_nan(command, run):
    stdout, _ = run(Case(command, code=DONE))
    assert json.loads(stdout, parse_constant=pytest.fail)


# files of other programs
ROWS = ("2023-11-16 18:15:46.5,1,2", "2023-11-16 18:15:47.5,1,2")


def azure(
    name: str, says: str, *rows: str, header: str = "TIMESTAMP,ContextTokens,GeneratedTokens"
):
    """A case with a CSV file of Azure."""

    def given(folder: Path) -> None:
        (folder / "a.csv").write_text("\n".join((header, *rows)) + "\n")

    given.__name__ = name
    return Case("import azure a.csv -o x.parquet", says, 2 if says else DONE, given)


TWICE = "TIMESTAMP,ContextTokens,GeneratedTokens,ContextTokens"
AZURE = [
    azure("one instant", "at one instant", ROWS[0], ROWS[0]),
    azure("one row", "at one instant", ROWS[0]),
    azure("falling", "", *ROWS[::-1]),
    azure("a blank line", "line 4: needs TIMESTAMP", ROWS[0], "", "x,1,2"),
    azure("a field more", "line 2: has more than 3 fields", f"{ROWS[0]},9", ROWS[1]),
    azure("a column twice", "'ContextTokens' occurs twice", *ROWS, header=TWICE),
    azure("a space", "line 2: needs TIMESTAMP", "2023-11-16 18:15:46.5, 1,2", ROWS[1]),
    azure("an exponent", "'1e2' is not a whole number", "2023-11-16 18:15:46.5,1e2,2", ROWS[1]),
    azure("no leap year", "day is out of range", "2023-02-29 18:15:46,1,2", ROWS[1]),
    azure("a time zone", "line 2: needs TIMESTAMP", "2023-11-16T18:15:46+05:00,1,2", ROWS[1]),
]


@each(AZURE)
def test_rows_that_could_be_read_differently_are_refused(case, run):
    run(case)


# the Python interface
POLICY = "policies: needs objects of Policy"
CALLS = [
    (lambda: lapsd.compare(policies="fcfs"), POLICY),
    (lambda: lapsd.compare(policies=["fcfs"]), POLICY),
    (lambda: lapsd.compare(policies=[FCFS]), POLICY),
    (lambda: lapsd.compare(policies=pd.Series(["fcfs"])), POLICY),
    (lambda: lapsd.compare(policies=[]), "no policies"),
    (lambda: lapsd.compare(policies=[FCFS(), FCFS()]), "policy fcfs is given twice"),
    *(
        (lambda value=value: lapsd.compare(seeds=value), "seeds=.*: needs an integer")
        for value in ("1", 1.0, True, None, [0, 1])
    ),
    *(
        (lambda value=value: lapsd.compare(requests=value), "requests=.*: needs an integer")
        for value in ("3", 3.0, True, None, np.array([3]), Decimal(3), pd.NA)
    ),
    (lambda: lapsd.sweep("s", [FCFS()]), "policies: needs a spec or a list of specs"),
    (lambda: lapsd.sweep("s", []), "no policy is given"),
    (lambda: lapsd.sweep("s", ["fcfs"], workers=0), "workers=0: must be at least 1"),
    (lambda: lapsd.read_sweep("nosuch"), "nosuch holds no sweep"),
    (lambda: load_trace("reference").take([True] * 600), "rows: needs a list of whole numbers"),
    (lambda: load_trace("reference").take(3), "rows: needs a list of whole numbers"),
    (lambda: load_trace("reference").take([1.5]), "rows: needs a list of whole numbers"),
    (lambda: lapsd.Capacity(batch=1.5), "batch=1.5: must be a whole number"),
    (lambda: lapsd.Capacity(token_budget="2"), "token_budget='2': must be a whole number"),
]


@pytest.mark.parametrize(("call", "says"), CALLS)
def test_arguments_of_other_types_are_refused(call, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=says):
        call()
    assert not list(tmp_path.iterdir())


def test_one_policy_or_spec_is_a_list_of_one(tmp_path):
    assert lapsd.compare(policies=FCFS(), requests=2, seeds=np.int64(1)).policies == ["fcfs"]
    made = lapsd.sweep(tmp_path / "s", "fcfs", requests=2, seeds=np.int64(1), workers=1)
    assert made["policy"].tolist() == ["fcfs"]
