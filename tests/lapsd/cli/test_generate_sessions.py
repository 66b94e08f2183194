"""`lapsd generate --sessions`, and lengths with hashes of prompts."""

import json

import pytest

from lapsd.traces import load_trace


def test_sessions_are_served_from_a_prefix_cache(lapsd, tmp_path):
    out = tmp_path / "s.parquet"
    made = lapsd("generate", "--sessions", 6, "--turns", 5, "--system-tokens", 64, "-o", out)
    assert made[0] == 0
    assert "of prompt tokens lie in leading blocks of 16 that an earlier prompt has" in made[1]
    assert len(load_trace(out)) == 30
    cached = ("--prefix-cache", "--memory", "paged:blocks=9999", "--evict", "recompute")
    how = ("--policy", "fcfs", "--seeds", 2, "--requests", 15, "--request-order", "trace")
    code, text, _ = lapsd("compare", "--trace", out, *how, *cached, "--json")
    assert code == 0
    [fcfs] = json.loads(text)
    assert 0.3 < fcfs["prefix_hit_rate"] < 1


def test_lengths_keep_hashes_of_prompts(lapsd, tmp_path):
    lines = [
        {"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]},
        {"timestamp": 9, "input_length": 1024, "output_length": 5, "hash_ids": [0, 3]},
        {"timestamp": 9, "input_length": 100, "output_length": 5, "hash_ids": [4]},
    ]
    public, arrivals, out = (tmp_path / name for name in ("m.jsonl", "a.parquet", "t.parquet"))
    public.write_text("\n".join(map(json.dumps, lines)))
    assert lapsd("import", "mooncake", public, "-o", arrivals)[0] == 0
    assert lapsd("generate", "--lengths", arrivals, "--requests", 2, "-o", out)[0] == 0
    prefixes = load_trace(out).prefixes
    assert [prefixes.of_row(i).tolist() for i in range(2)] == [[0, 1], [0, 3]]
    del lines[1]["hash_ids"]
    public.write_text("\n".join(map(json.dumps, lines)))
    made = lapsd("import", "mooncake", public, "-o", arrivals, "--overwrite")
    assert "1 of 3 lines lack hash_ids: no hashes are kept." in made[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--turns", 3], "--turns: has no effect without --sessions"),
        (["--sessions", 3, "--system-prompts", 2], "has no effect without --system-tokens"),
        (["--sessions", 3, "--requests", 9], "--requests and --lengths do not apply"),
        (["--sessions", 0], "--sessions 0: must be at least 1"),
        (["--sessions", 3, "--turns", 0], "turns=0: must be between 1 and 1000000"),
    ],
)
def test_sessions_that_cannot_be_are_refused(lapsd, tmp_path, options, message):
    code, _, error = lapsd("generate", *options, "-o", tmp_path / "s.parquet")
    assert code == 2
    assert message in error
