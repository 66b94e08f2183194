"""Predictions as columns of a trace: requests with their prompts, learnt from themselves or from
others.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lapsd.predict.evaluate import Accuracy, learnt_on, out_of_fold
from lapsd.predict.models import LengthModel
from lapsd.traces import Prompt, Trace


@dataclass(frozen=True)
class PromptedTrace:
    """A trace's requests with their prompts.

    Attributes
    ----------
    texts, groups : tuples of str, (R,)
    """

    trace: Trace
    texts: tuple[str, ...]
    groups: tuple[str, ...]

    @classmethod
    def of(cls, trace: Trace, prompts: Mapping[str, Prompt]) -> "PromptedTrace":
        """Match prompts to requests by `request_id`.

        Raises
        ------
        ValueError
            Naming the first request that has none.
        """
        if missing := [name for name in trace.request_id if name not in prompts]:
            known = next(iter(prompts), "none")
            raise ValueError(
                f"prompts: {len(missing)} of {len(trace)} requests of the trace have none, the"
                f" first {missing[0]!r} (the prompts are of {known!r}, ...)"
            )
        own = [prompts[name] for name in trace.request_id]
        return cls(trace, tuple(p.text for p in own), tuple(p.group for p in own))

    def without(self, groups: frozenset[str]) -> "PromptedTrace":
        """Those of other groups."""
        rows = [i for i, group in enumerate(self.groups) if group not in groups]
        return PromptedTrace(
            self.trace.take(rows),
            tuple(self.texts[i] for i in rows),
            tuple(self.groups[i] for i in rows),
        )


def predictions(
    make: Callable[[], LengthModel],
    asked: PromptedTrace,
    past: PromptedTrace | None = None,
    *,
    insert: bool = False,
) -> tuple[NDArray[np.int64], Accuracy]:
    """Predicted output lengths, (R,), and how good they are.

    Parameters
    ----------
    past : what to learn from; None: out of fold from the requests themselves. Prompts that `asked`
        has too, or others of their group, are not learnt from.
    insert : with a past, requests finish in order, and can be retrieved then.

    Raises
    ------
    ValueError
        For too few requests to learn from.
    """
    trace = asked.trace
    if past is None:
        return out_of_fold(make, asked.texts, trace.output_tokens, trace.dataset, asked.groups)
    learnt = past.without(frozenset(asked.groups))
    if len(learnt.trace) < 2:
        raise ValueError(
            f"past: {len(learnt.trace)} requests with prompts of their own, at least 2 are needed"
        )
    model, tokens = make(), learnt.trace.output_tokens
    model.fit(learnt.texts, tokens, learnt.trace.dataset)
    return learnt_on(
        model, asked.texts, trace.output_tokens, trace.dataset, int(tokens.max()), insert
    )


def with_column(
    trace: Trace, name: str, tokens: NDArray[np.int64], how: str, accuracy: Accuracy
) -> Trace:
    """The trace with a prediction, and how it was made and how good it is noted."""
    known = {
        key: round(v, 4)
        for key, v in asdict(accuracy).items()
        if v == v and key != "ms_a_prediction"
    }
    before = dict(trace.provenance.notes.get("predictions", {}))
    provenance = trace.provenance.noting(predictions={**before, name: {"how": how, **known}})
    return replace(trace.with_prediction(name, tokens), provenance=provenance)
