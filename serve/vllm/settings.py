"""What a user says in `--additional-config '{"lapsd": {...}}'`, checked.

Knows nothing of vLLM, nor of policies.
"""

from collections.abc import Mapping
from dataclasses import dataclass

TRIED = ("0.32.0",)  # versions of vLLM
PREEMPTIONS = ("recompute", "parked")
KINDS = {
    "policy": str,
    "preemption": str,
    "profile": str,
    "trace": str,
    "predicted_tokens": int,
    "predictor": str,
    "untried_vllm": bool,
}


@dataclass(frozen=True)
class Settings:
    """How vLLM's requests are scheduled.

    Attributes
    ----------
    policy : str
        As `lapsd compare --policy` takes it: `laps-sd:K=6`, or one's own as `module.Class:...`.
    preemption : {"recompute", "parked"} A request that loses its seat loses its blocks with it, or
        keeps them until somebody needs them.
    profile, trace : str or None What the policy knows beforehand, as `lapsd calibrate` writes them:
        costs, and past requests. The trace is the profile's neighbour `trace.parquet` unless it is
        given.
    predicted_tokens : int or None Whole output length of a request that says nothing of it; None:
        the trace's median, or its own maximum.
    predictor : str or None `module.function` that foretells it: takes the prompt's token ids and
        the sampling parameters.
    untried_vllm : bool
        Schedule under versions of vLLM that this was never tried with.
    """

    policy: str = "fcfs"
    preemption: str = "recompute"
    profile: str | None = None
    trace: str | None = None
    predicted_tokens: int | None = None
    predictor: str | None = None
    untried_vllm: bool = False

    @classmethod
    def of(cls, document: object) -> "Settings":
        """From what stands under `lapsd`.

        Raises
        ------
        ValueError
            Naming the key that is unknown, or of another type, or out of bounds.
        """
        if not isinstance(document, Mapping):
            raise ValueError(
                f"lapsd: {document!r} must be an object, as in {{'policy': 'laps-sd'}}"
            )
        for key, value in document.items():
            if key not in KINDS:
                raise ValueError(f"lapsd: unknown setting {key!r}: known are {', '.join(KINDS)}")
            if not isinstance(value, KINDS[key]) or (isinstance(value, bool) and KINDS[key] is int):
                raise ValueError(f"lapsd: {key}={value!r} must be of type {KINDS[key].__name__}")
        return cls(**document)

    def __post_init__(self) -> None:
        if self.preemption not in PREEMPTIONS:
            raise ValueError(
                f"lapsd: preemption={self.preemption!r} must be {' or '.join(PREEMPTIONS)}"
            )
        if self.predicted_tokens is not None and self.predicted_tokens < 1:
            raise ValueError(f"lapsd: predicted_tokens={self.predicted_tokens} must be at least 1")
        if self.trace is not None and self.profile is None:
            raise ValueError("lapsd: trace without profile: past requests cannot be priced")
