"""Mutation tests change the code that their tests import, in files and folders that exist."""

import subprocess
import sys

from tests.mutants import MUTATED, ROOT, TESTS, copy_of_checkout, environment


def test_the_paths_of_the_mutation_tests_exist():
    for path in (*MUTATED, *TESTS):
        assert (ROOT / path).exists(), path


def test_the_tests_of_a_mutant_import_the_copy_of_the_checkout(tmp_path):
    copy_of_checkout(tmp_path)
    (tmp_path / "policies" / "fcfs.py").write_text("raise SystemExit('mutant')")
    command = [sys.executable, "-c", "import lapsd.policies"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.stderr.strip() == "mutant"
