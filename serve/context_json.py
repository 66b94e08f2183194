"""Policy contexts as JSON, for engines that run in another process."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from lapsd.policies import PolicyContext, RequestHistory, TimeModel
from lapsd.policies.drafts import DraftContext
from lapsd.traces.costs import Linear, Piecewise, PromptCost, Quadratic

HISTORY_FIELDS = ("predicted_tokens", "tokens", "rounds", "early_tokens")
PREFILL_TERMS: Mapping[str, type[PromptCost]] = {
    kind.__name__: kind for kind in (Linear, Quadratic, Piecewise)
}


def context_to_json(context: PolicyContext) -> dict[str, Any]:
    """Return a JSON object with all fields of a context but those for routers, as one engine has
    none.

    Raises
    ------
    ValueError
        If its time model predicts prefill by a function that is not a term of a profile.
    """
    plain = {
        f.name: getattr(context, f.name)
        for f in fields(context)
        if f.name not in ("history", "time", "drafts", "routing")
    }
    return {
        name: value if isinstance(value, int) else list(value) for name, value in plain.items()
    } | {
        "history": {name: getattr(context.history, name).tolist() for name in HISTORY_FIELDS},
        "time": None if context.time is None else _time_to_json(context.time),
        "drafts": asdict(context.drafts),
    }


def _time_to_json(model: TimeModel) -> dict[str, Any]:
    document = {f.name: getattr(model, f.name) for f in fields(model) if f.name != "prefill"}
    if model.prefill is None:
        return document
    kind = type(model.prefill).__name__
    if not isinstance(model.prefill, Linear | Piecewise) or kind not in PREFILL_TERMS:
        raise ValueError(f"policy context: a prefill term of type {kind} cannot be written as JSON")
    return document | {"prefill": {"kind": kind, **asdict(model.prefill)}}


def _prefill_from_json(document: Mapping[str, Any]) -> PromptCost:
    values = {name: value for name, value in document.items() if name != "kind"}
    if isinstance(values["base_ns"], Mapping):  # keys of JSON objects are text
        values["base_ns"] = {int(tokens): ns for tokens, ns in values["base_ns"].items()}
    return PREFILL_TERMS[document["kind"]](**values)


def context_from_json(document: Mapping[str, Any]) -> PolicyContext:
    """Return the context of an object that `context_to_json` returned.

    Raises
    ------
    KeyError, TypeError
        If the object is not of that form.
    """
    history = RequestHistory(
        **{name: np.array(document["history"][name], dtype=np.int64) for name in HISTORY_FIELDS}
    )
    time = document["time"]
    if time is not None and (prefill := time.get("prefill")) is not None:
        time = {**time, "prefill": _prefill_from_json(prefill)}
    drafts = {name: tuple(values) for name, values in document.get("drafts", {}).items()}
    return PolicyContext(
        **{
            **document,
            "history": history,
            "time": None if time is None else TimeModel(**time),
            "drafts": DraftContext(**drafts),
        }
    )
