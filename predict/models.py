"""Models that predict output lengths from prompts, by name; each is fitted to past prompts.

Ridge regression and the perceptron predict the log of a length, so that their predictions are
medians rather than means.
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
PAIRS_PER_PROMPT = 20
ALPHAS = (0.3, 1.0, 3.0, 10.0)


class LengthModel(ABC):
    """A model of output lengths.

    Attributes
    ----------
    fell_back : bool array, (N,)
        Whether each of the latest predictions came from the fallback of the model.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.predict import Median  # a LengthModel
    >>> model = Median()
    >>> model.fit(["a", "b", "c"], np.array([10, 20, 60]), ["all"] * 3)
    >>> model.predict(["d"], ["all"])
    array([20.])
    """

    fell_back: NDArray[np.bool_] = np.zeros(0, bool)

    @abstractmethod
    def fit(self, texts: Sequence[str], tokens: NDArray[np.int64], datasets: Sequence[str]) -> None:
        """Fit to past prompts, their output lengths in tokens, (R,), and their data sets."""

    @abstractmethod
    def predict(self, texts: Sequence[str], datasets: Sequence[str]) -> Lengths:
        """Return predicted output lengths in tokens, (N,)."""


class Median(LengthModel):
    """Median length of the data set, or of all requests for a new data set; ignores the prompt.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.predict import Median
    >>> model = Median()
    >>> model.fit(["a", "b"], np.array([10, 90]), ["code", "prose"])
    >>> model.predict(["c"], ["prose"])
    array([90.])
    """

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
    """Ridge regression of the log length on words, pairs of words, and parts of words.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.predict import Ridge
    >>> texts = [f"Write {n} words about cats" for n in range(1, 21)]
    >>> tokens = np.arange(1, 21) * 10
    >>> model = Ridge()
    >>> model.fit(texts, tokens, ["all"] * 20)
    >>> model.predict(["Write 7 words about cats"], ["all"]).shape
    (1,)
    """

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
    """A linear score of prompts, learnt from pairs of them: which output is longer.

    As RankNet with one layer. The rank of a new score among the past scores becomes a length: the
    past length of the same rank.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.predict import Ranker, TfidfEncoder
    >>> texts = [f"Write {n} words about cats" for n in range(1, 21)]
    >>> tokens = np.arange(1, 21) * 10
    >>> model = Ranker(TfidfEncoder(2))
    >>> model.fit(texts, tokens, ["all"] * 20)
    >>> model.predict(["Write 7 words about cats"], ["all"]).shape
    (1,)
    """

    encoder: Encoder

    def fit(self, texts: Sequence[str], tokens: NDArray[np.int64], datasets: Sequence[str]) -> None:
        from sklearn.linear_model import LogisticRegression

        self.encoder.fit(texts)
        vectors, rng = self.encoder(texts), np.random.default_rng(0)
        one, other = rng.integers(len(texts), size=(2, PAIRS_PER_PROMPT * len(texts)))
        differ = tokens[one] != tokens[other]
        longer = tokens[one][differ] > tokens[other][differ]
        if longer.all() or not longer.any():
            raise ValueError("ranker: all past outputs have the same length")
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
    """The predictor of ALISE: mean length of the k most similar past prompts, weighted by
    similarity.

    If no past prompt is similar enough, a multilayer perceptron predicts the length. After Zhao,
    Wang (arXiv 2410.23537); k, the threshold and the shape of the perceptron are not known to us.

    Parameters
    ----------
    k : int
        Number of past prompts that are retrieved, at least 1.
    threshold : float
        Least cosine at which a past prompt is used; if none reaches it, the perceptron predicts.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.predict import Retrieval, TfidfEncoder
    >>> texts = [f"Write {n} words about cats" for n in range(1, 21)]
    >>> tokens = np.arange(1, 21) * 10
    >>> model = Retrieval(TfidfEncoder(2), k=3)
    >>> model.fit(texts, tokens, ["all"] * 20)
    >>> model.predict(["Write 7 words about cats"], ["all"]).shape
    (1,)
    """

    encoder: Encoder
    k: int = 5
    threshold: float = 0.8

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 10_000:
            raise ValueError(f"k={self.k}: must be between 1 and 10000")
        if not -1 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold}: must be between -1 and 1")

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
        """Add completed requests, so that their prompts can be retrieved."""
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
            logs = self._perceptron.predict(vectors[self.fell_back]) * self._spread + self._centre
            expected[self.fell_back] = np.exp(np.minimum(logs, np.log(known.max(initial=1.0)) + 5))
        return np.asarray(expected)


MODELS: dict[str, Callable[[Callable[[], Encoder], int, float], LengthModel]] = {
    "retrieval": lambda encoder, k, threshold: Retrieval(encoder(), k, threshold),
    "ridge": lambda encoder, k, threshold: Ridge(),
    "ranker": lambda encoder, k, threshold: Ranker(encoder()),
    "median": lambda encoder, k, threshold: Median(),
}
"""Functions that make the model of a name, given a function that makes an encoder, k and a
threshold.

Examples
--------
>>> from lapsd.predict import MODELS
>>> list(MODELS)
['retrieval', 'ridge', 'ranker', 'median']
"""
