"""`lapsd import aiconfigurator`: a profile of a GPU, a list, and bad input."""

import sys

import pytest

from lapsd.traces import load_profile, operator_tables

LIBRARY = "aiconfigurator_core"


@pytest.fixture
def library():
    pytest.importorskip(LIBRARY, reason="needs lapsd[gpu-tables]")


def imports(lapsd, *options, target="llama-7b"):
    return lapsd("import", "aiconfigurator", "--target", target, *options)


def test_a_profile_is_made_and_served_with(lapsd, library, tmp_path):
    out = tmp_path / "p.json"
    options = ("--gpu", "h200_sxm", "--draft", "llama-68m", "--max-batch", 8, "--max-context", 1024)
    code, text, _ = imports(lapsd, *options, "-o", out)
    assert code == 0
    assert "a pass over 1 token takes 4.39 ms" in text
    assert "as 8 query heads, 8 KV heads of size 128, 4 times per request" in text
    assert load_profile(out).operator_tables.gpu == "h200_sxm"
    served = ("--profile", out, "--policy", "fcfs", "--seeds", 2, "--requests", 5, "--batch", 4)
    code, text, _ = lapsd("compare", *served)
    assert code == 0
    assert "operator tables, host time 0 µs per round" in " ".join(text.split())
    assert "KV tokens" in text  # the profile's capacity

    code, _, error = imports(lapsd, *options, "-o", out)
    assert (code, "exists already" in error) == (2, True)


def test_the_list_has_gpus_engines_and_names(lapsd, library):
    code, text, _ = lapsd("import", "aiconfigurator", "--list")
    assert code == 0
    assert "h100_sxm" in text
    assert "vllm" in text
    assert "  Qwen/Qwen3-8B\n" in text
    assert "  llama-68m\n" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--target and --out: both are needed"),
        (("-o", "p.txt"), "the file's ending must be .json"),
        (("-o", "nowhere/p.json"), "there is no folder nowhere"),
        (("-o", "p.json", "--tp", 0), "tp=0: must be between 1 and 64"),
        (("-o", "p.json", "--max-batch", 300), "max_batch=300: must be between 1 and 256"),
        (("-o", "p.json", "--max-context", 8), "max_context=8: must be between 256 and 131072"),
        (("-o", "p.json", "--link-gb-s", 0), "link_gb_s=0: must be between 0.001"),
        (("-o", "p.json", "--host-us", -1), "host_us=-1: must be between 0 and 1000000"),
    ],
)
def test_the_error_for_a_wrong_option_is_one_line(lapsd, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    code, _, error = imports(lapsd, *options)
    assert code == 2
    assert message in error
    assert error.strip().count("\n") == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ((3, 11), "needs the package aiconfigurator-core: pip install 'lapsd[gpu-tables]'"),
        ((3, 14), "which exists for Python 3.11 to 3.13 only"),
    ],
)
def test_a_missing_library_is_one_line(lapsd, tmp_path, monkeypatch, version, message):
    monkeypatch.setitem(sys.modules, LIBRARY, None)
    monkeypatch.setattr(operator_tables.library, "PYTHON", version)
    code, _, error = imports(lapsd, "-o", tmp_path / "p.json")
    assert code == 2
    assert message in error
    code, _, error = lapsd("import", "aiconfigurator", "--list")
    assert (code, message in error) == (2, True)
