"""Length predictors: a server's predictions of output lengths, made when requests arrive.

Each is a frozen dataclass with few parameters; a new one is a class and a line in `PREDICTORS`. All
randomness is keyed by (seed, stream): predictors with different amounts of error err in the same
direction for the same request, and the first predictions of a long workload equal those of a short
one. Knows nothing of arrivals, costs or policies, nor of the text that names a predictor.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.bounds import MOST_TOKENS
from lapsd.traces.trace import LEARNED, Trace, prediction_column

LENGTH_STREAM = 3  # after the streams of `lapsd.traces.workload`


@dataclass(frozen=True)
class LengthPredictor(ABC):
    """A predictor of output lengths. The fields of a subclass are its parameters.

    Attributes
    ----------
    kind : str
        Name of the predictor, as users type it.
    random : bool
        Whether predictions depend on the seed.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import PREDICTORS
    >>> isinstance(PREDICTORS["noisy"](0.5), lapsd.LengthPredictor)
    True
    """

    kind: ClassVar[str]
    random: ClassVar[bool] = False

    def __str__(self) -> str:
        values = [getattr(self, f.name) for f in fields(self)]
        texts = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
        return f"{self.kind}:{','.join(texts)}" if texts else self.kind

    @abstractmethod
    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """Return the predicted output tokens of the requests in `rows`, (N,), each between 1 and
        `MOST_TOKENS`.

        Raises
        ------
        ValueError
            If the trace lacks a column that the predictor needs.
        """

    def _between(self, name: str, value: float, most: float) -> None:
        if not 0 <= value <= most:
            raise ValueError(f"length predictor {self}: {name} must be between 0 and {most:g}")


@dataclass(frozen=True)
class Oracle(LengthPredictor):
    """The true output length."""

    kind: ClassVar[str] = "oracle"

    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """See `LengthPredictor.predict`."""
        return trace.output_tokens[rows]


@dataclass(frozen=True)
class Noisy(LengthPredictor):
    """The true length times exp(sd · z), z standard normal.

    Its median is the true length; its mean is too high by the factor exp(sd²/2).
    """

    kind: ClassVar[str] = "noisy"
    random: ClassVar[bool] = True
    sd: float = field(metadata={"shown": "SD", "example": "noisy:0.5"})

    def __post_init__(self) -> None:
        self._between("SD", self.sd, 10)

    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """See `LengthPredictor.predict`."""
        truth = trace.output_tokens[rows]
        errors = np.exp(self.sd * _errors(seed, len(truth)))
        return _whole(np.asarray(truth * errors, dtype=np.float64))


@dataclass(frozen=True)
class Regressed(LengthPredictor):
    """The best prediction of the log length from a signal with correlation r to the true length.

    It shrinks towards the mean, as learned predictions do: r = 1 gives the true length, r = 0 the
    same prediction for all requests.
    """

    kind: ClassVar[str] = "regressed"
    random: ClassVar[bool] = True
    r: float = field(metadata={"shown": "R", "example": "regressed:0.5"})

    def __post_init__(self) -> None:
        self._between("R", self.r, 1)

    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """See `LengthPredictor.predict`."""
        truth, known, r = trace.output_tokens[rows], np.log(trace.output_tokens), self.r
        mean, sd = known.mean(), known.std()
        # correlation r with the truth; the variance of the best prediction is r² that of the truth
        error = _errors(seed, len(truth))
        logs = mean + r**2 * (np.log(truth) - mean) + r * math.sqrt(1 - r**2) * sd * error
        return _whole(np.asarray(np.exp(logs)))


@dataclass(frozen=True)
class Column(LengthPredictor):
    """The predictions in the trace's column `predicted_tokens:NAME`."""

    kind: ClassVar[str] = "column"
    name: str = field(metadata={"shown": "NAME", "example": "column:mine"})

    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """See `LengthPredictor.predict`."""
        return _recorded(self, self.name, trace)[rows]


@dataclass(frozen=True)
class Learned(LengthPredictor):
    """The predictions of a learned predictor in the trace's column `predicted_tokens`."""

    kind: ClassVar[str] = "learned"

    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """See `LengthPredictor.predict`."""
        return _recorded(self, LEARNED, trace)[rows]


PREDICTORS: dict[str, type[LengthPredictor]] = {
    p.kind: p for p in (Oracle, Noisy, Regressed, Learned, Column)
}
"""The class of each length predictor by the name that users type: mapping of str to type.

Examples
--------
>>> from lapsd.traces import PREDICTORS
>>> list(PREDICTORS)
['oracle', 'noisy', 'regressed', 'learned', 'column']
"""


def _errors(seed: int, count: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, LENGTH_STREAM]).standard_normal(count)


def _whole(lengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return lengths as whole numbers of tokens within the bounds of predictions."""
    return np.clip(np.rint(lengths), 1, MOST_TOKENS).astype(np.int64)


def _recorded(predictor: LengthPredictor, name: str, trace: Trace) -> NDArray[np.int64]:
    if name not in trace.predictions:
        known = f"its predictions: {', '.join(trace.predictions) or 'none'}"
        raise ValueError(
            f"length predictor {predictor}: the trace has no column {prediction_column(name)!r}"
            f" ({known})"
        )
    return trace.predictions[name]
