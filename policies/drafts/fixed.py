"""Fixed draft lengths: always the same, or none."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lapsd.policies.drafts.base import DraftPolicy, DraftStep, Ints


@dataclass(frozen=True)
class Fixed(DraftPolicy):
    """The same draft length for all requests in all steps.

    Parameters
    ----------
    most : int
        The draft length.

    Notes
    -----
    The default of most engines; the best length depends on the batch size.

    References
    ----------
    Textbook.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import Fixed
    >>> policy = FCFS(drafts=Fixed(most=2))
    >>> result = lapsd.compare(policies=[policy], requests=20, seeds=2, batch=4)
    >>> result.policies
    ['fcfs+fixed:most=2']
    """

    name: ClassVar[str] = "fixed"

    most: int = 3

    def choose(self, step: DraftStep) -> Ints:
        return np.full(step.requests, step.most)


@dataclass(frozen=True)
class Off(DraftPolicy):
    """No drafts: ordinary decoding.

    Parameters
    ----------
    most : int
        The draft length: 0, and no other number.

    Notes
    -----
    The baseline that shows whether speculation pays.

    References
    ----------
    Textbook.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import Off
    >>> policy = FCFS(drafts=Off())
    >>> result = lapsd.compare(policies=[policy], requests=20, seeds=2, batch=4)
    >>> result.policies
    ['fcfs+off']
    """

    name: ClassVar[str] = "off"

    most: int = 0

    def __post_init__(self) -> None:
        if self.most:
            raise ValueError(f"off: most={self.most}: must be 0")

    def choose(self, step: DraftStep) -> Ints:
        return np.zeros(step.requests, np.int64)
