"""Accuracy of a predictor on groups of prompts that it was not fitted to."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapsd.predict.models import LengthModel, Retrieval

FOLDS = 10
LEAST_REQUESTS = 20
TIMED = 30  # predictions that are timed, one at a time


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of predicted output lengths.

    Attributes
    ----------
    requests : int
        Number of predictions.
    kendall, spearman : float
        Rank correlations (Kendall's tau-b); NaN if all predictions or all lengths are equal.
    mean_absolute_error : float
        In tokens.
    log_error : float
        Mean of `abs(log(predicted / true))`.
    sd_log_error : float
        Standard deviation of log(predicted / true).
    ms_a_prediction : float
        Median wall time of a prediction, one prompt at a time.
    fell_back : float
        Share of predictions that came from the fallback of the model.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.predict import Median, predict_with
    >>> model = Median()
    >>> model.fit(["a", "b"], np.array([10, 30]), ["all", "all"])
    >>> _, accuracy = predict_with(
    ...     model, ["c", "d"], np.array([15, 40]), ["all", "all"], most=100
    ... )
    >>> accuracy.mean_absolute_error
    12.5
    """

    requests: int
    kendall: float
    spearman: float
    mean_absolute_error: float
    log_error: float
    sd_log_error: float
    ms_a_prediction: float
    fell_back: float

    @classmethod
    def of(
        cls,
        predicted: NDArray[np.int64],
        true: NDArray[np.int64],
        ms: float = float("nan"),
        fell_back: float = 0.0,
    ) -> "Accuracy":
        """Return the accuracy of predictions, (R,), against true lengths, (R,)."""
        from scipy.stats import kendalltau, spearmanr

        varied = len(set(predicted.tolist())) > 1 and len(set(true.tolist())) > 1
        logs = np.log(predicted / true)
        return cls(
            len(true),
            float(kendalltau(predicted, true)[0]) if varied else float("nan"),
            float(spearmanr(predicted, true)[0]) if varied else float("nan"),
            float(np.abs(predicted - true).mean()),
            float(np.abs(logs).mean()),
            float(logs.std()),
            ms,
            fell_back,
        )


def out_of_fold(
    make: Callable[[], LengthModel],
    texts: Sequence[str],
    tokens: NDArray[np.int64],
    datasets: Sequence[str],
    groups: Sequence[str],
) -> tuple[NDArray[np.int64], Accuracy]:
    """Return predictions, (R,), each by a model fitted to other groups of prompts, and their
    accuracy.

    Parameters
    ----------
    make : Callable[[], LengthModel]
        Returns a new model.
    texts : Sequence[str]
        Prompts, (R,).
    tokens : int64 array
        Output lengths in tokens, (R,).
    datasets : Sequence[str]
        Data set of each prompt, (R,).
    groups : Sequence[str]
        Group of each prompt, (R,).

    Raises
    ------
    ValueError
        If there are too few requests or groups.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.predict import Ridge, out_of_fold
    >>> texts = [f"Write {n} words about cats" for n in range(1, 21)]
    >>> tokens = np.arange(1, 21) * 10
    >>> groups = [str(n % 10) for n in range(20)]
    >>> predicted, accuracy = out_of_fold(Ridge, texts, tokens, ["all"] * 20, groups)
    >>> predicted.shape, accuracy.requests
    ((20,), 20)
    """
    from sklearn.model_selection import GroupKFold

    different = len(set(groups))
    if len(texts) < LEAST_REQUESTS or different < FOLDS:
        raise ValueError(
            f"{len(texts)} requests in {different} groups: needs at least {LEAST_REQUESTS} requests"
            f" in {FOLDS} groups, to fit to some groups and evaluate on others"
        )
    expected, fell_back, ms = np.zeros(len(texts)), np.zeros(len(texts), bool), float("nan")
    for train, test in GroupKFold(FOLDS, shuffle=True, random_state=0).split(
        texts, groups=np.array(groups)
    ):
        model = make()
        model.fit([texts[i] for i in train], tokens[train], [datasets[i] for i in train])
        if np.isnan(ms):
            ms = _ms_per_prediction(model, [texts[i] for i in test], [datasets[i] for i in test])
        expected[test] = model.predict([texts[i] for i in test], [datasets[i] for i in test])
        fell_back[test] = model.fell_back
    predicted = _whole(expected, int(tokens.max()))
    return predicted, Accuracy.of(predicted, tokens, ms, float(fell_back.mean()))


def predict_with(
    model: LengthModel,
    texts: Sequence[str],
    tokens: NDArray[np.int64],
    datasets: Sequence[str],
    most: int,
    insert: bool = False,
) -> tuple[NDArray[np.int64], Accuracy]:
    """Return predictions, (R,), by a model that was fitted to other requests, and their accuracy.

    Parameters
    ----------
    model : LengthModel
        A fitted model of output lengths.
    texts : Sequence[str]
        Prompts, (R,).
    tokens : int64 array
        Output lengths in tokens, (R,).
    datasets : Sequence[str]
        Data set of each prompt, (R,).
    most : int
        Upper limit of predictions: the longest output that the model was fitted to.
    insert : bool
        Whether each request finishes before the next is predicted, and can be retrieved from then
        on.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.predict import Median, predict_with
    >>> model = Median()
    >>> model.fit(["a", "b"], np.array([10, 30]), ["all", "all"])
    >>> _, accuracy = predict_with(
    ...     model, ["c", "d"], np.array([15, 40]), ["all", "all"], most=100
    ... )
    >>> accuracy.requests
    2
    """
    ms, fell_back = _ms_per_prediction(model, texts, datasets), np.zeros(len(texts), bool)
    if insert and isinstance(model, Retrieval):
        expected = np.zeros(len(texts))
        for i, text in enumerate(texts):
            expected[i] = model.predict([text], [datasets[i]])[0]
            fell_back[i] = model.fell_back[0]
            model.insert([text], tokens[i : i + 1])
    else:
        expected = model.predict(texts, datasets)
        fell_back = model.fell_back
    predicted = _whole(expected, most)
    return predicted, Accuracy.of(predicted, tokens, ms, float(fell_back.mean()))


def _whole(expected: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    return np.clip(np.rint(expected), 1, most).astype(np.int64)


def _ms_per_prediction(model: LengthModel, texts: Sequence[str], datasets: Sequence[str]) -> float:
    seconds = []
    for text, dataset in list(zip(texts, datasets, strict=True))[:TIMED]:
        begin = time.perf_counter()
        model.predict([text], [dataset])
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds) * 1e3)
