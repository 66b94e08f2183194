"""Costs that LLMServe/DistServe fitted to real GPUs: prefills and decoding steps of a model.

The files (`simdistserve/estimators/profile_data/*.json`, Apache-2.0) hold times in milliseconds, by
model and tensor-parallel degree:

- `prefill`: [a, b, c], for a + b · tokens + c · Σ tokens² of the prompts in one pass;
- `decoding_smallbs` and `decoding_largebs`: [a, b, c], for a + b · Σ contexts + c · requests of one
  step;
- `decoding_large_small_bs_threshold`: number of requests from which on `decoding_largebs` applies.

A profile needs no term for the two regimes of a step, since its costs are linear between the batch
sizes that it lists, and both ends of each line are listed. KV transfers are not in the files; their
costs follow from the model's architecture: bytes of keys and values per token, over PCIe.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from lapsd.traces.costs import MAX_NS, Costs, Linear, Quadratic, RoundTerms, Swap
from lapsd.traces.errors import FormatError
from lapsd.traces.files.json_lines import mapping
from lapsd.traces.files.reading import json_object
from lapsd.traces.importers.importer import Imported, Importer
from lapsd.traces.profile import Profile
from lapsd.traces.provenance import Hardware, Model, Provenance

LARGEST_BATCH = (
    512  # number of requests up to which the line of large batches is assumed to continue
)
USED = 0.9  # share of a GPU's memory that is used, as by default in vLLM


class Architecture(NamedTuple):
    """Size of a model with 16 bits per number; `parameters` counts all layers and embeddings."""

    layers: int
    hidden: int
    parameters: int

    @property
    def kv_bytes(self) -> int:
        """Bytes of a token's keys and values in all layers."""
        return 2 * self.layers * self.hidden * 2

    @property
    def weights_bytes(self) -> int:
        """Bytes of all weights."""
        return 2 * self.parameters


# Zhang et al., OPT (arXiv 2205.01068), table 1
ARCHITECTURES = {
    "facebook/opt-13b": Architecture(40, 5_120, 13_000_000_000),
    "facebook/opt-66b": Architecture(64, 9_216, 66_000_000_000),
}


@dataclass(frozen=True)
class DistServe(Importer):
    """Import costs that DistServe fitted to real GPUs, for one model without a draft model.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> from lapsd.traces.importers import DistServe
    >>> fits = {
    ...     "prefill": [20.0, 0.1, 0.00001],
    ...     "decoding_smallbs": [10.0, 0.001, 0.5],
    ...     "decoding_largebs": [5.0, 0.002, 2.0],
    ...     "decoding_large_small_bs_threshold": 4,
    ... }
    >>> document = {"facebook/opt-13b": {"1": fits}}
    >>> done = Path("fits.json").write_text(json.dumps(document))
    >>> DistServe().read("fits.json").profile.kind
    'imported_fit'
    """

    name: ClassVar[str] = "distserve"
    file: ClassVar[str] = "A file of fitted costs of DistServe's simulator (JSON)."

    model: str = field(
        default="facebook/opt-13b", metadata={"help": "Model to read from the file."}
    )
    tp: int = field(
        default=1, metadata={"help": "Tensor-parallel degree: number of GPUs that share the model."}
    )
    gpu: str = field(
        default="A100-80G", metadata={"help": "Name of the GPU, which is not in the file."}
    )
    pcie_gb_per_s: float = field(
        default=20.0,
        metadata={
            "help": "Rate of KV transfers to host memory and back, per GPU, in 10^9 bytes/s."
        },
    )

    def __post_init__(self) -> None:
        if not 0 < self.pcie_gb_per_s <= 1e5:
            raise ValueError(
                f"pcie_gb_per_s={self.pcie_gb_per_s:g}: must be above 0 and at most 100000"
            )
        if self.model not in ARCHITECTURES:
            raise ValueError(f"model={self.model!r}: must be one of {', '.join(ARCHITECTURES)}")

    def read(self, path: str | Path) -> Imported:
        """See `Importer.read`."""
        path = Path(path)
        fits = self._fits(path)
        notes: tuple[str, ...] = (
            f"KV transfers are not in the file: {self.pcie_gb_per_s:g} GB/s is assumed",
        )
        base, per_token, square = fits.prefill
        if square < 0:  # costs never fall
            square, notes = (
                0.0,
                (*notes, "the quadratic term of the prefill is negative: 0 is used instead"),
            )
        transfer = Linear(
            0, round(ARCHITECTURES[self.model].kv_bytes / self.tp / self.pcie_gb_per_s)
        )
        costs = Costs(
            rounds={
                b: _step(fits, b)
                for b in sorted({1, fits.threshold - 1, fits.threshold, LARGEST_BATCH} - {0})
            },
            prefill=Quadratic(_ns(base), _ns(per_token), round(square * 1e9)),
            swap_out=transfer,
            swap_in=transfer,
            swap_ways={"pcie": Swap(transfer, transfer)},
            only_draft_tokens=0,
        )
        return Imported(
            None, Profile("imported_fit", "unknown", costs, provenance=self._origin(path)), notes
        )

    def _fits(self, path: Path) -> "_Fits":
        models = json_object(path)
        if self.model not in models:
            raise FormatError(
                f"{path}: no costs of {self.model} (models in it: {', '.join(models) or 'none'})"
            )
        degrees = mapping(models[self.model], self.model, str(path))
        if str(self.tp) not in degrees:
            raise FormatError(
                f"{path}: no tp {self.tp} of {self.model} (in it: {', '.join(degrees) or 'none'})"
            )
        return _Fits.of(
            mapping(degrees[str(self.tp)], f"{self.model}.{self.tp}", str(path)), str(path)
        )

    def _origin(self, path: Path) -> Provenance:
        known = ARCHITECTURES[self.model]
        kv_tokens = {
            f"{gb} GB": int((USED * gb * 1e9 * self.tp - known.weights_bytes) // known.kv_bytes)
            for gb in (40, 80)
        }
        return Provenance(
            source=f"DistServe's fits ({path.stem}), {self.model}, {self.gpu} x {self.tp}",
            imported_from=path.name,
            estimated=(
                (
                    f"swap_out, swap_in ({known.kv_bytes} bytes per token at {self.pcie_gb_per_s:g}"
                    " GB/s per GPU)"
                ),
                f"batch sizes above the timed ones (the line is extended to {LARGEST_BATCH})",
            ),
            missing=("errors of the fits", "software versions"),
            target=Model(name=self.model, parameters=known.parameters, type="opt"),
            dtype="float16",
            hardware=Hardware(device="cuda", gpu=self.gpu),
            draft_tokens=(0,),
            notes={
                "license": "Apache-2.0 (LLMServe/DistServe)",
                "memory": {
                    "kv_bytes_per_token": known.kv_bytes,
                    "weights_bytes": known.weights_bytes,
                    f"kv_tokens_at_{USED:.0%}_of": {
                        gb: tokens for gb, tokens in kv_tokens.items() if tokens > 0
                    },
                },
            },
        )


class _Fits(NamedTuple):
    """Coefficients of one model, in milliseconds."""

    prefill: tuple[float, ...]
    small: tuple[float, ...]
    large: tuple[float, ...]
    threshold: int

    @classmethod
    def of(cls, record: Mapping[str, Any], source: str) -> "_Fits":
        threshold = record.get("decoding_large_small_bs_threshold")
        if (
            not isinstance(threshold, int)
            or isinstance(threshold, bool)
            or not 1 <= threshold <= LARGEST_BATCH
        ):
            bound = f"is not a whole number from 1 to {LARGEST_BATCH}"
            raise FormatError(
                f"{source}, field 'decoding_large_small_bs_threshold': {str(threshold)[:40]!r}"
                f" {bound}"
            )
        prefill = _three(record, "prefill", source, least=-MAX_NS)
        small, large = (_three(record, f"decoding_{kind}bs", source) for kind in ("small", "large"))
        return cls(prefill, small, large, threshold)


def _three(
    record: Mapping[str, Any], name: str, source: str, least: float = 0
) -> tuple[float, ...]:
    """Return three coefficients: the first two are not negative, the last is at least `least`."""
    values = record.get(name)
    numbers = isinstance(values, list) and all(
        type(v) in (int, float) and math.isfinite(v) for v in values
    )
    if not isinstance(values, list) or not numbers or len(values) != 3:
        raise FormatError(f"{source}, field {name!r}: not three numbers")
    if min(*values[:2], values[2] - least) < 0 or max(values) * 1e9 > MAX_NS or values[0] <= 0:
        raise FormatError(f"{source}, field {name!r}: {values} are not costs in milliseconds")
    return tuple(map(float, values))


def _step(fits: _Fits, batch: int) -> RoundTerms:
    """Return the cost of a decoding step of `batch` requests: one pass over one token of each."""
    base, per_context, per_request = fits.small if batch < fits.threshold else fits.large
    nothing = Linear(0, 0)
    return RoundTerms(nothing, {1: _ns(base + per_request * batch)}, {1: _ns(per_context)}, 0)


def _ns(ms: float) -> int:
    return round(ms * 1e6)
