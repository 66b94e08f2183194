"""What a server knows beforehand, as JSON: for engines that live in another process."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from lapsd.policies import PolicyContext, RequestHistory, TimeModel
from lapsd.traces.costs import Linear, Quadratic

PAST = ("predicted_tokens", "tokens", "rounds", "early_tokens")
PREFILLS: Mapping[str, type[Linear]] = {kind.__name__: kind for kind in (Linear, Quadratic)}


def context_to_json(known: PolicyContext) -> dict[str, Any]:
    """Everything that it holds.

    Raises
    ------
    ValueError
        If it knows what prompts take by a function that is no term of a profile.
    """
    plain = {
        f.name: getattr(known, f.name) for f in fields(known) if f.name not in ("history", "time")
    }
    return {
        name: value if isinstance(value, int) else list(value) for name, value in plain.items()
    } | {
        "history": {name: getattr(known.history, name).tolist() for name in PAST},
        "time": None if known.time is None else _time_to_json(known.time),
    }


def _time_to_json(model: TimeModel) -> dict[str, Any]:
    document = {f.name: getattr(model, f.name) for f in fields(model) if f.name != "prefill"}
    if model.prefill is None:
        return document
    kind = type(model.prefill).__name__
    if not isinstance(model.prefill, Linear) or kind not in PREFILLS:
        raise ValueError(f"outlook: what prompts take is a {kind}, of which there is no JSON")
    return document | {"prefill": {"kind": kind, **asdict(model.prefill)}}


def context_from_json(document: Mapping[str, Any]) -> PolicyContext:
    """The outlook of such an object.

    Raises
    ------
    KeyError, TypeError
        If it is none.
    """
    history = RequestHistory(
        **{name: np.array(document["history"][name], dtype=np.int64) for name in PAST}
    )
    time = document["time"]
    if time is not None and (prefill := time.get("prefill")) is not None:
        values = {name: value for name, value in prefill.items() if name != "kind"}
        time = {**time, "prefill": PREFILLS[prefill["kind"]](**values)}
    return PolicyContext(
        **{**document, "history": history, "time": None if time is None else TimeModel(**time)}
    )
