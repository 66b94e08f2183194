"""The systems that are compared: each is a policy, a KV memory manager and a mode of prefill."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lapsd.papers.inputs import MEASURED, RECORDED, Inputs, Size
from lapsd.papers.question import Unanswerable
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.sweeps.grid import Sweep

# we do not know the paper's predictor well enough; the log error of this one has an SD of 0.5
PREDICTOR = "noisy:0.5"
CAP = 256  # requests in a batch, vLLM's default
SMALL_CAP = 16  # the batch size of FastServe's artifact
MEMORIES = ("40 GB", "80 GB")
USUAL = 40  # requests that fit in memory; `Size.generated` is several times as many
KV_TOKENS = "kv_tokens_at_90%_of"
WHOLE, LESS = "whole memory", "40 GB less"  # of a profile that knows its KV capacity
LESS_BYTES = 36e9  # 90 % of 40 GB, vLLM's default share


@dataclass(frozen=True)
class System:
    """A serving system.

    Attributes
    ----------
    label : name in tables and figures
    policy : the policy's spec
    settings : differences to a server with batches of up to `CAP`, batched prefill, eviction by
        swapping, and predicted lengths by `PREDICTOR`
    """

    label: str
    policy: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def sweep(self, seeds: int, **settings: Any) -> Sweep:
        """Return a sweep of this system."""
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
    """Return the KV tokens that fit, by size of the GPU's memory, the smaller memory first.

    A profile gives them for `MEMORIES`, or it has a KV capacity: then they are the whole capacity,
    and the capacity with 40 GB less memory if tokens still fit.

    Raises
    ------
    Unanswerable
        If the profile gives neither.
    """
    known = inputs.profile.provenance.notes.get("memory", {})
    tokens = known.get(KV_TOKENS, {}) if isinstance(known, Mapping) else {}
    if given := {name: int(tokens[name]) for name in MEMORIES if name in tokens}:
        return given
    capacity = inputs.profile.kv_capacity
    if capacity is None or capacity.tokens is None:
        raise Unanswerable(
            "the profile does not say how many KV tokens fit in memory (profiles of lapsd import"
            " distserve and lapsd import aiconfigurator do)"
        )
    less = capacity.tokens - int(LESS_BYTES / capacity.bytes_per_token)
    longest = int((inputs.trace.prompt_tokens + inputs.trace.output_tokens).max())
    return {LESS: less, WHOLE: capacity.tokens} if less >= longest else {WHOLE: capacity.tokens}


def fitting(inputs: Inputs, tokens: int) -> int:
    """Return how many requests of mean length fit in `tokens` KV tokens, at most `CAP`."""
    trace = inputs.trace
    return max(1, min(CAP, int(tokens / (trace.prompt_tokens + trace.output_tokens).mean())))


def rates(inputs: Inputs, size: Size, tokens: int) -> list[float]:
    """Return arrival rates in requests/s, rounded to two digits.

    They are `size.loads` times the capacity of a server whose batches fill the memory.
    """
    share_ns = PreparedScenario.of(
        inputs.trace, inputs.profile, batch=fitting(inputs, tokens), requests=1
    ).split.share_ns
    return [float(f"{load * 1e9 / share_ns:.2g}") for load in size.loads]


def requests(inputs: Inputs, size: Size, tokens: int) -> int:
    """Return the number of requests of a run.

    It is `size.generated`, or up to three times as many where more than `USUAL` requests fit in
    memory.
    """
    return round(size.generated * min(3.0, max(1.0, fitting(inputs, tokens) / USUAL)))


def together(records: Mapping[str, pd.DataFrame], prefix: str) -> pd.DataFrame:
    """Concatenate the records of the sweeps called `PREFIX NAME` or `PREFIX NAME, ...`.

    NAME goes into the column `system`.
    """
    frames = [
        records[name].assign(system=name.removeprefix(f"{prefix} ").split(", ")[0])
        for name in records
        if name.startswith(f"{prefix} ")
    ]
    if not frames:
        raise Unanswerable("no sweep was run")
    return pd.concat(frames, ignore_index=True)
