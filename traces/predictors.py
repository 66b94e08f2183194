"""Length predictors: what a server believes a request's output length to be, before it is served.

One frozen dataclass each, with at most a few parameters; a new one is a class and a line in
`PREDICTORS`. All randomness is keyed by (seed, stream): a predictor of another amount of error errs
in the same direction at the same request, and the first predictions of many are those of few. Knows
nothing of arrivals, costs or policies.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.trace import LEARNED, Trace, prediction_column

LENGTH_STREAM = 3  # after the streams of `lapsd.traces.workload`


@dataclass(frozen=True)
class LengthPredictor(ABC):
    """What the server believes output lengths to be. The fields of a subclass are its parameters.

    Attributes
    ----------
    kind : str
        As users type it.
    random : bool
        Whether predictions depend on the seed.
    """

    kind: ClassVar[str]
    random: ClassVar[bool] = False

    @staticmethod
    def parse(text: str) -> "LengthPredictor":
        """From `oracle`, `noisy:0.5` (or `noisy:sd=0.5`), `regressed:0.6`, `learned` or
        `column:NAME`.

        Raises
        ------
        ValueError
            For an unknown kind (listing the known ones), or a parameter that is missing, wrong or
            out of bounds.
        """
        kind, _, rest = text.partition(":")
        if kind not in PREDICTORS:
            raise ValueError(
                f"length predictor {text!r}: known are"
                f" {', '.join(usage(p) for p in PREDICTORS.values())}"
            )
        made = PREDICTORS[kind]
        known = {f.name: f for f in fields(made)}
        values: dict[str, Any] = {}
        for position, part in enumerate(filter(None, rest.split(","))):
            name, equals, value = part.partition("=")
            if not equals:
                name, value = list(known)[position] if position < len(known) else part, part
            if name not in known or name in values:
                raise ValueError(f"length predictor {text!r}: {usage(made)} is what can be given")
            values[name] = _value(value, known[name], text)
        if missing := [f for f in known.values() if f.default is MISSING and f.name not in values]:
            raise ValueError(f"length predictor {text!r}: {kind} needs {_wanted(missing[0])}")
        return made(**values)

    def __str__(self) -> str:
        values = [getattr(self, f.name) for f in fields(self)]
        texts = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
        return f"{self.kind}:{','.join(texts)}" if texts else self.kind

    @abstractmethod
    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """Predicted output tokens of the requests in `rows` of the trace, (N,), each at least 1.

        Raises
        ------
        ValueError
            If the trace lacks what the predictor needs.
        """

    def _between(self, name: str, value: float, most: float) -> None:
        if not 0 <= value <= most:
            raise ValueError(f"length predictor {self}: {name} must be between 0 and {most:g}")


def usage(predictor: type[LengthPredictor]) -> str:
    """As users type it: `noisy:SD`."""
    names = [str(f.metadata["shown"]) for f in fields(predictor)]
    return f"{predictor.kind}:{','.join(names)}" if names else predictor.kind


def _value(value: str, parameter: Field[Any], text: str) -> Any:
    if parameter.type is str:
        return value
    try:
        return float(value)
    except ValueError:
        kind = text.partition(":")[0]
        raise ValueError(f"length predictor {text!r}: {kind} needs {_wanted(parameter)}") from None


def _wanted(parameter: Field[Any]) -> str:
    kind = "a name" if parameter.type is str else "a number"
    return f"{kind}, as in {parameter.metadata['example']}"


@dataclass(frozen=True)
class Oracle(LengthPredictor):
    """The truth."""

    kind: ClassVar[str] = "oracle"

    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """See `LengthPredictor.predict`."""
        return trace.output_tokens[rows]


@dataclass(frozen=True)
class Noisy(LengthPredictor):
    """The truth times exp(sd · z), z standard normal: median-unbiased; its mean is exp(sd²/2) too
    high.
    """

    kind: ClassVar[str] = "noisy"
    random: ClassVar[bool] = True
    sd: float = field(metadata={"shown": "SD", "example": "noisy:0.5"})

    def __post_init__(self) -> None:
        self._between("SD", self.sd, 10)

    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """See `LengthPredictor.predict`."""
        truth = trace.output_tokens[rows]
        return np.maximum(1, np.rint(truth * np.exp(self.sd * _errors(seed, len(truth))))).astype(
            np.int64
        )


@dataclass(frozen=True)
class Regressed(LengthPredictor):
    """The best prediction of the log length from a signal, of correlation r with the truth.

    It shrinks towards the mean, as learnt predictions do: at 1 the truth, at 0 the same for all.
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
        # of mean, and correlation r with the truth; the best predictor's variance is r² of the
        # truth's
        error = _errors(seed, len(truth))
        logs = mean + r**2 * (np.log(truth) - mean) + r * math.sqrt(1 - r**2) * sd * error
        return np.asarray(np.maximum(1, np.rint(np.exp(logs))), dtype=np.int64)


@dataclass(frozen=True)
class Column(LengthPredictor):
    """A prediction that the trace holds, by its name: the column `predicted_tokens:NAME`."""

    kind: ClassVar[str] = "column"
    name: str = field(metadata={"shown": "NAME", "example": "column:mine"})

    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """See `LengthPredictor.predict`."""
        return _recorded(self, self.name, trace)[rows]


@dataclass(frozen=True)
class Learned(LengthPredictor):
    """What a learnt predictor foresaw when the trace was recorded: the column
    `predicted_tokens`.
    """

    kind: ClassVar[str] = "learned"

    def predict(self, rows: NDArray[np.int64], trace: Trace, seed: int) -> NDArray[np.int64]:
        """See `LengthPredictor.predict`."""
        return _recorded(self, LEARNED, trace)[rows]


PREDICTORS: dict[str, type[LengthPredictor]] = {
    p.kind: p for p in (Oracle, Noisy, Regressed, Learned, Column)
}


def _errors(seed: int, count: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, LENGTH_STREAM]).standard_normal(count)


def _recorded(predictor: LengthPredictor, name: str, trace: Trace) -> NDArray[np.int64]:
    if name not in trace.predictions:
        there = f"predictions in it: {', '.join(trace.predictions) or 'none'}"
        raise ValueError(
            f"length predictor {predictor}: the trace has no column {prediction_column(name)!r}"
            f" ({there})"
        )
    return trace.predictions[name]
