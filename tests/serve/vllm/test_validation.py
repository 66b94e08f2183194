"""`lapsd validate --engine vllm` from end to end."""

import json
import sys

import pytest

from lapsd.cli import validate_live

OPTIONS = (
    "--engine",
    "vllm",
    "--vllm-python",
    sys.executable,
    "--quick",
    "--requests",
    "3",
    "--seeds",
    "1",
)


def test_policies_are_served_and_predicted(tmp_path, capsys):
    pytest.importorskip("vllm", reason="make vllm installs it")
    out = tmp_path / "out"
    own = "tests.serve.vllm.mine.LastComeFirstServed:weight=2"  # in the current folder
    given = ["--policy", "laps-sd", "--policy", "srpt", "--policy", own, "--batch", "2"]
    given += ["--out", str(out)]
    assert validate_live.main([*OPTIONS, *given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["policy"]: row for row in found["errors"]}
    assert list(rows) == ["fcfs", "laps-sd", "srpt", own]
    assert all(
        row["requests"] == 3 and row["mean_s"] > 0 and row["predicted_mean_s"] > 0
        for row in rows.values()
    )
    assert all(
        row["exact_decisions"] is None for row in rows.values()
    )  # live runs of vLLM are not replayed
    assert (out / "_runs" / "load-0.8-seed-0.json.gz").exists()
    assert validate_live.main([*OPTIONS, *given, "--resume"]) == 0  # from the existing runs
    assert "vLLM with reference + reference" in capsys.readouterr().out
