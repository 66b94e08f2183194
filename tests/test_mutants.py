"""The mutation tests name files and folders that exist."""

from tests.mutants import MUTATED, ROOT, TESTS


def test_the_paths_of_the_mutation_tests_exist():
    for path in (*MUTATED, *TESTS):
        assert (ROOT / path).exists(), path
