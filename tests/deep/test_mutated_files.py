"""Ten thousand damaged files: each is loaded completely or refused in one line."""

import json
import random

import pytest

from lapsd.traces import (
    FormatError,
    load_profile,
    load_trace,
    save_profile,
    save_trace,
    trace_from_rounds,
)
from tests.builders import row
from tests.sim.experiment.test_comparison import PROFILE

pytestmark = pytest.mark.deep
CASES = 5_000


def more(tokens: int) -> dict[str, object]:
    """Return the optional columns of a row with this number of output tokens."""
    return {
        "acceptable": [0] * tokens,
        "accept_prob": [i / tokens for i in range(tokens)],
        "predicted_tokens": tokens,
    }


def mutate(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        kind, at = rng.randrange(5), rng.randrange(len(data))
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + rng.randrange(1, 40)]
        elif kind == 3:
            data[at:at] = data[: rng.randrange(1, 40)]
        else:
            data = data[: at + 1]
        if not data:
            return b""
    return bytes(data)


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_trace_is_loaded_completely_or_refused(tmp_path, seed):
    good = trace_from_rounds(
        [row(f"r{i}", i, [i % 5, 2, 4], **more(i % 5 + 9)) for i in range(30)], {"source": "test"}
    )
    path = tmp_path / "t.parquet"
    save_trace(good, path)
    content, rng, refused = path.read_bytes(), random.Random(seed), 0
    for _ in range(CASES // 10):
        path.write_bytes(mutate(content, rng))
        try:
            trace = load_trace(path)
        except FormatError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert len(trace.accepted) == trace.offsets[-1] == trace.rounds.sum()
    assert refused > CASES // 20


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_profile_is_loaded_completely_or_refused(tmp_path, seed):
    path = tmp_path / "p.json"
    save_profile(PROFILE, path)
    content, rng = path.read_bytes(), random.Random(seed)
    for case in range(CASES // 10):
        if case % 2:
            path.write_bytes(mutate(content, rng))
        else:
            path.write_text(json.dumps(_changed(json.loads(content), rng)))
        try:
            profile = load_profile(path)
        except FormatError as error:
            assert str(path) in str(error)
        else:
            only = profile.costs.only_draft_tokens  # the changed value may be this one
            assert profile.round_cost()(4 if only is None else only, 1_000) >= 1


def _changed(document, rng):
    """Replace one random value of the document by an odd one."""
    odd = [None, -1, 0, 1.5, "x", [], {}, True, 10**30, float("inf"), "\u0000"]
    place = document
    while True:
        key = rng.choice(list(place))
        if isinstance(place[key], dict) and place[key] and rng.random() < 0.8:
            place = place[key]
        else:
            place[key] = rng.choice(odd)
            return document
