"""Tests of `lapsd advise`."""

import json
from itertools import pairwise

import pytest

from lapsd.traces import load_trace
from lapsd.traces.files import BUNDLED

SMALL = ("advise", "--profile", "llama-7b-h200", "--batch", 4, "--requests", 10, "--seeds", 2)


def test_the_table_covers_every_batch_size_of_the_profile_once(lapsd):
    code, text, error = lapsd(*SMALL, "--json")
    assert (code, error) == (0, "")
    advised = json.loads(text)
    config = advised["speculative_config"]
    entries = config["num_speculative_tokens_per_batch_size"]
    assert entries[0][0] == 1
    assert entries[-1][1] == 256
    assert all(b[0] == a[1] + 1 for a, b in pairwise(entries))
    assert config["num_speculative_tokens"] == max(length for _, _, length in entries)
    assert [row["name"] for row in advised["policies"]] == ["off", "best fixed", "table", "gated"]
    assert advised["verdict"].startswith("Speculation pays at all batch sizes up to 256")


def test_the_printed_entries_are_those_of_the_file(lapsd, tmp_path):
    out = tmp_path / "advice.json"
    code, text, error = lapsd(*SMALL, "--out", out)
    assert (code, error) == (0, "")
    printed = "".join(text.splitlines(keepends=True)[:2]).strip()
    assert json.loads(f"{{{printed}}}") == json.loads(out.read_text(encoding="utf-8"))
    assert "Turn speculation off at no batch size up to 256." in text
    assert lapsd(*SMALL, "--out", out)[0] == 2


def test_by_default_the_batch_is_large_and_queues_form(lapsd):
    code, text, _ = lapsd("advise", "--profile", "llama-7b-h200", "--seeds", 1, "--json")
    assert code == 0
    advised = json.loads(text)
    assert (advised["batch"], advised["requests"]) == (64, 960)
    assert advised["policies"][0]["to_best_low"] is None


@pytest.mark.parametrize("name", ["trace", "profile"])
def test_an_input_is_never_written_over(lapsd, tmp_path, name):
    file = tmp_path / "in.json"
    file.write_bytes((BUNDLED / "llama-7b-h200.json").read_bytes())
    more = {"profile": ("--profile", file), "trace": ("--trace", file)}[name]
    code, _, error = lapsd(*SMALL[:1], *more, *SMALL[3:], "--out", file, "--overwrite")
    assert code == 2
    assert "is an input" in error


def test_the_models_make_the_profile(lapsd):
    pytest.importorskip("aiconfigurator_core")
    models = ("--target", "llama-7b", "--draft", "llama-68m", "--gpu", "h100_sxm")
    code, text, error = lapsd("advise", *models, *SMALL[3:], "--json")
    assert (code, error) == (0, "")
    assert json.loads(text)["speculative_config"]["num_speculative_tokens"] >= 1


def test_the_default_trace_can_be_replayed():
    assert load_trace("reference").accept_prob is not None
