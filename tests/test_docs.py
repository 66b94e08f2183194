"""The examples in the documentation run as they stand."""

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_on_writing_policies_runs():
    found = doctest.testfile(str(DOCS / "write-a-policy.md"), module_relative=False)
    assert found.attempted >= 10
    assert found.failed == 0
