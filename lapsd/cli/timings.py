"""The raw timings next to a profile file, from which its figure is drawn."""

from pathlib import Path

import pandas as pd

from lapsd.traces import Profile
from lapsd.traces.errors import FormatError
from lapsd.traces.files import BUNDLED
from lapsd.traces.files.reading import parquet_table

MOST_ROUNDS = 4_000


def read_timings(profile: Profile, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return timed samples of every term, and at most `MOST_ROUNDS` timed rounds.

    There are no rounds where weights are random.

    Raises
    ------
    FormatError
        If the files are missing or cannot be read.
    """
    samples, rounds = _timings(path, "samples.parquet"), path.parent / _name(path, "rounds.parquet")
    if profile.weights == "random" and not rounds.is_file():
        return samples, pd.DataFrame(columns=["drafted", "context", "draft_ns", "verify_ns"])
    timed = _timings(path, "rounds.parquet")
    return samples, timed.sample(MOST_ROUNDS, random_state=0) if len(timed) > MOST_ROUNDS else timed


def has_timings(path: Path) -> bool:
    """Return whether there are raw timings next to a profile file."""
    return (path.parent / _name(path, "samples.parquet")).is_file()


def _name(path: Path, name: str) -> str:
    return f"reference_{name}" if path.parent == BUNDLED and path.stem == "reference" else name


def _timings(path: Path, name: str) -> pd.DataFrame:
    file = path.parent / _name(path, name)
    if not file.exists():
        raise FormatError(
            f"{file}: missing; the figure of a profile needs the raw timings next to it"
        )
    frame: pd.DataFrame = parquet_table(file, str(file)).to_pandas()
    return frame
