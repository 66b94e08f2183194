"""Record times of passes from the library: python -m tests.traces.operator_tables.record"""

import json
from pathlib import Path

import numpy as np

from lapsd.traces.operator_tables import library
from lapsd.traces.operator_tables.fit import Pair
from lapsd.traces.operator_tables.profiles import TablesRequest, models

FILE = Path(__file__).with_name("recorded.json")
REQUESTS = {
    "llama-7b-h200": TablesRequest("h200_sxm", "vllm", "llama-7b", "llama-68m"),
    "llama-7b-a100": TablesRequest("a100_sxm", "vllm", "llama-7b", "llama-68m"),
    "llama-3.1-8b-h100": TablesRequest("h100_sxm", "vllm", "meta-llama/Meta-Llama-3.1-8B", "eagle"),
    "llama-3.1-70b-h100-tp4": TablesRequest(
        "h100_sxm", "vllm", "meta-llama/Meta-Llama-3.1-70B", "eagle", tp=4
    ),
    "opt-13b-a100-tables": TablesRequest("a100_sxm", "vllm", "opt-13b"),
}


def passes(request: TablesRequest) -> list[dict[str, object]]:
    """Return random rounds and prompts with their times."""
    pair = Pair(*models(request))
    rng = np.random.default_rng(7)
    rows: list[dict[str, object]] = []
    for _ in range(40):
        batch = int(np.exp(rng.uniform(0, np.log(200))))
        drafted = int(rng.integers(1, 9)) if pair.draft else 0
        context = int(rng.integers(32, 1_500 if batch < 64 else 300))
        ms = pair.round_ms(batch, drafted, context)
        rows.append({"batch": batch, "drafted": drafted, "context": context, "ms": round(ms, 5)})
    for tokens in (20, 100, 700, 1_500):
        rows.append({"prompt": tokens, "ms": round(pair.prompts_ms([(tokens, 0)]), 5)})
    return rows


def record() -> None:
    """Write the times of all bundled profiles."""
    document = {
        "library": library.version(),
        "license": "Apache-2.0 (NVIDIA, aiconfigurator-core)",
        "passes": {name: passes(request) for name, request in REQUESTS.items()},
    }
    lines = json.dumps(document, indent=1).replace("\n    ", " ").replace("\n   }", " }")
    FILE.write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
