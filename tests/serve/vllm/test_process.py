"""The communication with the vLLM process, which a Python script replaces."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lapsd.serve.plan import Plan, PlannedRequest
from lapsd.serve.record import Record
from lapsd.serve.vllm.process import VllmEngine, version_of

PLAN = Plan([PlannedRequest("r", "toy", 0, [1, 2], 3, 3)], target="a", draft="b")
RECORD = Record("vllm", "fcfs", [], [], 0, 5)


def python(
    folder: Path, answers: str, version: str = "0.32.0", *, lapsd: bool = True, refusal: str = ""
) -> Path:
    """Return a script in place of an interpreter with vLLM.

    Parameters
    ----------
    answers : code that serves a plan.
    version : of vLLM; "": it is not installed.
    lapsd : whether lapsd is installed.
    refusal : message about a policy that it cannot import; "": it can.
    """
    script = folder / "python"
    script.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "if sys.argv[1] == '-c':\n"
        "    if 'parse_policy' in sys.argv[2]:\n"
        f"        sys.exit({refusal!r} or 0)\n"
        f"    if \"'lapsd'\" in sys.argv[2] and not {lapsd}:\n"
        "        sys.exit(1)\n"
        f"    print({version!r}) if {version!r} else sys.exit(1)\n"
        "    sys.exit()\n"
        "assert sys.argv[1:] == ['-m', 'lapsd.serve.vllm.runner']\n"
        f"RECORD = {RECORD.to_json()!r}\n"
        "for line in sys.stdin:\n"
        "    plan, record, *calibrations = line.rstrip('\\n').split('\\t')\n"
        f"    {answers}\n"
    )
    script.chmod(0o755)
    return script


def engine(folder: Path, answers: str) -> VllmEngine:
    return VllmEngine("a", "b", python(folder, answers))


def test_one_process_serves_several_plans(tmp_path):
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


def test_calibration_plans_are_sent_with_the_plan(tmp_path):
    seen = tmp_path / "seen"
    found = engine(
        tmp_path,
        f"open({str(seen)!r}, 'w').write(open(calibrations[1]).read());"
        " open(record, 'w').write(RECORD); print('done', flush=True)",
    )
    other = replace(PLAN, batch=3)
    assert found.serve(PLAN, [PLAN, other]) == RECORD
    assert seen.read_text() == other.to_json()
    found.close()
    assert found.interleaves("busy", None)
    assert not found.interleaves("wall", None)
    assert not found.interleaves("busy", 100)


def test_the_reference_models_are_sent_as_folders(tmp_path):
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
    sent = Plan.from_json(seen.read_text())
    assert (Path(sent.target) / "config.json").exists()
    assert sent.draft != sent.target
    assert found.weights == "reference"
    found.close()


def test_when_the_process_ends_its_last_line_is_reported(tmp_path):
    found = engine(tmp_path, "print('Traceback', file=sys.stderr); sys.exit('out of memory')")
    with pytest.raises(ValueError, match="ended with code 1: out of memory"):
        found.serve(PLAN)


@pytest.mark.parametrize(
    ("version", "complaint"),
    [("0.99.1", "has vLLM 0.99.1, which is untested"), ("", "does not have vLLM")],
)
def test_an_untested_or_missing_vllm_is_refused_in_one_line(tmp_path, version, complaint):
    with pytest.raises(ValueError, match=complaint):
        VllmEngine("a", "b", python(tmp_path, "pass", version))


def test_vllm_without_lapsd_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="has vLLM, but not lapsd: install this version"):
        VllmEngine("a", "b", python(tmp_path, "pass", lapsd=False))


def test_a_policy_that_the_process_cannot_import_is_refused_before_it_starts(tmp_path):
    own = ["fcfs", "mine.Mine:weight=2"]
    engine(tmp_path, "pass").check_policies(own)
    refusal = "policy mine.Mine: cannot import mine (No module named 'mine')"
    found = VllmEngine("a", "b", python(tmp_path, "pass", refusal=refusal))
    with pytest.raises(ValueError, match=r"python: policy mine\.Mine: cannot import mine"):
        found.check_policies(own)


def test_the_process_imports_policies_of_the_current_folder(tmp_path, monkeypatch):
    """With the real interpreter, which must not prefer files of the folder to installed modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    (tmp_path / "shortest_first.py").write_text(
        "from lapsd.policies import LPSJF\n\n\nclass Mine(LPSJF):\n    pass\n"
    )
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong module')\n")
    found = VllmEngine("a", "b", python(tmp_path, "pass"))
    found._python = Path(sys.executable)
    found.check_policies(["fcfs", "shortest_first.Mine"])
    with pytest.raises(ValueError, match=r"policy absent\.Mine: cannot import absent"):
        found.check_policies(["absent.Mine"])


def test_a_python_that_does_not_exist_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        version_of(tmp_path / "python")
