"""Predictors of output lengths from prompts, by name: fitted to past prompts, they say how long the
next answers are.

All work on logs of lengths, and answer with exp of what they expect: right in the median.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapsd.predict.encoders import Encoder
from lapsd.predict.index import VectorIndex

Lengths = NDArray[np.float64]
MLP_SHAPE = (256,)
PAIRS_A_PROMPT = 20
ALPHAS = (0.3, 1.0, 3.0, 10.0)


class LengthModel(ABC):
    """A predictor.

    Attributes
    ----------
    fell_back : bool array
        Of the latest predictions, which were made by other means than the predictor is named after.
    """

    fell_back: NDArray[np.bool_] = np.zeros(0, bool)

    @abstractmethod
    def fit(self, texts: Sequence[str], tokens: NDArray[np.int64], datasets: Sequence[str]) -> None:
        """Learn from past prompts, the lengths of their answers (R,), and what data sets they are
        of.
        """

    @abstractmethod
    def predict(self, texts: Sequence[str], datasets: Sequence[str]) -> Lengths:
        """Expected lengths in tokens, (N,)."""


class Median(LengthModel):
    """The median length of the data set, or of all where it is new: what knows no prompt."""

    def fit(self, texts: Sequence[str], tokens: NDArray[np.int64], datasets: Sequence[str]) -> None:
        names = np.array(datasets)
        self._of = {
            name: float(np.median(tokens[names == name])) for name in dict.fromkeys(datasets)
        }
        self._all = float(np.median(tokens))

    def predict(self, texts: Sequence[str], datasets: Sequence[str]) -> Lengths:
        self.fell_back = np.array([name not in self._of for name in datasets])
        return np.array([self._of.get(name, self._all) for name in datasets])


class Ridge(LengthModel):
    """Ridge regression of the log length on words, pairs of words, and pieces of words."""

    def fit(self, texts: Sequence[str], tokens: NDArray[np.int64], datasets: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline, make_union

        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        pieces = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=50_000
        )
        self._pipeline: Any = make_pipeline(make_union(words, pieces), RidgeCV(ALPHAS)).fit(
            texts, np.log(tokens)
        )

    def predict(self, texts: Sequence[str], datasets: Sequence[str]) -> Lengths:
        self.fell_back = np.zeros(len(texts), bool)
        return np.asarray(np.exp(self._pipeline.predict(texts)))


@dataclass
class Ranker(LengthModel):
    """A linear order of prompts, learnt from pairs: which of two answers is longer.

    As RankNet, with one layer.

    An order says nothing of lengths: the place among past prompts is turned into the past length of
    that place.
    """

    encoder: Encoder

    def fit(self, texts: Sequence[str], tokens: NDArray[np.int64], datasets: Sequence[str]) -> None:
        from sklearn.linear_model import LogisticRegression

        self.encoder.fit(texts)
        vectors, rng = self.encoder(texts), np.random.default_rng(0)
        one, other = rng.integers(len(texts), size=(2, PAIRS_A_PROMPT * len(texts)))
        differ = tokens[one] != tokens[other]
        longer = tokens[one][differ] > tokens[other][differ]
        if longer.all() or not longer.any():
            raise ValueError("ranker: all past answers are as long as one another")
        differences = vectors[one[differ]] - vectors[other[differ]]
        self._weights = (
            LogisticRegression(fit_intercept=False, max_iter=500).fit(differences, longer).coef_[0]
        )
        self._scores, self._tokens = np.sort(vectors @ self._weights), np.sort(tokens)

    def predict(self, texts: Sequence[str], datasets: Sequence[str]) -> Lengths:
        self.fell_back = np.zeros(len(texts), bool)
        places = np.searchsorted(self._scores, self.encoder(texts) @ self._weights)
        return np.asarray(self._tokens[np.minimum(places, len(self._tokens) - 1)], dtype=float)


@dataclass
class Retrieval(LengthModel):
    """ALISE's predictor: the lengths of the k most similar past prompts, weighted by similarity;
    else a perceptron.

    Zhao, Wang (arXiv 2410.23537) as far as it is known: k, the threshold and the perceptron's shape
    are not.

    Parameters
    ----------
    k : past prompts that are looked at, at least 1.
    threshold : cosine that a past prompt must have to count; where none has, the perceptron
    predicts.
    """

    encoder: Encoder
    k: int = 5
    threshold: float = 0.8

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 10_000:
            raise ValueError(f"k {self.k}: must be between 1 and 10000")
        if not -1 <= self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold}: must be between -1 and 1")

    def fit(self, texts: Sequence[str], tokens: NDArray[np.int64], datasets: Sequence[str]) -> None:
        from sklearn.neural_network import MLPRegressor

        self.encoder.fit(texts)
        vectors = self.encoder(texts)
        self._index, self._tokens = VectorIndex(), [*map(int, tokens)]
        self._index.add(vectors)
        logs = np.log(tokens)
        self._centre, self._spread = float(logs.mean()), float(max(logs.std(), 1e-9))
        perceptron = MLPRegressor(
            hidden_layer_sizes=MLP_SHAPE,
            alpha=1.0,
            early_stopping=len(texts) >= 100,
            max_iter=300,
            random_state=0,
        )
        self._perceptron: Any = perceptron.fit(vectors, (logs - self._centre) / self._spread)

    def insert(self, texts: Sequence[str], tokens: NDArray[np.int64]) -> None:
        """Requests that finished: their prompts can be retrieved from now on."""
        self._index.add(self.encoder(texts))
        self._tokens.extend(map(int, tokens))

    def predict(self, texts: Sequence[str], datasets: Sequence[str]) -> Lengths:
        vectors = self.encoder(texts)
        numbers, cosines = self._index.search(vectors, self.k)
        weights = np.where(cosines >= self.threshold, np.maximum(cosines, 1e-9), 0.0)
        known = np.array(self._tokens, dtype=float)[numbers]
        self.fell_back = weights.sum(axis=1) <= 0
        expected = (weights * known).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-12)
        if self.fell_back.any():
            foreseen = (
                self._perceptron.predict(vectors[self.fell_back]) * self._spread + self._centre
            )
            expected[self.fell_back] = np.exp(
                np.minimum(foreseen, np.log(known.max(initial=1.0)) + 5)
            )
        return np.asarray(expected)


MODELS: dict[str, Callable[[Callable[[], Encoder], int, float], LengthModel]] = {
    "retrieval": lambda encoder, k, threshold: Retrieval(encoder(), k, threshold),
    "ridge": lambda encoder, k, threshold: Ridge(),
    "ranker": lambda encoder, k, threshold: Ranker(encoder()),
    "median": lambda encoder, k, threshold: Median(),
}
"""By name: from a way to make an encoder, k and a threshold."""
