"""Mutation testing: run the tests on a random sample of mutants of the source code.

    make mutants [MUTANTS=200] [SEED=0]

cosmic-ray changes one place of policies, engine, pricing or statistics in a copy of the checkout,
one copy per core, and runs the tests below until one fails. Prints the diff of every mutant that
all tests pass ("survivor"), then the number of killed mutants. 200 mutants take an hour on two
cores.
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
# the tests that fail soonest come first
TESTS = (
    "tests/sim/test_by_hand.py",
    "tests/sim/test_memory.py",
    "tests/traces/test_pricing.py",
    "tests/traces/test_workload.py",
    "tests/sim/test_refusals.py",
    "tests/sim/experiment",
    "tests/sim/test_bound.py",
    "tests/sim/test_second_implementation.py",
    "tests/sim/test_equivalence.py",
    "tests/policies",
    "tests/sim/test_timeline.py",
    "tests/sim/test_every_schedule.py",
    "tests/sim/test_theory.py",
)
PYTEST = (
    f"{sys.executable} -m pytest -x -q -p no:cacheprovider --hypothesis-profile unshrunk "
    f"-o faulthandler_timeout=90 -o faulthandler_exit_on_timeout=true {' '.join(TESTS)}"
)
COSMIC_RAY = (sys.executable, "-m", "cosmic_ray.cli")
FOREVER = 4  # a mutant that takes this many times as long as the tests counts as killed


def copy_of_checkout(folder: Path) -> None:
    """Copy every file that git tracks, in its present state."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    subprocess.run(["make", "--silent", "links"], cwd=folder, check=True)


def environment(folder: Path) -> dict[str, str]:
    """Return the environment in which Python imports lapsd from a copy of the checkout.

    Without it the tests would import the installed lapsd, which no mutant changes. The current
    folder is left out of the path: its `lapsd` has no other packages in it.
    """
    links = str(folder / "build" / "links")
    return os.environ | {"PYTHONPATH": links, "PYTHONSAFEPATH": "1"}


def is_observable(job: Any) -> bool:
    """Return whether tests can notice a mutant.

    Left out are: `is` for `==` and the reverse, which agree for small integers and for objects that
    compare by identity; decorators, most of which mark abstract or cached methods; self-checks of
    servers and managers (`check`, `strict=True`); defaults of fields that `bind` sets; and `X |
    None` in annotations.
    """
    mutation = job.mutations[0]
    name = mutation.operator_name
    same = name.endswith(("_Is", "_IsNot", "_Is_Eq", "_IsNot_NotEq"))
    line = linecache.getline(str(ROOT / mutation.module_path), mutation.start_pos[0])
    self_check = mutation.definition_name in ("check", "_check") or line[
        : mutation.start_pos[1]
    ].endswith("strict=")
    return not (
        same
        or self_check
        or "_BitOr_" in name
        or "Decorator" in name
        or 'metadata={"bound": True}' in line
    )


def begin(folder: Path, seconds: float) -> list[Any]:
    """Create a session of all mutants of a copy of the checkout; return jobs in source order."""
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


def skip_others(folder: Path, jobs: list[Any], chosen: Collection[int]) -> None:
    """Skip all jobs of the session except the chosen ones, given by their index."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    with use_db(str(folder / "session.sqlite"), WorkDB.Mode.open) as session:
        others = [job.job_id for index, job in enumerate(jobs) if index not in chosen]
        session.set_multiple_results(others, WorkResult(WorkerOutcome.SKIPPED))


def results_of(folder: Path) -> list[Any]:
    """Return the results of the mutants that the session ran."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome

    with use_db(str(folder / "session.sqlite"), WorkDB.Mode.open) as session:
        return [
            result
            for _, result in session.results
            if result.worker_outcome is not WorkerOutcome.SKIPPED
        ]


def main() -> None:
    """Draw a sample, run it and print the result; exit code 1 if fewer than 95 % were killed."""
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
            shlex.split(PYTEST),
            cwd=folders[0],
            env=environment(folders[0]),
            stdout=subprocess.DEVNULL,
            check=False,
        ).returncode:
            sys.exit("the tests fail without any mutation")
        seconds = FOREVER * (time.monotonic() - started)
        sessions = [begin(folder, seconds) for folder in folders]
        # indices in source order, so that a seed gives the same mutants on every machine
        observable = [index for index, job in enumerate(sessions[0]) if is_observable(job)]
        sample = random.Random(arguments.seed).sample(
            observable, min(len(observable), arguments.mutants)
        )
        print(f"{len(sample)} of {len(observable)} mutants", flush=True)
        running = []
        for core, (folder, jobs) in enumerate(zip(folders, sessions, strict=True)):
            skip_others(folder, jobs, set(sample[core :: len(folders)]))
            running.append(
                subprocess.Popen(
                    [*COSMIC_RAY, "exec", "mutants.toml", "session.sqlite"],
                    cwd=folder,
                    env=environment(folder),
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
    print(f"{killed} of {len(results)} mutants killed")
    sys.exit(killed < 0.95 * len(results))


if __name__ == "__main__":
    main()
