"""vLLM as a process, played by a Python script where what is tested is the talk between the two."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lapsd.serve.plan import Plan, PlannedRequest
from lapsd.serve.record import Record
from lapsd.serve.vllm.process import VllmEngine, version_of

PLAN = Plan([PlannedRequest("r", "toy", 0, [1, 2], 3, 3)], target="a", draft="b")
RECORD = Record("vllm", "fcfs", [], [], 0, 5)


def python(folder: Path, answers: str, version: str = "0.32.0") -> Path:
    """A stand-in for an interpreter: it has a version, and serves plans as `answers` says."""
    script = folder / "python"
    script.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "if sys.argv[1] == '-c':\n"
        f"    print({version!r}) if {version!r} else sys.exit(1)\n"
        "    sys.exit()\n"
        "assert sys.argv[1:] == ['-m', 'lapsd.serve.vllm.runner']\n"
        f"RECORD = {RECORD.to_json()!r}\n"
        "for line in sys.stdin:\n"
        "    plan, record, *beside = line.rstrip('\\n').split('\\t')\n"
        f"    {answers}\n"
    )
    script.chmod(0o755)
    return script


def engine(folder: Path, answers: str) -> VllmEngine:
    return VllmEngine("a", "b", python(folder, answers))


def test_a_plan_goes_there_and_a_record_comes_back_over_one_process(tmp_path):
    seen = tmp_path / "seen"
    found = engine(
        tmp_path,
        f"open({str(seen)!r}, 'a').write(open(plan).read() + '\\n'); open(record,"
        " 'w').write(RECORD); print('loading weights', flush=True); print('done', flush=True)",
    )
    assert found.serve(PLAN) == RECORD
    assert found.serve(PLAN) == RECORD
    found.close()
    assert seen.read_text().splitlines() == [PLAN.to_json(), PLAN.to_json()]
    assert found.provenance.software == {"vllm": "0.32.0"}


def test_calibration_plans_go_with_it(tmp_path):
    seen = tmp_path / "seen"
    found = engine(
        tmp_path,
        f"open({str(seen)!r}, 'w').write(open(beside[1]).read()); open(record, 'w').write(RECORD); "
        "print('done', flush=True)",
    )
    other = replace(PLAN, batch=3)
    assert found.serve(PLAN, [PLAN, other]) == RECORD
    assert seen.read_text() == other.to_json()
    found.close()
    assert found.interleaves("busy", None)
    assert not found.interleaves("wall", None)
    assert not found.interleaves("busy", 100)


def test_the_reference_pair_is_sent_as_folders(tmp_path):
    seen = tmp_path / "seen"
    found = VllmEngine(
        "reference",
        "reference",
        python(
            tmp_path,
            f"open({str(seen)!r}, 'w').write(open(plan).read()); print('error\\tno', flush=True)",
        ),
    )
    with pytest.raises(ValueError, match="^no$"):
        found.serve(Plan(PLAN.requests))
    planned = Plan.from_json(seen.read_text())
    assert (Path(planned.target) / "config.json").exists()
    assert planned.draft != planned.target
    assert found.weights == "reference"
    found.close()


def test_a_process_that_ends_says_its_last_line(tmp_path):
    found = engine(tmp_path, "print('Traceback', file=sys.stderr); sys.exit('out of memory')")
    with pytest.raises(ValueError, match="ended with code 1: out of memory"):
        found.serve(PLAN)


@pytest.mark.parametrize(
    ("version", "complaint"),
    [("0.99.1", "has vLLM 0.99.1, which was not tried"), ("", "has no vLLM")],
)
def test_another_vllm_or_none_is_one_line(tmp_path, version, complaint):
    with pytest.raises(ValueError, match=complaint):
        VllmEngine("a", "b", python(tmp_path, "pass", version))


def test_no_such_python_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="there is no such Python"):
        version_of(tmp_path / "python")
