"""The settings that users give as `--additional-config '{"lapsd": {...}}'`, checked.

Knows nothing of vLLM or of policies.
"""

from collections.abc import Mapping
from dataclasses import dataclass

TRIED = ("0.32.0",)  # tested versions of vLLM
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
    """Settings of the scheduler in vLLM.

    Attributes
    ----------
    policy : str
        As for `lapsd compare --policy`: `laps-sd:K=6`, or your own policy as `module.Class:...`.
    preemption : {"recompute", "parked"}
        A preempted request loses its blocks ("recompute"), or keeps them until another request
        needs them ("parked").
    profile, trace : str or None
        Costs and past requests, as `lapsd calibrate` writes them. Without `trace`, it is
        `trace.parquet` in the folder of the profile.
    predicted_tokens : int or None
        Predicted length of the whole output, for requests without a prediction of their own; None:
        the median of the trace, or else the request's maximum.
    predictor : str or None
        `module.function` that predicts the output length from the token ids of the prompt and the
        sampling parameters.
    untried_vllm : bool
        Also schedule with untested versions of vLLM.
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
        """Return the settings of the JSON object under `lapsd`.

        Raises
        ------
        ValueError
            For a key that is unknown, or a value of the wrong type or out of bounds.
        """
        if not isinstance(document, Mapping):
            raise ValueError(
                f"lapsd: {document!r}: must be an object, as in {{'policy': 'laps-sd'}}"
            )
        for key, value in document.items():
            if key not in KINDS:
                raise ValueError(f"lapsd: unknown setting {key!r}: known are {', '.join(KINDS)}")
            if not isinstance(value, KINDS[key]) or (isinstance(value, bool) and KINDS[key] is int):
                raise ValueError(f"lapsd: {key}={value!r}: must be of type {KINDS[key].__name__}")
        return cls(**document)

    def __post_init__(self) -> None:
        if self.preemption not in PREEMPTIONS:
            raise ValueError(
                f"lapsd: preemption={self.preemption!r}: must be {' or '.join(PREEMPTIONS)}"
            )
        if self.predicted_tokens is not None and self.predicted_tokens < 1:
            raise ValueError(f"lapsd: predicted_tokens={self.predicted_tokens}: must be at least 1")
        if self.trace is not None and self.profile is None:
            raise ValueError(
                "lapsd: trace without profile: the costs of past requests need a profile"
            )
