"""A seventh round of attempts: journeys of several commands, and numbers at the bounds."""

import pytest

from lapsd.traces.files import BUNDLED
from tests.hostile.harness import Case, digests, each

FEW = "--requests 3 --policy fcfs --policy las --engine simpy --workers 1 --until-ci 50%"
MOST_SEEDS = [
    Case(f"sweep --out s {FEW} --max-seeds 0", "--max-seeds 0: must be at least 1"),
    Case(f"sweep --out s {FEW} --max-seeds -1", "--max-seeds -1: must be at least 1"),
]


@each(MOST_SEEDS)
def test_a_largest_number_of_seeds_below_one_is_refused(case, run):
    """A zero meant the default, 3,200 seeds."""
    run(case)


def calibrated(folder, damaged: str) -> None:
    """Put a profile and its raw timings, one file damaged, into the folder."""
    text = (BUNDLED / "reference.json").read_text()
    (folder / "p.json").write_text(text)
    for name in ("samples.parquet", "rounds.parquet"):
        (folder / name).write_bytes((BUNDLED / f"reference_{name}").read_bytes())
    (folder / damaged).write_bytes(b"x")


@pytest.mark.parametrize("damaged", ["samples.parquet", "rounds.parquet"])
def test_a_profile_with_damaged_timings_is_refused_before_anything_is_printed(
    damaged, run, tmp_path, capsys
):
    """The tables and warnings of the profile came before the refusal."""
    calibrated(tmp_path, damaged)
    before = digests(tmp_path)
    out, _ = run(Case("show p.json --plot a.png", damaged))
    assert out == ""
    assert digests(tmp_path) == before
