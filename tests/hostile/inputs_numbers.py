"""Input files with extreme numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lapsd.traces import save_trace, trace_from_rounds
from lapsd.traces.costs import MAX_NS
from lapsd.traces.files import BUNDLED
from tests.hostile.inputs import made, text

for name, document in (
    ("inf-load", "[settings]\nload = [0.5, inf]\n"),
    ("nan-parameter", "[parameters]\ndelta = nan\n"),
    ("inf-seeds", "seeds = inf\n"),
    ("half-seeds", "seeds = 1.9\n"),
    ("true-seeds", "seeds = true\n"),
    ("huge-seeds", "seeds = 100000000000000000000000\n"),
    ("inf-batch", "[settings]\nbatch = inf\n"),
    ("huge-load", f"[settings]\nload = 1{'0' * 400}\n"),
    ("inf-share", "until_ci = inf\n"),
):
    text(f"{name}.toml", document)


def profile(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Register the reference profile with other costs."""

    def make(path: Path) -> None:
        document = json.loads((BUNDLED / "reference.json").read_text(encoding="utf-8"))
        change(document["costs"])
        path.write_text(json.dumps(document), encoding="utf-8")

    made(f"{name}.json")(make)


LARGEST = {"base_ns": MAX_NS, "per_token_ns": MAX_NS}
profile("largest-prefill", lambda costs: costs.update(prefill=LARGEST))
profile("largest-square", lambda costs: costs.update(prefill={**LARGEST, "per_square_ps": 10**9}))
profile("largest-swap", lambda costs: costs.update(swap_out=LARGEST, swap_in=LARGEST))
profile("largest-rounds", lambda costs: costs["rounds"]["1"].update(draft_step=LARGEST))


@made("long.parquet")
def long_prompts(path: Path) -> None:
    """Requests with prompts of 200,000 tokens."""
    rows = [
        {
            "request_id": name,
            "dataset": "long",
            "prompt_tokens": 200_000,
            "output_tokens": 2,
            "drafted": [4, 4],
            "accepted": [0, 0],
        }
        for name in "abcd"
    ]
    save_trace(trace_from_rounds(rows), path)


def arrivals(name: str, prompt_tokens: int, output_tokens: int) -> None:
    """Register a file of recorded arrivals, the second with these lengths."""

    def make(path: Path) -> None:
        table = pa.table(
            {
                "arrival_ns": [0, 1],
                "prompt_tokens": [5, prompt_tokens],
                "output_tokens": [5, output_tokens],
            }
        )
        note = json.dumps({"kind": "arrivals", "source": "made up"})
        pq.write_table(table.replace_schema_metadata({"lapsd": note}), path)

    made(f"{name}.parquet")(make)


arrivals("zero-output", 5, 0)
arrivals("negative-prompt", -1, 5)
arrivals("huge-prompt", 2**32, 5)
