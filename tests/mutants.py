"""Can the tests fail?

A seeded sample of mutants of what schedules are made of, each held to the tests of it.

    make mutants [MUTANTS=200] [SEED=0]

cosmic-ray mutates copies of the checkout, one a core: policies, engine, pricing and statistics.
Prints every survivor with its diff, then how many were killed. 200 take an hour of two cores: each
is a run of the tests below until the first that fails.
"""

import argparse
import linecache
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MUTATED = (
    "policies",
    "sim/engine",
    "traces/pricing.py",
    "sim/experiment/statistics.py",
    "sim/experiment/bound.py",
)
# those that fail soonest first
KILLERS = (
    "tests/sim/test_request.py",
    "tests/sim/test_by_hand.py",
    "tests/sim/test_memory.py",
    "tests/traces/test_pricing.py",
    "tests/traces/test_workload.py",
    "tests/sim/test_refusals.py",
    "tests/sim/experiment",
    "tests/sim/test_bound.py",
    "tests/sim/test_call_counts.py",
    "tests/sim/test_second_implementation.py",
    "tests/sim/test_equivalence.py",
    "tests/policies",
    "tests/sim/test_timeline.py",
    "tests/sim/test_every_schedule.py",
    "tests/sim/test_theory.py",
)
PYTEST = (
    f"{sys.executable} -m pytest -x -q -p no:cacheprovider --hypothesis-profile unshrunk "
    f"-o faulthandler_timeout=90 -o faulthandler_exit_on_timeout=true {' '.join(KILLERS)}"
)
COSMIC_RAY = (sys.executable, "-m", "cosmic_ray.cli")
FOREVER = 4  # a mutant that takes so many times what the tests take runs for ever: killed


def copy_of_checkout(folder: Path) -> None:
    """Everything that git knows of, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def is_observable(job: Any) -> bool:
    """Not what changes nothing that could be seen, or fails at import.

    `is` and `==` are the same of small integers and of what compares by identity; most decorators
    say what is abstract or remembered; what servers and managers hold themselves to (`check`,
    `strict=True`) is a test itself; fields that are bound are not read before; `X | None` is a
    type.
    """
    mutation = job.mutations[0]
    name = mutation.operator_name
    same = name.endswith(("_Is", "_IsNot", "_Is_Eq", "_IsNot_NotEq"))
    line = linecache.getline(str(ROOT / mutation.module_path), mutation.start_pos[0])
    held = mutation.definition_name in ("check", "_check") or line[
        : mutation.start_pos[1]
    ].endswith("strict=")
    return not (
        same
        or held
        or "_BitOr_" in name
        or "Decorator" in name
        or 'metadata={"bound": True}' in line
    )


def begin(folder: Path, seconds: float) -> list[Any]:
    """A session of every mutant in a copy of the checkout: its jobs, in the order of places."""
    from cosmic_ray.work_db import WorkDB, use_db

    paths = ", ".join(f'"{path}"' for path in MUTATED)
    (folder / "mutants.toml").write_text(
        f"[cosmic-ray]\nmodule-path = [{paths}]\ntimeout = {seconds}\nexcluded-modules = []\n"
        f'test-command = "{PYTEST}"\n[cosmic-ray.distributor]\nname = "local"\n',
        encoding="utf-8",
    )
    subprocess.run([*COSMIC_RAY, "init", "mutants.toml", "session.sqlite"], cwd=folder, check=True)
    with use_db(str(folder / "session.sqlite"), WorkDB.Mode.open) as session:
        return sorted(session.work_items, key=lambda job: str(job.mutations))


def leave_only(folder: Path, jobs: list[Any], chosen: Collection[int]) -> None:
    """Skip all mutants of the session but those of these places."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    with use_db(str(folder / "session.sqlite"), WorkDB.Mode.open) as session:
        others = [job.job_id for place, job in enumerate(jobs) if place not in chosen]
        session.set_multiple_results(others, WorkResult(WorkerOutcome.SKIPPED))


def results_of(folder: Path) -> list[Any]:
    """What became of the mutants that the session ran."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome

    with use_db(str(folder / "session.sqlite"), WorkDB.Mode.open) as session:
        return [
            result
            for _, result in session.results
            if result.worker_outcome is not WorkerOutcome.SKIPPED
        ]


def main() -> None:
    """Sample, run, report; exit code 1 if fewer than 95 % were killed."""
    from cosmic_ray.work_item import TestOutcome

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name, str(core)) for core in range(os.cpu_count() or 1)]
        for folder in folders:
            copy_of_checkout(folder)
        started = time.monotonic()
        if subprocess.run(
            shlex.split(PYTEST), cwd=folders[0], stdout=subprocess.DEVNULL, check=False
        ).returncode:
            sys.exit("the tests fail as it is: they would kill every mutant")
        seconds = FOREVER * (time.monotonic() - started)
        sessions = [begin(folder, seconds) for folder in folders]
        # of the order of places, so that a seed means the same mutants everywhere
        worth = [place for place, job in enumerate(sessions[0]) if is_observable(job)]
        sample = random.Random(arguments.seed).sample(worth, min(len(worth), arguments.mutants))
        print(f"{len(sample)} of {len(worth)} mutants", flush=True)
        running = []
        for core, (folder, jobs) in enumerate(zip(folders, sessions, strict=True)):
            leave_only(folder, jobs, set(sample[core :: len(folders)]))
            running.append(
                subprocess.Popen(
                    [*COSMIC_RAY, "exec", "mutants.toml", "session.sqlite"], cwd=folder
                )
            )
        codes = [process.wait() for process in running]
        if any(codes):
            sys.exit("cosmic-ray failed")
        results = [result for folder in folders for result in results_of(folder)]
    survivors = [result for result in results if result.test_outcome is TestOutcome.SURVIVED]
    for result in survivors:
        print(result.diff, "\n")
    killed = len(results) - len(survivors)
    print(f"{killed} of {len(results)} killed")
    sys.exit(killed < 0.95 * len(results))


if __name__ == "__main__":
    main()
