"""The pages of the site: their order, their links to other sites, and the generated reference.

`make docs` builds the site; there, a broken link, anchor or name is an error.
"""

import doctest
import re
import sys
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import matplotlib
import pytest

from lapsd.cli import VERBS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

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
