"""A vector index: find the most similar of many vectors.

The search is exact for few vectors, and approximate, by faiss, for many.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapsd.predict.encoders import Vectors

EXACT_BELOW = 50_000
LINKS = 32  # links of each vector in the graph of faiss


class VectorIndex:
    """Vectors of length 1, numbered in the order in which they were added.

    Parameters
    ----------
    exact_below : int
        Number of vectors from which faiss searches an HNSW graph (Malkov, Yashunin, arXiv
        1603.09320). Without faiss the search stays exact.
    """

    def __init__(self, exact_below: int = EXACT_BELOW) -> None:
        self.exact_below = exact_below
        self._rows: Vectors = np.zeros((0, 0), np.float32)
        self._many = 0
        self._graph: Any = None

    def __len__(self) -> int:
        return self._many

    def add(self, vectors: Vectors) -> None:
        """Add vectors, (N, D). Amortised O(N · D)."""
        needed = self._many + len(vectors)
        if needed > len(self._rows):
            larger = np.zeros((max(needed, 2 * len(self._rows)), vectors.shape[1]), np.float32)
            if self._many:
                larger[: self._many] = self._rows[: self._many]
            self._rows = larger
        self._rows[self._many : needed] = vectors
        self._many = needed
        if self._graph is not None:
            self._graph.add(np.ascontiguousarray(vectors))
        elif needed >= self.exact_below and (faiss := _faiss()) is not None:
            self._graph = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
            self._graph.add(self._rows[:needed])

    def search(self, vectors: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
        """Return the numbers and cosines of the k vectors most similar to each vector, most similar
        first.

        Both are of shape (N, min(k, len(self))).
        """
        k = min(k, self._many)
        if self._graph is not None:
            cosines, numbers = self._graph.search(np.ascontiguousarray(vectors), k)
            return numbers.astype(np.int64), cosines
        similar = vectors @ self._rows[: self._many].T
        best = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(similar, best, 1), axis=1, kind="stable")
        numbers = np.take_along_axis(best, order, 1)
        return numbers.astype(np.int64), np.take_along_axis(similar, numbers, 1)


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError:
        return None
    return faiss
