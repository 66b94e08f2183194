"""Predictions as columns of a trace, learnt from its own prompts or from another trace."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lapsd.predict.evaluate import Accuracy, out_of_fold, predict_with
from lapsd.predict.models import LengthModel
from lapsd.traces import Prompt, Trace


@dataclass(frozen=True)
class PromptedTrace:
    """A trace of R requests with their prompts.

    Attributes
    ----------
    trace : Trace
    texts : tuple of str, (R,)
        The prompt of each request.
    groups : tuple of str, (R,)
        The group of each prompt, such as its template. No model is evaluated on a group that it was
        fitted to.

    Examples
    --------
    >>> from lapsd.predict import PromptedTrace
    >>> from lapsd.traces import ordinary_decoding
    >>> trace = ordinary_decoding([10, 20], [5, 6])
    >>> PromptedTrace(trace, texts=("a", "b"), groups=("1", "2")).without_groups(
    ...     {"1"}
    ... ).texts
    ('b',)
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
            If a request has no prompt; the message names the first such request.
        """
        if missing := [name for name in trace.request_id if name not in prompts]:
            known = next(iter(prompts), "none")
            raise ValueError(
                f"prompts: {len(missing)} of {len(trace)} requests of the trace have no prompt,"
                f" first {missing[0]!r} (there are prompts for {known!r}, ...)"
            )
        own = [prompts[name] for name in trace.request_id]
        return cls(trace, tuple(p.text for p in own), tuple(p.group for p in own))

    def without_groups(self, groups: frozenset[str]) -> "PromptedTrace":
        """Return the requests whose group is not among `groups`."""
        rows = [i for i, group in enumerate(self.groups) if group not in groups]
        return PromptedTrace(
            self.trace.take(rows),
            tuple(self.texts[i] for i in rows),
            tuple(self.groups[i] for i in rows),
        )


def predictions(
    make: Callable[[], LengthModel],
    prompted: PromptedTrace,
    past: PromptedTrace | None = None,
    *,
    insert: bool = False,
) -> tuple[NDArray[np.int64], Accuracy]:
    """Return predicted output lengths of the requests, (R,), and their accuracy.

    Parameters
    ----------
    make : callable
        Returns a new model.
    prompted : PromptedTrace
        The requests to predict.
    past : PromptedTrace or None
        The requests to learn from, of which the groups in `prompted` are left out; None: learn out
        of fold from `prompted`.
    insert : bool
        With `past`: whether each request can be retrieved once it is predicted, as if it had then
        finished.

    Raises
    ------
    ValueError
        If there are too few requests to learn from.

    Examples
    --------
    >>> from lapsd.predict import Median, PromptedTrace, predictions
    >>> from lapsd.traces import ordinary_decoding
    >>> trace = ordinary_decoding([10] * 20, list(range(1, 21)))
    >>> names = tuple(str(n) for n in range(20))
    >>> predicted, accuracy = predictions(
    ...     Median, PromptedTrace(trace, texts=names, groups=names)
    ... )
    >>> accuracy.requests
    20
    """
    trace = prompted.trace
    if past is None:
        return out_of_fold(
            make, prompted.texts, trace.output_tokens, trace.dataset, prompted.groups
        )
    learnt = past.without_groups(frozenset(prompted.groups))
    if len(learnt.trace) < 2:
        raise ValueError(
            f"past: needs at least 2 requests whose prompts are not in the trace, has"
            f" {len(learnt.trace)}"
        )
    model, tokens = make(), learnt.trace.output_tokens
    model.fit(learnt.texts, tokens, learnt.trace.dataset)
    return predict_with(
        model, prompted.texts, trace.output_tokens, trace.dataset, int(tokens.max()), insert
    )


def with_column(
    trace: Trace, name: str, tokens: NDArray[np.int64], how: str, accuracy: Accuracy
) -> Trace:
    """Return the trace with a column of predictions; `how` and the accuracy go into its notes.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.
    name : str
        Name of the column.
    tokens : int64 array
        Predicted output lengths in tokens, (R,).
    how : str
        How the predictions were made, in words.
    accuracy : Accuracy
        Accuracy of the predictions.

    Examples
    --------
    >>> from lapsd.predict import Median, PromptedTrace, predictions, with_column
    >>> from lapsd.traces import ordinary_decoding
    >>> trace = ordinary_decoding([10] * 20, list(range(1, 21)))
    >>> names = tuple(str(n) for n in range(20))
    >>> predicted, accuracy = predictions(
    ...     Median, PromptedTrace(trace, texts=names, groups=names)
    ... )
    >>> with_column(trace, "mine", predicted, "by the median", accuracy).predictions[
    ...     "mine"
    ... ][:3]
    array([10, 12, 12])
    """
    known = {
        key: round(v, 4)
        for key, v in asdict(accuracy).items()
        if v == v and key != "ms_a_prediction"
    }
    before = dict(trace.provenance.notes.get("predictions", {}))
    provenance = trace.provenance.noting(predictions={**before, name: {"how": how, **known}})
    return replace(trace.with_prediction(name, tokens), provenance=provenance)
