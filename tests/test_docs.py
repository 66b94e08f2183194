"""Every command and every block of code in README and docs runs, in the order of its page.

`SMALLER` shrinks long runs. `NOT_OURS` lists the commands that are not run here, with the reason.
"""

import doctest
import json
import re
import shlex
import shutil
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import matplotlib
import pytest

import lapsd
from lapsd import cli
from lapsd.calibrate import record
from lapsd.papers.beyond.paper import BEYOND
from lapsd.papers.draft_length import published
from lapsd.papers.draft_length.paper import DRAFT_LENGTH
from lapsd.papers.laps_sd.paper import LAPS_SD
from lapsd.papers.laps_sd.questions import interpretations
from lapsd.papers.papers import PAPERS
from lapsd.papers.routing import elsewhere, fixed, lengths
from lapsd.papers.routing.paper import ROUTING
from lapsd.serve.own import probe
from lapsd.sim.experiment.metrics import METRICS
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS
from lapsd.sim.sweeps import Sweep, sweep
from lapsd.traces import load_trace, save_trace
from lapsd.traces.errors import run_command
from lapsd.traces.files import BUNDLED
from tests.compilation import too_slow_in_python
from tests.papers.test_reproduce import TINY

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    *(
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if path.name != "claims.md"
    ),
]
DOCTESTS = {"docs/guides/own-policy.md"}
NOT_OURS = {
    "make demo": (
        "installs, and calibrates for minutes; its parts run in the tests of calibrate and compare"
    ),
    "make test": "runs this",
    "lapsd bench": "test_bench.py runs it",
    "make vllm": "installs, and runs tests/serve/vllm",
    "lapsd calibrate --engine vllm": "needs vLLM; tests/serve/vllm/test_calibration.py runs it",
    "lapsd validate --engine vllm": "needs vLLM; tests/serve/vllm/test_validation.py runs it",
    "vllm serve": "tests/serve/vllm serves; its options are parsed there",
    "make gpu-check": "test_benchmarks.py runs its sections on a CPU",
    "PYTHONPATH=build/links python3 benchmarks/gpu_check.py": "the same",
    "python benchmarks/tables_against_measurements.py": (
        "test_tables_against_measurements.py runs it"
    ),
    "pip install": "test_wheel.py installs",
    "dask": "test_cluster.py runs a scheduler and workers",
}
CALIBRATED = "--quick --batches 1 --device cpu --max-new-tokens 16 --requests"
WRITES = ("--out", "--plot", "--html", "--gantt", "--timeline", "-o", ">", "--resume")
SHRUNK = ("--requests", "--seeds", "--batches", "--device", "--max-new-tokens", "--workers")
SMALLER = (
    ("--load 0.9 --requests 240", "--load 0.9 --requests 20 --seeds 2"),
    ("(?m)--batch 16 --load 0.9$", "--batch 2 --load 0.9 --requests 20 --seeds 2"),
    ("--batch 32 --load 1 --seeds 5", "--batch 2 --load 1 --requests 20 --seeds 2"),
    ("--requests 120 ", "--requests 20 "),
    ("--seeds 40", "--seeds 4"),
    ("--seeds 1000", "--seeds 4"),
    ("--requests 100000", "--requests 1000"),
    ("--requests 10000 ", "--requests 1000 "),
    ("--requests 200", f"{CALIBRATED} 24"),
    ("llama-7b[+]llama-68m", "tiny-target+tiny-draft --quick --batches 1 --device cpu"),
    ("seeds=1000", "seeds=4"),
    (r" --load 0.5 --load 0.8 --load 0.95", r" --load 0.8 --policy las"),
    (r" --policy lp-sjf --policy lp-srpt", ""),
    (r" --policy lp-srpt --policy laps-sd --policy kernel-gittins", " --policy kernel-gittins"),
    (r"(lapsd (?:sweep|reproduce)(?!.*--draw-only)[^\n#]*)", r"\1 --workers 1 "),  # in this process
    (r" --draft-policy fixed:most=[26]", ""),
    (r"goodput:most=6", "goodput:most=2"),
    (" --budget 420", ""),
    (" --policy lp-srpt --policy laps-sd --policy srpt --load 0.8", " --load 0.8"),
    ("lapsd validate --policy las --policy laps-sd", "lapsd validate"),
    (
        r"(lapsd validate[^\n#>]*)",
        r"\1 --quick --trace short.parquet --requests 2 --seeds 1 --device cpu ",
    ),
)


def smaller(text: str) -> str:
    """Return the text with small sizes."""
    for pattern, replacement in SMALLER:
        text = re.sub(pattern, replacement, text)
    return text


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the language and the text of every fenced block of a page."""
    return re.findall(
        r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def joined(block: str) -> str:
    """Return a block in which each command is one line."""
    return block.replace("\\\n", " ")


def commands(block: str) -> list[list[str]]:
    """Return the words of each shell command of a block, without comments."""
    lines = smaller(joined(block)).splitlines()
    return [once(words) for line in lines if (words := shlex.split(line, comments=True))]


def again(page: str) -> list[str]:
    """Return the commands of a page that write no file and that an earlier page runs as well."""
    lines: dict[str, list[str]] = {
        one: [
            shlex.join(words)
            for language, text in blocks(one)
            if language == "sh"
            for words in commands(text)
            if not set(WRITES) & set(words)
        ]
        for one in PAGES[: PAGES.index(page) + 1]
    }
    own = lines.pop(page)
    return [line for line in own if any(line in others for others in lines.values())]


def once(words: list[str]) -> list[str]:
    """Return the words of a command without options that `SMALLER` gives again."""
    kept: list[str] = []
    for at, word in enumerate(words):
        given_again = word in words[at + 1 :] and word in ("--quick", *SHRUNK)
        is_value = at > 0 and words[at - 1] in SHRUNK and words[at - 1] in words[at:]
        if not (given_again or is_value):
            kept.append(word)
    return kept


def test_pages_have_blocks_of_known_languages():
    assert (
        sum(language in ("sh", "python", "toml") for page in PAGES for language, _ in blocks(page))
        > 20
    )
    assert {language for page in PAGES for language, _ in blocks(page)} <= {
        "sh",
        "python",
        "toml",
        "",
        "text",
        "json",
    }


def test_the_page_on_sweeps_names_every_setting_and_every_column():
    page = (ROOT / "docs" / "guides" / "sweeps.md").read_text(encoding="utf-8")
    for name in [
        *(scenario_field.option.removeprefix("--") for scenario_field in SCENARIO_FIELDS.values()),
        *(metric.name for metric in METRICS),
    ]:
        assert f"`{name}`" in page or f"`{name} " in page, name


def test_the_page_on_python_lists_every_public_name():
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    assert [name for name in lapsd.__all__ if f"`{name}`" not in page] == []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that the pages assume, and reproductions of few questions."""
    data = ROOT / "calibrate" / "reference" / "data"
    (tmp_path / "my-7b").symlink_to(data / "target")
    (tmp_path / "my-68m").symlink_to(data / "draft")
    texts = [f"def f{i}(x):\n    return x + {i}\n\ndef " for i in range(24)]
    lines = [
        json.dumps({"prompt": text, "question": text, "group": i}) for i, text in enumerate(texts)
    ]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    times = [f"2023-11-16 18:15:{s:02}.0,{10 + s},{20 + 5 * s}" for s in range(50)]
    csv = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(times)
    (tmp_path / "AzureLLMInferenceTrace_conv.csv").write_text(csv, encoding="utf-8")
    chats = [
        {
            "timestamp": 3_000 * k,
            "input_length": 600 + 512 * (k % 3),
            "output_length": 5 + k,
            "hash_ids": [*range(1 + k % 3), 100 + k],
        }
        for k in range(40)
    ]
    (tmp_path / "mooncake_trace.jsonl").write_text("\n".join(map(json.dumps, chats)))
    answers = [
        {
            "instruction": f"Tell {'all' * (i % 2)} of {'abc'[i % 3]} and {i}",
            "output": "so " * (5 + i % 7 * 9),
        }
        for i in range(40)
    ]
    answers = [
        a | {"instruction": a["instruction"] + " x" * (i % 13)} for i, a in enumerate(answers)
    ]
    (tmp_path / "model_outputs.json").write_text(json.dumps(answers), encoding="utf-8")
    reference = load_trace("reference")
    capped = reference.provenance.noting(max_new_tokens=64)
    save_trace(replace(reference, provenance=capped), tmp_path / "short.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(record, "_longest", lambda pair: 256)  # tokens of the longest timed context
    monkeypatch.setattr(probe, "LEAST", 20)
    few = (interpretations.QUESTION,)  # one sweep and one figure
    monkeypatch.setitem(PAPERS, "laps-sd", replace(LAPS_SD, quick=TINY, full=TINY, questions=few))
    two = replace(TINY, queues=2)
    monkeypatch.setitem(
        PAPERS, "beyond", replace(BEYOND, quick=two, full=two, questions=BEYOND.questions[-1:])
    )
    monkeypatch.setattr(published, "CONCURRENCY", (1, 4))
    last = replace(DRAFT_LENGTH, quick=two, full=two, questions=(published.BY_CONCURRENCY,))
    monkeypatch.setitem(PAPERS, "draft-length", last)
    for module, name, few in ((elsewhere, "SERVERS", 2), (fixed, "EACH", 8), (fixed, "WARMUP", 2)):
        monkeypatch.setattr(module, name, few)
    monkeypatch.setattr(lengths, "REQUESTS", 60)
    high = replace(two, loads=(0.9,))
    last = replace(ROUTING, quick=high, full=high, questions=ROUTING.questions[-1:])
    monkeypatch.setitem(PAPERS, "routing", last)


@pytest.fixture
def clusters(monkeypatch):
    """Replace clusters of other kinds by a local one: the commands run, their clusters do not."""
    distributed = pytest.importorskip("distributed")
    local = distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        dashboard_address=None,
        worker_dashboard_address=None,
        host="127.0.0.1",
    )

    def some_cluster(**how):
        assert how
        return SimpleNamespace(scale=lambda jobs: None)

    for module, name in (
        ("dask_jobqueue", "SLURMCluster"),
        ("dask_kubernetes.operator", "KubeCluster"),
    ):
        stand_in = ModuleType(module)
        setattr(stand_in, name, some_cluster)
        monkeypatch.setitem(sys.modules, module, stand_in)
    client, made = distributed.Client, []
    monkeypatch.setattr(
        distributed, "Client", lambda address: made.append(client(local)) or made[-1]
    )
    yield
    for one in made:
        one.close()
    local.close()


def run_shell(block: str, capsys, but: list[str]) -> None:
    """Run the commands of a block, but those that ran before; remember the ones that ran."""
    for words in commands(block):
        line = shlex.join(words)
        if line in but or any(line.startswith(other) for other in NOT_OURS):
            continue
        assert words[0] == "lapsd", f"{line}: what runs this?"
        if not set(WRITES) & set(words):
            but.append(line)
        *arguments, into = (
            [*words[1:], None] if ">" not in words else [*words[1 : words.index(">")], words[-1]]
        )
        code = run_command(
            "lapsd", lambda arguments=arguments: cli.app(arguments, standalone_mode=False)
        )
        out, error = capsys.readouterr()
        assert code == 0, f"{line}\n{error}"
        if into:
            Path(into).write_text(out, encoding="utf-8")
            json.loads(out)


@too_slow_in_python
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in DOCTESTS])
def test_a_page_runs_from_top_to_bottom(page, capsys, request):
    if page in (
        "docs/results/laps-sd.md",
        "docs/results/kernel-gittins.md",
    ):  # where other pages calibrate
        Path("mine").mkdir()
        for ending in ("parquet", "json"):
            name = "trace" if ending == "parquet" else "profile"
            shutil.copy(BUNDLED / f"reference.{ending}", f"mine/{name}.{ending}")
    if page == "docs/guides/clusters.md":
        request.getfixturevalue("clusters")
    if page == "docs/guides/gpu-costs.md":
        pytest.importorskip("aiconfigurator_core", reason="its commands need the extra gpu-tables")
    matplotlib.use("Agg")
    but = again(page)
    names: dict[str, object] = {"__name__": "__main__"}
    for number, (language, text) in enumerate(blocks(page)):
        if language == "sh":
            run_shell(text, capsys, but)
        elif language == "python" and "from vllm " not in text:  # tests/serve/vllm has those
            if file := re.match(r"# (\w+\.py)\n", text):  # the text of a file
                Path(file[1]).write_text(text, encoding="utf-8")
            exec(smaller(text), names)
        elif language == "toml":
            asked = Sweep.from_document(tomllib.loads(text)).document() | {"seeds": 1}
            records = sweep(
                f"toml-{number}",
                asked["policies"],
                asked["parameters"],
                seeds=1,
                **asked["settings"],
            )
            assert len(records)


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_a_page_shows_what_its_comparisons_print(page, lapsd):
    """A block of text below a comparison holds lines of its output, as it is without `SMALLER`."""
    printed: list[str] = []
    shown = 0
    for language, text in blocks(page):
        if language == "sh":
            lines = [shlex.split(line, comments=True) for line in joined(text).splitlines()]
            compared = [words for words in lines if words[:2] == ["lapsd", "compare"]]
            if len(compared) == 1 and "--plot" not in compared[0]:
                printed = lapsd(*compared[0][1:])[1].splitlines()
        elif language == "text":
            shown += 1
            for line in text.splitlines():
                assert line.rstrip() in [one.rstrip() for one in printed], line
    assert shown >= 1


def test_the_first_screen_shows_the_gains_of_the_claims():
    claims = (ROOT / "docs" / "results" / "kernel-gittins" / "claims.md").read_text("utf-8")
    first = " ".join((ROOT / "README.md").read_text("utf-8").split()).split("## What it does")[0]
    rows = re.findall(r"^\| (\d+) \| (\w+) \| 0.9 \|(.*)\|$", claims, re.MULTILINE)
    gains = {(batch, memory): re.findall(r"−([\d.]+) % \[", row) for batch, memory, row in rows}
    for case, order in (
        (("1", "unlimited"), (1, 3)),
        (("8", "unlimited"), (1,)),
        (("16", "unlimited"), (1, 3)),
        (("16", "tight"), (1, 3)),
    ):
        for column in order:  # LP-SRPT, LAPS-SD, kernel-gittins, SRPT
            assert f"{gains[case][column]} %" in first, (case, column)


@pytest.mark.parametrize("page", sorted(DOCTESTS))
def test_doctests_of_a_page_pass(page):
    found = doctest.testfile(str(ROOT / page), module_relative=False)
    assert found.attempted >= 10
    assert found.failed == 0
