"""Encoders turn a prompt into a vector of length 1; the dot product of two is their cosine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
MOST_TOKENS = 512  # a model reads at most so many tokens of a prompt


class Encoder(Protocol):
    """Turn texts into vectors.

    Examples
    --------
    >>> from lapsd.predict import TfidfEncoder
    >>> encoder = TfidfEncoder(dimensions=2)  # an Encoder
    >>> encoder.fit(["one cat", "two cats", "one dog"])
    >>> encoder(["one cat"]).shape
    (1, 2)
    """

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from past prompts."""

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return one row per text, (N, D), of length 1, or 0 for a text without known words."""


class TfidfEncoder:
    """TF-IDF of words and pairs of words, reduced to the directions in which past prompts differ
    most.

    Parameters
    ----------
    dimensions : int
        Largest number of dimensions of a vector.

    Examples
    --------
    >>> from lapsd.predict import TfidfEncoder
    >>> encoder = TfidfEncoder(dimensions=2)
    >>> encoder.fit(["one cat", "two cats", "one dog"])
    >>> encoder(["one cat"]).shape
    (1, 2)
    """

    def __init__(self, dimensions: int = 100) -> None:
        self.dimensions = dimensions
        self._pipeline: Any = None

    def fit(self, texts: Sequence[str]) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline

        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        features = len(words.fit(texts).vocabulary_)
        svd = TruncatedSVD(
            max(1, min(self.dimensions, features - 1, len(texts) - 1)), random_state=0
        )
        self._pipeline = make_pipeline(words, svd).fit(texts)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        return normalised(self._pipeline.transform(texts))


class ModelEncoder:
    """The last hidden states of a language model, averaged over the tokens of a prompt.

    The model may be an encoder such as BERT, or the target model that is served.

    Parameters
    ----------
    folder : str or Path
        A Hugging Face folder with config, weights (safetensors) and tokenizer.

    Raises
    ------
    ValueError
        If there is no such folder, or torch or transformers is not installed.

    Examples
    --------
    >>> from lapsd.calibrate.reference import REFERENCE_DRAFT
    >>> from lapsd.predict import ModelEncoder
    >>> encoder = ModelEncoder(REFERENCE_DRAFT)
    >>> len(encoder(["def f(x):", "def g(x):"]))
    2
    """

    def __init__(self, folder: str | Path) -> None:
        if not (Path(folder) / "config.json").is_file():
            raise ValueError(f"encoder {folder}: not the folder of a model (it has no config.json)")
        try:
            from transformers import AutoModel, AutoTokenizer
        except ModuleNotFoundError as error:
            raise ValueError(
                f"encoder {folder}: needs {error.name}: pip install 'lapsd[calibrate]'"
            ) from error
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            model, loading = AutoModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError) as error:
            raise ValueError(f"encoder {folder}: {str(error).splitlines()[0]}") from error
        # the library would use random weights in their place; the pooler is not used
        missing = sorted(key for key in loading["missing_keys"] if "pooler" not in key)
        if missing:
            raise ValueError(
                f"encoder {folder}: its files lack {len(missing)} weights that its config.json says"
                f" it has, such as {missing[0]}"
            )
        self._model: Any = model
        self._model.eval()

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing: the model is trained already."""

    def __call__(self, texts: Sequence[str]) -> Vectors:
        import torch

        rows = []
        with torch.inference_mode():
            for text in texts:
                ids = self._tokenizer(
                    text, return_tensors="pt", truncation=True, max_length=MOST_TOKENS
                )["input_ids"]
                if not ids.shape[1]:
                    rows.append(np.zeros(self._model.config.hidden_size))
                    continue
                rows.append(
                    self._model(input_ids=ids).last_hidden_state[0].double().mean(0).numpy()
                )
        return normalised(np.stack(rows))


def normalised(rows: NDArray[Any]) -> Vectors:
    """Return the rows scaled to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)
