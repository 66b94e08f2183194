"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

PUBLIC = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of public data sets, which the project does not ship."""
    folder = Path(os.environ.get("LAPSD_PUBLIC_DATA", PUBLIC))
    if not folder.is_dir():
        pytest.skip("the public data sets are not beside this checkout (LAPSD_PUBLIC_DATA names another place)")
    return folder
