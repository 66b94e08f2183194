"""The messages on docs/faq.md are those of the program."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "faq.md"
CASES = {
    "trace nowhere": "compare --trace nowhere.parquet",
    "unknown policy": "compare --policy sjf",
    "policy mine.Nope": "compare --policy mine.Nope",
    "--versus mine.Mine": "compare --policy fcfs --versus mine.Mine",
    "load=0.0": "compare --load 0",
    "batch size 300": "compare --batch 300 --policy fcfs --seeds 2",
    "kv_slots=2": "compare --kv-slots 2 --batch 8",
    "kv_tokens 100": "compare --requests 1000 --batch 4 --kv-tokens 100 --evict recompute",
    "draft tokens 4": "compare --profile opt-13b-a100",
    "length predictor": "compare --length-predictor learned --trace azure-conversations",
    "draft policy": "compare --draft-policy survival:confidence=true",
    "prefix_cache": "compare --prefix-cache",
    "--plot x.gif": "compare --plot x.gif",
    "there holds": "compare --out there --seeds 1 --policy fcfs",
    "--engine compiled": "compare --engine compiled --timeline x.json",
}


def messages() -> list[str]:
    """Return the messages in the first column of the table."""
    text = PAGE.read_text(encoding="utf-8").split("## Messages")[1].split("\n## ")[0]
    return [one.strip() for one in re.findall(r"^\| `([^`]*)`", text, re.MULTILINE)]


def test_every_message_of_the_page_has_a_case():
    assert [next(k for k in CASES if one.startswith(k)) for one in messages()] == list(CASES)


@pytest.mark.parametrize("start", CASES)
def test_the_program_prints_the_message(start, lapsd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if start == "there holds":
        assert lapsd(*CASES[start].split())[0] == 0
    code, _, error = lapsd(*CASES[start].split())
    (expected,) = (one for one in messages() if one.startswith(start))
    assert code == 2
    # a first run says before that it compiles
    assert error.splitlines()[-1].startswith(f"lapsd: {expected}")
