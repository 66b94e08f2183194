"""The systems that are compared: each a policy, a manager of KV memory and a way with prompts,
fixed beforehand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lapsd.papers.inputs import MEASURED, RECORDED, Inputs, Size
from lapsd.papers.question import Unanswerable
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.sweeps.grid import Sweep

# the paper's predictor is not known well enough: an error of half of the length, typically
PREDICTOR = "noisy:0.5"
CAP = 256  # requests in a batch, vLLM's default
SMALL_CAP = 16  # as FastServe's artifact has it
MEMORIES = ("40 GB", "80 GB")
USUAL = 40  # requests in memory, which `Size.generated` are several batches of
KV_TOKENS = "kv_tokens_at_90%_of"


@dataclass(frozen=True)
class System:
    """A serving system.

    Attributes
    ----------
    label : in words
    policy : its spec
    settings : what differs from a server with a batch of `CAP`, batched prompts, moves by swapping
    and `PREDICTOR`
    """

    label: str
    policy: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def sweep(self, seeds: int, **settings: Any) -> Sweep:
        """Its runs."""
        base = {
            "trace": RECORDED,
            "profile": MEASURED,
            "length_predictor": PREDICTOR,
            "batch": CAP,
            "prefill": "batched",
        }
        given = base | dict(self.settings) | settings
        return Sweep.from_document({"policies": [self.policy], "seeds": seeds, "settings": given})


RECOMPUTE = {"memory": "paged", "evict": "recompute"}
SYSTEMS: Mapping[str, System] = {
    "orca": System(
        "ORCA, largest output reserved",
        "fcfs",
        {"memory": "reserve:output=max", "prefill": "mixed"},
    ),
    "orca-oracle": System(
        "ORCA, true output reserved",
        "fcfs",
        {"memory": "reserve:output=oracle", "prefill": "mixed"},
    ),
    "vllm": System("vLLM, recompute", "fcfs", RECOMPUTE),
    "vllm-swap": System("vLLM, swap", "fcfs", {"memory": "paged"}),
    "vllm-16": System("vLLM, at most 16 requests", "fcfs", {**RECOMPUTE, "batch": SMALL_CAP}),
    "fastserve": System("FastServe", "fastserve", {"memory": "fastserve", "batch": SMALL_CAP}),
    "alise": System("ALISE", "alise", {"memory": "alise"}),
    "alise-oracle": System(
        "ALISE, true lengths", "alise", {"memory": "alise", "length_predictor": "oracle"}
    ),
}


def memories(inputs: Inputs) -> dict[str, int]:
    """KV tokens by size of the GPU's memory, as the profile says them.

    Raises
    ------
    Unanswerable
        If it does not.
    """
    known = inputs.profile.provenance.notes.get("memory", {})
    tokens = known.get(KV_TOKENS, {}) if isinstance(known, Mapping) else {}
    if not (fitting := {name: int(tokens[name]) for name in MEMORIES if name in tokens}):
        raise Unanswerable(
            "the profile does not say how many tokens' keys and values fit (lapsd import distserve"
            " does)"
        )
    return fitting


def fitting(inputs: Inputs, tokens: int) -> int:
    """Requests of mean length whose keys and values fit so many tokens, at most `CAP`."""
    trace = inputs.trace
    return max(1, min(CAP, int(tokens / (trace.prompt_tokens + trace.output_tokens).mean())))


def rates(inputs: Inputs, size: Size, tokens: int) -> list[float]:
    """Arrivals a second: `size.loads` of what batches of as many as fit could serve, in two
    digits.
    """
    share_ns = PreparedScenario.of(
        inputs.trace, inputs.profile, batch=fitting(inputs, tokens), requests=1
    ).split.share_ns
    return [float(f"{load * 1e9 / share_ns:.2g}") for load in size.loads]


def requests(inputs: Inputs, size: Size, tokens: int) -> int:
    """Of a run: `size.generated`, or up to three times as many where more than `USUAL` fit
    together.
    """
    return round(size.generated * min(3.0, max(1.0, fitting(inputs, tokens) / USUAL)))


def together(records: Mapping[str, pd.DataFrame], prefix: str) -> pd.DataFrame:
    """The records of the sweeps `PREFIX NAME` or `PREFIX NAME, ...`, with NAME in the column
    `system`.
    """
    frames = [
        records[name].assign(system=name.removeprefix(f"{prefix} ").split(", ")[0])
        for name in records
        if name.startswith(f"{prefix} ")
    ]
    if not frames:
        raise Unanswerable("nothing was run")
    return pd.concat(frames, ignore_index=True)
