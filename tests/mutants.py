"""Can the tests fail? A seeded sample of mutants of what schedules are made of, each held to the tests of it.

    make mutants [MUTANTS=200] [SEED=0]

cosmic-ray mutates a copy of the checkout: policies, engine, pricing and statistics. Prints every survivor with its
diff, then how many were killed. 200 take hours: each is a run of the tests below until the first that fails.
"""

import argparse
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MUTATED = ("policies", "sim/engine", "traces/pricing.py", "sim/experiment/statistics.py", "sim/experiment/bound.py")
KILLERS = (
    "tests/policies", "tests/traces/test_pricing.py", "tests/sim/experiment/test_statistics.py",
    "tests/sim/test_bound.py", "tests/sim/test_timeline.py", "tests/sim/test_memory.py", "tests/sim/test_server.py",
    "tests/sim/test_second_implementation.py", "tests/sim/test_law.py", "tests/sim/test_theory.py",
)  # fmt: skip
SECONDS = 300  # a mutant that takes longer runs for ever: killed


def copy_of_checkout(folder: Path) -> None:
    """Everything that git knows of, as it is now."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def is_worth_it(job: Any) -> bool:
    """Not `is` for `==`, the same for small integers, nor what makes an annotation `X | None` fail at import."""
    name = job.mutations[0].operator_name
    return not name.endswith(("_Is", "_IsNot")) and "_BitOr_" not in name


def main() -> None:
    """Sample, run, report; exit code 1 if fewer than 95 % were killed."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_of_checkout(folder)
        pytest = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {' '.join(KILLERS)}"
        paths = ", ".join(f'"{path}"' for path in MUTATED)
        (folder / "mutants.toml").write_text(
            f"[cosmic-ray]\nmodule-path = [{paths}]\ntimeout = {SECONDS}\nexcluded-modules = []\n"
            f'test-command = "{pytest}"\n[cosmic-ray.distributor]\nname = "local"\n',
            encoding="utf-8",
        )
        cosmic_ray = [sys.executable, "-m", "cosmic_ray.cli"]
        subprocess.run([*cosmic_ray, "init", "mutants.toml", "session.sqlite"], cwd=folder, check=True)
        with use_db(str(folder / "session.sqlite"), WorkDB.Mode.open) as session:
            # in the order of places, so that a seed means the same mutants everywhere
            every = list(session.work_items)
            jobs = sorted((job for job in every if is_worth_it(job)), key=lambda job: str(job.mutations))
            sample = random.Random(arguments.seed).sample(jobs, min(len(jobs), arguments.mutants))
            chosen = {job.job_id for job in sample}
            skipped = WorkResult(WorkerOutcome.SKIPPED)
            session.set_multiple_results([job.job_id for job in every if job.job_id not in chosen], skipped)
        if subprocess.run(shlex.split(pytest), cwd=folder, stdout=subprocess.DEVNULL, check=False).returncode:
            sys.exit("the tests fail as it is: they would kill every mutant")
        print(f"{len(chosen)} of {len(jobs)} mutants", flush=True)
        subprocess.run([*cosmic_ray, "exec", "mutants.toml", "session.sqlite"], cwd=folder, check=True)
        with use_db(str(folder / "session.sqlite"), WorkDB.Mode.open) as session:
            results = [result for job, result in session.results if job in chosen]
    survivors = [result for result in results if result.test_outcome is TestOutcome.SURVIVED]
    for result in survivors:
        print(result.diff, "\n")
    killed = len(results) - len(survivors)
    print(f"{killed} of {len(results)} killed")
    sys.exit(killed < 0.95 * len(results))


if __name__ == "__main__":
    main()
