"""The pages of the site: their order, their links to other sites, and the generated reference.

`make docs` builds the site; there, a broken link, anchor or name is an error.
"""

import doctest
import inspect
import re
import sys
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import matplotlib
import pytest

from lapsd.cli import VERBS
from lapsd.sim.experiment.metrics import METRICS, Metric, Percentile, Ratio

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import page_order  # noqa: E402
import public_api  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def test_the_page_on_commands_lists_every_verb():
    page = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `lapsd (\w+)`", page, re.MULTILINE)) == sorted(VERBS)


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_links_to_other_sites_are_written_correctly(path):
    # no test reads the other sites: tests need no network
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(<?(https?:[^)\s>]*)", text):
        parts = urlsplit(link)
        assert parts.scheme == "https", link
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), link
        assert not re.search(r"[\"<>{}|\\^`]|\.$|,$", parts.path + parts.query), link
    assert not re.search(r"\]\(\s|\]\([^)]*\n", text), "a link with a space or a line break"


def test_the_page_on_python_lists_the_public_names_of_every_package():
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(lapsd\.[\w.]+)` \| (.*) \|$", page, re.MULTILINE))
    for package, names in public_api.packages().items():
        if package != "lapsd":
            assert re.findall(r"`(\w+)`", rows.pop(package)) == names
    assert set(rows) == public_api.NEEDS_VLLM


def test_the_page_on_metrics_describes_every_metric():
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w*) ?\| (.+) \| ([\w ]+) \|$", page, re.MULTILINE)
    described = [(name, unit, over_seeds) for name, unit, _, over_seeds in rows]
    assert described == [(m.name, m.unit, over_seeds_in_words(m)) for m in METRICS]
    for (_, _, formula, _), metric in zip(rows, METRICS, strict=True):
        if isinstance(rule := metric.over_seeds, Ratio):
            assert formula == f"`{rule.numerator}` / `{rule.denominator}`"
        if isinstance(rule, Percentile):
            assert formula.startswith(f"{rule.percent:g}th percentile")


def over_seeds_in_words(metric: Metric) -> str:
    if isinstance(metric.over_seeds, Ratio):
        return "ratio of means"
    if isinstance(metric.over_seeds, Percentile):
        return "percentile of all requests"
    return metric.over_seeds


def test_every_page_has_its_place_in_the_site_once():
    lists = [*page_order.CAPTIONS.values(), *page_order.APPENDICES.values()]
    placed = [page for pages in lists for page in pages if "*" not in page]
    assert len(placed) == len(set(placed))
    assert [page for page in placed if not (ROOT / f"{page}.md").exists()] == []
    pages = {str(path.relative_to(ROOT).with_suffix("")) for path in PAGES}
    assert pages - set(placed) == {"README", "docs/index"}


def test_public_names_are_read_from_every_package():
    names = public_api.public_names()
    assert len({name.path for name in names}) == len(names) > 200
    compared = next(name for name in names if name.path == "lapsd.compare")
    assert compared.also == ("lapsd.sim.experiment",)
    assert compared.kind == "function"


NEEDS = {"lapsd.calibrate": "torch", "lapsd.predict": "sklearn"}
NEEDS |= {"lapsd.profile_from_tables": "aiconfigurator_core", "ModelEncoder": "torch"}


@pytest.mark.parametrize("name", public_api.public_names(), ids=lambda name: name.path)
def test_the_example_of_a_public_name_gives_the_documented_output(name, tmp_path, monkeypatch):
    for part, library in NEEDS.items():
        if part in name.path:
            pytest.importorskip(library)
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    parser = doctest.DocTestParser()
    example = parser.get_doctest(name.document, {"__name__": "__main__"}, name.path, name.path, 0)
    assert example.examples, "no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    with warnings.catch_warnings():
        done = runner.run(example)
    assert done.failed == 0


def test_every_parameter_of_a_public_function_is_described():
    for name in public_api.public_names():
        if name.kind == "function":
            described = re.findall(r"^([\w, *]+) : \S", name.document, re.MULTILINE)
            words = set(re.findall(r"\w+", " ".join(described)))
            assert set(inspect.signature(name.value).parameters) <= words, name.path
