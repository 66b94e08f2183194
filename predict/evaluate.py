"""How good a predictor is: on prompts that it has not seen, nor others of their group."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapsd.predict.models import LengthModel, Retrieval

FOLDS = 10
LEAST_REQUESTS = 20
TIMED = 30  # predictions, one at a time


@dataclass(frozen=True)
class Accuracy:
    """How predictions compare with the truth.

    Attributes
    ----------
    kendall, spearman : float
        Rank correlations (Kendall's tau-b); NaN where all predictions are the same.
    mean_absolute_error : float
        In tokens.
    log_error : float
        Mean of |log(predicted / true)|.
    sd_log_error : float
        Standard deviation of log(predicted / true).
    ms_a_prediction : float
        Wall time, one prompt at a time, median.
    fell_back : float
        Share of predictions made by other means.
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
        """Of predictions, (R,), and the truth, (R,)."""
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
    """Predictions, (R,), each by a model fitted to other groups of prompts, and how good they are.

    Raises
    ------
    ValueError
        For too few requests or groups.
    """
    from sklearn.model_selection import GroupKFold

    different = len(set(groups))
    if len(texts) < LEAST_REQUESTS or different < FOLDS:
        raise ValueError(
            f"{len(texts)} requests in {different} groups: at least {LEAST_REQUESTS} and {FOLDS}"
            " are needed to learn from some and be judged by others"
        )
    expected, fell_back, ms = np.zeros(len(texts)), np.zeros(len(texts), bool), float("nan")
    for seen, unseen in GroupKFold(FOLDS, shuffle=True, random_state=0).split(
        texts, groups=np.array(groups)
    ):
        model = make()
        model.fit([texts[i] for i in seen], tokens[seen], [datasets[i] for i in seen])
        if np.isnan(ms):
            ms = _ms_a_prediction(model, [texts[i] for i in unseen], [datasets[i] for i in unseen])
        expected[unseen] = model.predict([texts[i] for i in unseen], [datasets[i] for i in unseen])
        fell_back[unseen] = model.fell_back
    predicted = _whole(expected, int(tokens.max()))
    return predicted, Accuracy.of(predicted, tokens, ms, float(fell_back.mean()))


def learnt_on(
    model: LengthModel,
    texts: Sequence[str],
    tokens: NDArray[np.int64],
    datasets: Sequence[str],
    most: int,
    insert: bool = False,
) -> tuple[NDArray[np.int64], Accuracy]:
    """Predictions, (R,), by a model that was fitted to other requests, and how good they are.

    Parameters
    ----------
    most : the longest answer that it has seen.
    insert : requests finish in this order, each before the next is predicted, and can be retrieved
    then.
    """
    ms, fell_back = _ms_a_prediction(model, texts, datasets), np.zeros(len(texts), bool)
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


def _ms_a_prediction(model: LengthModel, texts: Sequence[str], datasets: Sequence[str]) -> float:
    spent = []
    for text, dataset in list(zip(texts, datasets, strict=True))[:TIMED]:
        begin = time.perf_counter()
        model.predict([text], [dataset])
        spent.append(time.perf_counter() - begin)
    return float(np.median(spent) * 1e3)
