"""A sixth round of attempts: models, classes, pickles, folders of other verbs, environments."""

import gzip
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lapsd
from lapsd.calibrate import load_pair
from lapsd.calibrate.models.loading import UnusedWeights
from lapsd.calibrate.reference import REFERENCE_TARGET
from lapsd.policies import parse_policy
from lapsd.predict import ModelEncoder
from lapsd.traces import load_trace
from lapsd.traces.errors import DONE
from lapsd.traces.files.trace_file import to_table
from tests.hostile import folders, test_fifth_round as routers, test_second_round_drafts as drafts
from tests.hostile.harness import Case, digests, each
from tests.hostile.test_policies import own

FEW = "compare --requests 3 --seeds 1 --policy fcfs --engine simpy"


# folders of other verbs
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize(
    "given", [folders.sweep, folders.comparison, folders.reproduction, folders.notes]
)
def test_a_calibration_leaves_the_folder_of_another_result_alone(
    given, overwrite, tmp_path, capsys
):
    given(tmp_path)
    before = digests(tmp_path)
    capsys.readouterr()
    words = ["calibrate", "--out", str(tmp_path / "s"), "--requests", "1", *overwrite]
    assert folders.lapsd(" ".join(words)) == 2
    assert "is not empty and holds no calibration" in capsys.readouterr().err
    assert digests(tmp_path) == before


# models whose files are not what their config.json says
def model(folder: Path, **changes: int) -> str:
    """Return a copy of the bundled target with changes in its config.json."""
    made = folder / "m"
    shutil.copytree(REFERENCE_TARGET, made)
    config = json.loads((made / "config.json").read_text()) | changes
    (made / "config.json").write_text(json.dumps(config))
    return str(made)


WEIGHTS = [
    ({"num_hidden_layers": 9}, "its files lack 9 weights .*, such as model.layers.8.input_layern"),
    ({"intermediate_size": 700}, r"proj.weight has the shape \(.*\), and its config.json says \("),
]


@pytest.mark.parametrize(("changes", "says"), WEIGHTS)
def test_a_model_without_all_its_weights_is_refused(changes, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        load_pair(model(tmp_path, **changes), "reference", device="cpu")


def test_weights_that_are_not_used_are_named(tmp_path):
    with pytest.warns(UnusedWeights, match=r"9 weights .* not used, .* model.layers.7.input_layer"):
        load_pair(model(tmp_path, num_hidden_layers=7), "reference", device="cpu")


def test_an_encoder_without_all_its_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="its files lack 9 weights .*, such as layers.8.input"):
        ModelEncoder(model(tmp_path, num_hidden_layers=9))


def test_truncated_weights_are_refused(tmp_path):
    file = Path(model(tmp_path)) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="its weights cannot be loaded"):
        load_pair(str(file.parent), "reference", device="cpu")


# parameters that copies and results would lose
INIT = "import dataclasses\n k: dataclasses.InitVar[int] = 1\n "
LOST = "k is an InitVar, which results and copies of a run would lose"
CLASSES = [
    own(INIT + "def __post_init__(self, k): pass", f"policy Own: {LOST}"),
    routers.own(INIT, f"router Own: {LOST}"),
    drafts.own(f"{INIT}{drafts.CHOOSE}1; {drafts.ONE}", f"draft policy Own: {LOST}"),
]


@each(CLASSES)
def test_a_parameter_that_is_no_field_is_refused(case, run):
    run(case)


# classes of other forms
LEFT = "max(0, job.predicted_tokens - job.tokens)"
FORMS = {
    "slots": f"slots=True)\nclass Own(Policy):\n k: int = 1\n RANK return ({LEFT} * self.k,)",
    "kw_only": f"kw_only=True)\nclass Own(Policy):\n k: int = 1\n RANK return ({LEFT} * self.k,)",
    "cached": f")\nclass Own(Policy):\n @cached_property\n def k(self): return 1\n"
    f" RANK return ({LEFT} * self.k,)",
    "match": f")\nclass Own(Policy):\n RANK\n  match (left := {LEFT}):\n   case 0: return (0,)\n"
    "   case _: return (left,)",
}
HEAD = """from dataclasses import dataclass
from functools import cached_property
from lapsd.policies import Policy
@dataclass(frozen=True,"""


def latencies(policy: str, engine: str) -> list[int]:
    """Return the completion times of a policy."""
    how = {"policies": parse_policy(policy), "requests": 8, "seeds": 2, "load": 1.2}
    return lapsd.compare(engine=engine, **how).requests["finish_ns"].tolist()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("engine", ["simpy", "auto"])
def test_a_class_of_another_form_is_the_same_policy(form, engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = HEAD + FORMS[form].replace("RANK", "def rank(self, job, now_ns):")
    (tmp_path / "mine.py").write_text(text)
    assert latencies("mine.Own", engine) == latencies("lp-srpt", "simpy")


LOAD = "import pickle, sys; made = pickle.load(open(sys.argv[1], 'rb')); pickle.dumps(made)\n"


def test_an_object_of_a_file_is_pickled_with_its_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = HEAD + FORMS["slots"].replace("RANK", "def rank(self, job, now_ns):")
    (tmp_path / "mine.py").write_text(text)
    made = parse_policy("mine.Own:k=3")
    with Path("made.pickle").open("wb") as file:
        pickle.dump(made, file)
    (tmp_path / "mine.py").unlink()
    assert pickle.loads(Path("made.pickle").read_bytes()) == made
    words = [sys.executable, "-c", f"{LOAD}print(made)", "../made.pickle"]
    (tmp_path / "other").mkdir()
    done = subprocess.run(words, cwd="other", capture_output=True, text=True, timeout=60)
    assert done.stdout == "Own(k=3)\n", done.stderr


# figures
def test_a_backend_that_matplotlib_does_not_know_stops_no_figure(tmp_path):
    words = [sys.executable, "-m", "lapsd", "show", "reference", "--plot", "a.png"]
    done = subprocess.run(
        words,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"MPLBACKEND": "nosuch"},
    )
    assert done.returncode == DONE, done.stderr
    assert (tmp_path / "a.png").is_file()


FIGURES = [
    Case(f"{FEW} --servers 3 --gantt a.svg", "servers=3: timelines (--timeline, --gantt) and"),
    Case(f"{FEW} --load 1e-6 --gantt a.svg --timeline a.json", code=DONE),
    Case(f"{FEW} --json --plot a.txt", "the file's ending must be one of"),
]


@each(FIGURES)
def test_a_figure_that_cannot_be_drawn_is_refused(case, run):
    run(case)


# files of other programs
ROWS = (
    "TIMESTAMP,ContextTokens,GeneratedTokens",
    "2023-11-16 18:15:46.5,1,2",
    "2023-11-16 18:15:47.5,3,4",
)
FORMS_OF_ROWS = {
    "mixed": "\r\n".join(ROWS[:2]).encode() + b"\n" + ROWS[2].encode(),
    "members": gzip.compress(f"{ROWS[0]}\n{ROWS[1]}\n".encode()) + gzip.compress(ROWS[2].encode()),
}


@pytest.mark.parametrize("form", FORMS_OF_ROWS)
def test_line_ends_and_members_of_other_kinds_are_read(form, run, tmp_path):
    name = "a.csv" if form == "mixed" else "a.csv.gz"
    (tmp_path / name).write_bytes(FORMS_OF_ROWS[form])
    run(Case(f"import azure {name} -o o.parquet", code=DONE))
    assert pq.read_table(tmp_path / "o.parquet")["prompt_tokens"].to_pylist() == [1, 3]


def encoded(folder: Path) -> None:
    """Put a trace with a dictionary of data sets into the folder."""
    table = to_table(load_trace("reference").take(range(4)))
    at = table.schema.get_field_index("dataset")
    column = pa.chunked_array([table["dataset"].combine_chunks().dictionary_encode()])
    pq.write_table(table.set_column(at, "dataset", column), folder / "t.parquet")


def test_a_column_of_categories_is_named_with_its_type(run):
    run(Case("show t.parquet", "field 'dataset': type dictionary<", given=encoded))
