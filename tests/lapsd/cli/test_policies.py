"""The verb `policies`, and docs/policies.md, which says the same.

After a docstring changed, `python -m tests.lapsd.cli.test_policies` writes the page again.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lapsd.cli.policies import KINDS
from lapsd.policies.contract import Kind
from lapsd.policies.descriptions import description_of

PAGE = Path(__file__).parents[3] / "docs" / "policies.md"
TITLES = {"policy": "Policies", "draft policy": "Draft policies", "router": "Routers"}
ALL = [(title, kind) for title, kinds in KINDS.items() for kind in kinds.values()]


def section(title: str) -> str:
    """Return the part of the page about policies, draft policies or routers."""
    kinds = KINDS[title].values()
    table = [f"| {title} | what it does | when to use it |", "| --- | --- | --- |"]
    for one in map(description_of, kinds):
        mark = " †" if one.clairvoyant else ""
        table.append(f"| [`{one.name}`](#{one.name}){mark} | {one.summary} | {one.use} |")
    paragraphs = [paragraph(title, kind) for kind in kinds]
    return linked("\n".join([f"## {TITLES[title]}\n", *table, "", *paragraphs]))


def linked(text: str) -> str:
    """Return a text of the page with links in the place of paths."""
    return re.sub(r"docs/((?:results|reference)/([\w-]+)\.md)", r"[\2](\1)", text)


def paragraph(title: str, kind: Any) -> str:
    """Return the part of the page about one class."""
    one = description_of(kind)
    texts = [one.summary, one.details, one.use, f"Source: {one.source}"]
    lines = [f"### {one.name}\n", " ".join(text for text in texts if text)]
    base = kind.__mro__[1]
    known = description_of(base).parameters if base.name in KINDS[title] else ()
    lines += [""] * bool(one.parameters)
    if inherited := [f"`{p.name}={p.default}`" for p in one.parameters if p in known]:
        lines.append(f"* As in `{base.name}`: {', '.join(inherited)}.")
    new = [p for p in one.parameters if p not in known]
    return "\n".join([*lines, *(f"* `{p.name}={p.default}`: {p.meaning}" for p in new), ""])


def sections() -> str:
    """Return what the page says of all classes."""
    return "\n".join(map(section, KINDS))


@pytest.mark.parametrize(("title", "kind"), ALL, ids=[kind.name for _, kind in ALL])
def test_the_docstring_of_a_bundled_class_says_what_when_and_from_where(title, kind: Kind):
    one = description_of(kind)
    assert one.summary.endswith(".")
    assert one.use.endswith(".")
    assert one.source.endswith(".")
    assert "|" not in f"{one.summary}{one.use}"  # a cell of a table
    assert [p.name for p in one.parameters if not p.meaning] == []


def test_the_page_says_what_the_command_prints():
    """To write the page again, run `python -m tests.lapsd.cli.test_policies`."""
    assert PAGE.read_text(encoding="utf-8").endswith(f"\n{sections()}")


def test_the_command_prints_a_row_for_every_class(lapsd):
    code, out, _ = lapsd("policies")
    assert code == 0
    firsts = [line.split()[0] for line in out.splitlines() if line and line[0] != " "]
    for kinds in KINDS.values():
        assert [name for name in firsts if name in kinds] == list(kinds)


def test_a_name_gives_all_parameters_with_defaults(lapsd):
    code, out, _ = lapsd("policies", "laps-sd", "jsq", "ema")
    assert code == 0
    for text in ("K = 4", "sup_1_s = auto", "d = auto", "alpha = 0.2", "arXiv 2505.17074"):
        assert text in out


def test_own_classes_are_described_too(lapsd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("described.py").write_text(
        "from dataclasses import dataclass\n"
        "from lapsd.policies import Policy\n\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Policy):\n"
        '    """Shortest prompt first.\n\n'
        "    Parameters\n    ----------\n    weight : float\n        Factor on the prompt.\n"
        '    """\n\n'
        "    weight: float = 2.0\n\n"
        "    def rank(self, job, now_ns):\n"
        "        return (self.weight * job.prompt_tokens,)\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Silent(Policy):\n"
        "    def rank(self, job, now_ns):\n"
        "        return (job.index,)\n\n\n"
        "from lapsd.policies.routers import Router\n"
        "@dataclass(frozen=True)\n"
        "class First(Router):\n"
        "    def route(self, request, servers, now_ns):\n"
        "        return 0\n\n\n"
        "class Other: ...\n"
    )
    names = ("described.Mine", "described.Silent", "described.First")
    code, out, error = lapsd("policies", *names, "--json")
    assert code == 0, error
    mine, silent, first = json.loads(out)
    assert first["kind"] == "router"
    code, _, error = lapsd("policies", "described.Other")
    assert (code, error.count("\n")) == (2, 1)
    assert "is not a subclass of lapsd.policies.Policy or lapsd.policies.drafts.Dra" in error
    assert mine["summary"] == "Shortest prompt first."
    assert mine["parameters"] == [
        {"name": "weight", "default": "2", "meaning": "Factor on the prompt."}
    ]
    assert (silent["summary"], silent["use"], silent["parameters"]) == ("", "", [])


def test_an_unknown_name_is_refused_with_the_known_ones(lapsd):
    code, _, error = lapsd("policies", "sjf")
    assert (code, error.count("\n")) == (2, 1)
    assert "unknown name 'sjf': known are fcfs, " in error
    assert "weighted" in error


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8").partition("\n## ")[0]
    PAGE.write_text(f"{before}\n{sections()}", encoding="utf-8")
