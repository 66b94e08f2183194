"""The scripts under benchmarks/ run."""

import json
import os
import subprocess
import sys
from pathlib import Path

from traces import load_profile

ROOT = Path(__file__).parents[1]


def test_the_gpu_check_runs_every_section_anywhere_and_keeps_to_its_deadline(tmp_path):
    shapes = ["--shapes", "tiny-target+tiny-draft", "--device", "cpu", "--deadline", "45"]
    command = [sys.executable, "benchmarks/gpu_check.py", "--out", str(tmp_path), *shapes]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "check.json").read_text())
    assert found["exactness"]["graphs_equal_eager"]
    assert found["exactness"]["greedy_within_tolerance"]
    assert found["exactness"]["rollback_equals_fresh"]
    verify = found["floors"]["verify"]["128"]
    assert sum(verify["parts_ns"].values()) == min(verify["verify_ns_by_attention_splits"].values())
    assert found["side_by_side"]["assisted_over_ours"] > 0
    assert not any("failed" in section for section in found.values())
    profile = load_profile(tmp_path / "profile.json")
    assert profile.weights == "random"
    assert profile.round_cost(1)(4, 128) > 0
    assert len(list(tmp_path.iterdir())) <= 8
