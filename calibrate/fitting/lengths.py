"""Output lengths predicted from prompts, by boosted trees on features of the prompt's text.

The features are counts of numbers, commas and lines, and the values of some numbers, such as the
one before a word ("in 7 steps"). Neither the length of a prompt nor the target's last hidden state
is a feature: both identify the document or template of a prompt, so that a model learns from them
what does not apply to other documents.

The trees predict the logarithm of the output length. Every prediction is made out of fold, by a
model that was fitted without the prompt and without all other prompts of its group (document or
template). A prediction is exp(predicted logarithm), at least 1 and at most the cap. The true
lengths of outputs that reached the cap are unknown; they are counted.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lapsd.calibrate.models.loading import Pair
from lapsd.traces.provenance import LearnedLengths, LengthErrors

FOLDS = 5
LEAST_REQUESTS = 20
LEAST_GROUPS = 5
LEARNT = "trees on what the prompt tells"


@torch.inference_mode()
def prompt_embeddings(pair: Pair, prompts: Sequence[list[int]]) -> NDArray[np.float64]:
    """Return the mean last hidden state of each prompt, (R, H)."""
    rows = []
    for ids in prompts:
        hidden = pair.target.base_model(
            input_ids=torch.tensor([ids], device=pair.target.device), use_cache=False
        )
        rows.append(hidden.last_hidden_state[0].double().mean(0).cpu().numpy())
    return np.stack(rows)


def prompt_counts(texts: Sequence[str]) -> NDArray[np.float64]:
    """Return six features of each prompt's text, (R, 6), each as log(1 + value).

    They are the counts of numbers, commas and line ends, and the values of the last number, of the
    smallest number, and of the last number before a word.
    """
    rows = []
    for text in texts:
        numbers = [int(x) for x in re.findall(r"(?<![\w.])\d{1,6}(?!\w)", text)] or [0]
        quantities = [int(x) for x in re.findall(r"(?<![\w.$])(\d{1,3}) [a-z]", text)] or [0]
        counts = [len(re.findall(r"\d+", text)), text.count(","), text.count("\n")]
        rows.append([*counts, numbers[-1], min(numbers), quantities[-1]])
    return np.log1p(np.array(rows, dtype=np.float64))


def predict_lengths(
    embeddings: NDArray[np.float64],
    texts: Sequence[str],
    prompt_tokens: NDArray[np.int64],
    output_tokens: NDArray[np.int64],
    datasets: Sequence[str],
    groups: Sequence[str],
    cap: int,
) -> tuple[NDArray[np.int64], LearnedLengths] | None:
    """Return out-of-fold predictions (R,) and their errors.

    The errors are given for all requests and for each data set. They also cover three baselines
    fitted in the same folds: ridge regression on the embedding, linear regression on the logarithm
    of the prompt length, and the median of the data set.

    Returns
    -------
    (predicted tokens, errors), or None if there are too few requests or groups.
    """
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.linear_model import LinearRegression, RidgeCV
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = np.array(datasets)
    keys = np.array([f"{d}\0{g}" for d, g in zip(datasets, groups, strict=True)])
    if len(output_tokens) < LEAST_REQUESTS or len(set(keys)) < LEAST_GROUPS:
        return None
    log = np.log(output_tokens)
    folds = list(GroupKFold(FOLDS).split(embeddings, log, keys))
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-1, 5, 13)))
    trees = GradientBoostingRegressor(
        n_estimators=100,
        learning_rate=0.05,
        max_depth=3,
        subsample=0.5,
        min_samples_leaf=0.05,
        random_state=0,
    )
    by_length = LinearRegression()
    length = np.log(np.maximum(prompt_tokens, 1)).reshape(-1, 1)
    predicted = {
        LEARNT: cross_val_predict(trees, prompt_counts(texts), log, cv=folds),
        "ridge on the prompt's embedding": cross_val_predict(ridge, embeddings, log, cv=folds),
        "prompt length": cross_val_predict(by_length, length, log, cv=folds),
        "median of the data set": _fold_medians(log, names, folds),
    }
    tokens = {
        how: np.clip(np.rint(np.exp(p)), 1, cap).astype(np.int64) for how, p in predicted.items()
    }
    everything = {"pooled": np.ones(len(names), bool)} | {
        str(d): names == d for d in dict.fromkeys(datasets)
    }
    learned = LearnedLengths(
        features=(
            "counts of numbers, commas and lines in the prompt's text, and what the numbers are"
        ),
        folds=FOLDS,
        groups=len(set(keys)),
        censored_at_cap=int((output_tokens >= cap).sum()),
        by_predictor={
            how: {name: _errors(p[rows], output_tokens[rows]) for name, rows in everything.items()}
            for how, p in tokens.items()
        },
    )
    return tokens[LEARNT], learned


def _fold_medians(
    log: NDArray[np.float64], names: NDArray[Any], folds: list[Any]
) -> NDArray[np.float64]:
    predicted = np.empty_like(log)
    for seen, unseen in folds:
        for name in set(names[unseen]):
            same = seen[names[seen] == name]
            predicted[unseen[names[unseen] == name]] = np.median(
                log[same] if len(same) else log[seen]
            )
    return predicted


def _errors(predicted: NDArray[np.int64], true: NDArray[np.int64]) -> LengthErrors:
    from scipy.stats import kendalltau, spearmanr

    varied = len(set(predicted.tolist())) > 1 and len(set(true.tolist())) > 1
    return LengthErrors(
        requests=len(true),
        mean_absolute_error=round(float(np.abs(predicted - true).mean()), 2),
        rank_correlation=round(float(spearmanr(predicted, true)[0]), 3) if varied else None,
        kendall_tau=round(float(kendalltau(predicted, true)[0]), 3) if varied else None,
        sd_log_error=round(float(np.log(predicted / true).std()), 3),
    )
