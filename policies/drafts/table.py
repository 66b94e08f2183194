"""A table of draft lengths by batch size, as vLLM takes it."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np

from lapsd.policies.drafts.base import DraftContext, DraftPolicy, DraftStep, Ints, bound


@dataclass(frozen=True)
class Table(DraftPolicy):
    """One draft length for all requests of a step, by their number.

    vLLM's `num_speculative_tokens_per_batch_size` is such a table. `lapsd advise` makes one.

    Parameters
    ----------
    lengths : str
        Draft lengths by the smallest number of requests that they apply to, as in `1=5/9=3/33=0`:
        5 up to 8 requests, 3 up to 32, none beyond.
    most : int
        The longest draft length.

    Notes
    -----
    Use it in vLLM, which takes such a table.

    References
    ----------
    vLLM's `num_speculative_tokens_per_batch_size`.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import Table
    >>> policy = FCFS(drafts=Table(lengths="1=5/3=2"))
    >>> result = lapsd.compare(policies=[policy], requests=20, seeds=2, batch=4)
    >>> result.policies
    ['fcfs+table:lengths=1=5/3=2']
    """

    name: ClassVar[str] = "table"

    most: int = 7
    lengths: str = "1=7/5=5/17=3/65=1"
    by_batch: Ints = bound(None)  # noqa: RUF009

    def __post_init__(self) -> None:
        super().__post_init__()
        self.entries()

    def entries(self) -> list[tuple[int, int]]:
        """Return the entries of the table: the smallest number of requests, and the draft length.

        Raises
        ------
        ValueError
            If the table cannot be read, does not begin at 1, does not ascend, or holds a length
            beyond `most`.
        """
        try:
            found = [
                (int(first), int(length))
                for first, length in (entry.split("=") for entry in self.lengths.split("/"))
            ]
        except ValueError:
            raise ValueError(
                f"table: lengths={self.lengths}: must be entries as in 1=5/9=3/33=0"
            ) from None
        starts = [first for first, _ in found]
        if starts[0] != 1 or any(b <= a for a, b in pairwise(starts)):
            raise ValueError(
                f"table: lengths={self.lengths}: must begin at 1 request and ascend from there"
            )
        for first, length in found:
            if not 0 <= length <= self.most:
                raise ValueError(
                    f"table: lengths={self.lengths}: {first}={length}: must be between 0 and"
                    f" most={self.most}"
                )
        return found

    def bind(self, context: DraftContext) -> Self:
        entries = self.entries()
        by_batch = np.zeros(entries[-1][0] + 1, np.int64)
        for first, length in entries:
            by_batch[first:] = length
        return replace(self, by_batch=by_batch)

    def choose(self, step: DraftStep) -> Ints:
        length = self.by_batch[min(step.requests, len(self.by_batch) - 1)]
        return np.full(step.requests, length)
