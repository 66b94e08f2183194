"""Hashes of the leading blocks of prompts: which requests begin with the same tokens.

A hash names a block together with all blocks before it, so that two prompts with an equal hash are
equal up to the end of that block. Knows nothing of caches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.bounds import MOST_TOKENS
from lapsd.traces.errors import FormatError


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The hashes of the leading full blocks of prompts.

    Attributes
    ----------
    block : int
        Tokens of each block.
    offsets : int64 array (R + 1,)
        The hashes of request i are `offsets[i]:offsets[i + 1]` of `hashes`.
    hashes : int64 array (blocks of all requests,)

    Examples
    --------
    >>> from lapsd.traces import Prefixes
    >>> prefixes = Prefixes.of([[11, 12], [11], []], block=16)
    >>> prefixes.blocks
    array([2, 1, 0])
    >>> prefixes.of_row(0)
    array([11, 12])
    """

    block: int
    offsets: NDArray[np.int64]
    hashes: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]], block: int) -> "Prefixes":
        """Return the prefixes of requests, given as one list of hashes for each."""
        lengths = [len(hashes) for hashes in lists]
        flat = [number for hashes in lists for number in hashes]
        return cls(
            block, np.append(0, np.cumsum(lengths)).astype(np.int64), np.array(flat, dtype=np.int64)
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def blocks(self) -> NDArray[np.int64]:
        """Number of hashes of each request, (R,)."""
        return np.diff(self.offsets)

    def of_row(self, row: int) -> NDArray[np.int64]:
        """Return the hashes of one request."""
        return self.hashes[self.offsets[row] : self.offsets[row + 1]]

    def take(self, rows: NDArray[np.int64]) -> "Prefixes":
        """Return the prefixes of some of the requests, in the given order."""
        blocks = self.blocks[rows]
        offsets = np.append(0, np.cumsum(blocks)).astype(np.int64)
        first = np.repeat(self.offsets[rows] - offsets[:-1], blocks)
        return Prefixes(self.block, offsets, self.hashes[first + np.arange(offsets[-1])])

    def reusable(self, prompt_tokens: NDArray[np.int64]) -> float:
        """Return the share of prompt tokens that a cache without limit finds: those of leading
        blocks that an earlier request has, without the last token of each prompt.
        """
        owner = np.repeat(np.arange(len(self)), self.blocks)
        ends = self.block * (np.arange(len(self.hashes)) - self.offsets[:-1][owner] + 1)
        hashes = self.hashes[ends < prompt_tokens[owner]]
        again = len(hashes) - len(np.unique(hashes))
        return again * self.block / max(1, int(prompt_tokens.sum()))

    def check(self, prompt_tokens: NDArray[np.int64], source: str) -> None:
        """Check the prefixes of prompts of these lengths.

        Raises
        ------
        FormatError
            Naming `source`, row and field, if a prompt has fewer full blocks than hashes, or one
            hash follows two different ones.
        """
        if not 1 <= self.block <= MOST_TOKENS:
            raise FormatError(
                f"{source}, prefix_block {self.block}: must be between 1 and {MOST_TOKENS}"
            )
        long = self.blocks > prompt_tokens // self.block
        if long.any():
            row = int(np.argmax(long))
            raise FormatError(
                f"{source}, row {row}, field 'prefix_hashes': {self.blocks[row]} hashes: a prompt"
                f" of {prompt_tokens[row]} tokens has {prompt_tokens[row] // self.block} full"
                f" blocks of {self.block}"
            )
        before = np.append(-1, dense(self.hashes)[:-1])
        before[self.offsets[:-1][self.blocks > 0]] = -1
        _, first, which = np.unique(self.hashes, return_index=True, return_inverse=True)
        if (wrong := before != before[first][which]).any():
            place = int(np.argmax(wrong))
            row = int(np.searchsorted(self.offsets, place, side="right")) - 1
            raise FormatError(
                f"{source}, row {row}, field 'prefix_hashes': {self.hashes[place]} follows"
                " different hashes: a hash must stand for all blocks up to its own"
            )


def dense(hashes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers from 0 on in place of hashes; equal ones for equal hashes."""
    return np.unique(hashes, return_inverse=True)[1].astype(np.int64)
