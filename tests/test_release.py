"""The version, the requirements and the citation say the same in every file."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
VERSION = SETUP["metadata"]["version"]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_of_setup_cfg_is_that_of_the_citation_and_of_the_newest_changes():
    assert yaml.safe_load(text("CITATION.cff"))["version"] == VERSION
    assert re.search(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE).group(1) == VERSION


def test_pages_name_no_other_version_of_lapsd():
    pages = [
        p for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if p.name != "claims.md"
    ]
    named = {
        (page.name, version)
        for page in pages
        for version in re.findall(r"\blapsd(?:==|:|-)(\d+\.\d+\.\d+)", page.read_text("utf-8"))
    }
    assert {version for _, version in named} <= {VERSION}, named


def test_the_oldest_requirements_are_the_lower_bounds_of_setup_cfg():
    bounds = dict(line.split(">=") for line in SETUP["options"]["install_requires"].split())
    pinned = dict(
        line.split("==") for line in text("constraints-min.txt").splitlines() if line[0] != "#"
    )
    assert set(bounds) == set(pinned)
    wrong = [n for n in bounds if f"{pinned[n]}.".removeprefix(f"{bounds[n]}.") == f"{pinned[n]}."]
    assert wrong == []


def test_the_changes_of_a_version_can_be_read_in_two_minutes():
    newest = text("CHANGELOG.md").split("\n## ")[1]
    assert len(newest.split()) <= 480  # at 240 words per minute


@pytest.mark.parametrize("key", ["cff-version", "message", "title", "authors", "type", "license"])
def test_the_citation_has_what_its_format_requires(key):
    assert yaml.safe_load(text("CITATION.cff"))[key]


def test_the_demo_ends_with_files_and_commands_that_exist(tmp_path, monkeypatch, lapsd):
    recipe = text("Makefile").split("\ndemo: ")[1].split("\n\n")[0]
    last = recipe.split("Done. ")[1]
    assert [page for page in re.findall(r"docs/\S+\.md", last) if not (ROOT / page).exists()] == []
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"\$\(BIN\)/lapsd (.+)'", last)
    assert commands
    for command in commands:
        code, out, _ = lapsd(*command.split(), "--seeds", "2", "--requests", "5")
        assert code == 0, command
        assert "laps-sd" in out
