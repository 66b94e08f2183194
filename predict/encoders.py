"""Encoders: a prompt becomes a vector of length 1, so that a product of two is their cosine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
MOST_TOKENS = 512  # of a prompt that a model is shown


class Encoder(Protocol):
    """Turns texts into vectors."""

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from past prompts what there is to learn."""

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """A row of length 1 (or 0, of a text with nothing known in it) for each text, (N, D)."""


class TfidfEncoder:
    """Words and pairs of words, weighted by how rare they are, in the directions in which past
    prompts differ most.

    Parameters
    ----------
    dimensions : at most so many.
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
    """A language model's last hidden states, averaged over a prompt's tokens: BERT and kin, or the
    served target.

    Parameters
    ----------
    folder : a Hugging Face folder with config, weights (safetensors) and tokenizer.

    Raises
    ------
    ValueError
        If there is no such folder, or torch and transformers are not there.
    """

    def __init__(self, folder: str | Path) -> None:
        if not (Path(folder) / "config.json").is_file():
            raise ValueError(
                f"encoder {folder}: no folder of a model (there is no config.json in it)"
            )
        try:
            from transformers import AutoModel, AutoTokenizer
        except ModuleNotFoundError as error:
            raise ValueError(
                f"encoder {folder}: needs {error.name}: pip install 'lapsd[calibrate]'"
            ) from error
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            self._model: Any = AutoModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise ValueError(f"encoder {folder}: {str(error).splitlines()[0]}") from error
        self._model.eval()

    def fit(self, texts: Sequence[str]) -> None:
        """Nothing: it was trained before."""

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
    """Rows of length 1; those of length 0 stay so."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)
