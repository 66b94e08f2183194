"""Integer cost terms fitted to timings, with their errors on samples that the fit has not seen."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from lapsd.traces import Linear
from lapsd.traces.provenance import FitError


class Fit(NamedTuple):
    """A fitted term, and how well it fits."""

    term: Linear
    error: FitError


def errors(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> FitError:
    """Median and 90th percentile of |predicted − measured| / measured."""
    relative = np.abs(predicted - measured) / np.maximum(measured, 1)
    return FitError(
        median_error=float(np.median(relative)),
        p90_error=float(np.percentile(relative, 90)),
        samples=len(measured),
    )


def _solve(tokens: NDArray[np.float64], ns: NDArray[np.float64]) -> tuple[float, float]:
    """Base and slope, both >= 0, of least error relative to the cost itself.

    Fitted twice: the first fit tells how large the cost is at each sample, and the second weighs by
    that; weighing by the samples would favour the short ones and come out low. The loss is soft-L1:
    ordinary jitter counts as in least squares, so that sums of many costs come out right; an
    interruption by the system, several times the usual, counts little.
    """
    scale, longest = float(np.median(ns)), max(float(tokens.max()), 1.0)
    expected, fitted = ns, np.array([0.9, 0.1])
    for _ in range(2):

        def residuals(
            term: NDArray[np.float64], expected: NDArray[np.float64] = expected
        ) -> NDArray[np.float64]:
            return (scale * (term[0] + term[1] * tokens / longest) - ns) / expected

        fitted = least_squares(residuals, fitted, bounds=(0, np.inf), loss="soft_l1", f_scale=0.3).x
        expected = np.maximum(scale * (fitted[0] + fitted[1] * tokens / longest), 1.0)
    return float(fitted[0]) * scale, float(fitted[1]) * scale / longest


def fit_mean(tokens: NDArray[np.int64], ns: NDArray[np.int64], least: int = 0) -> Linear:
    """`base + slope * tokens` in integers, by plain least squares: what the samples take on
    average, all of them.

    For costs whose *sums* must come out right: interruptions by the system count for what they
    took.

    Parameters
    ----------
    tokens, ns : (S,) each, S >= 1.
    least : lower bound of the base.
    """
    x, y = np.asarray(tokens, dtype=float), np.asarray(ns, dtype=float)
    longest = max(float(x.max()), 1.0)
    columns = [np.ones(len(x)), *([x / longest] if len(set(x)) > 1 else [])]
    fitted = nnls(np.column_stack(columns), y)[0]
    slope = round(float(fitted[1]) / longest) if len(fitted) > 1 else 0
    if (
        y - slope * x
    ).mean() < least:  # a line through its lowest base: of least squares the sum would be too large
        slope = max(0, int((y - least).sum() // max(x.sum(), 1)))
    # what rounding the slope moved, the base takes back
    return Linear(max(least, round(float((y - slope * x).mean()))), slope)


def fit_linear(tokens: NDArray[np.int64], ns: NDArray[np.int64], least: int = 0) -> Fit:
    """`base + slope * tokens` in integers.

    The errors are those of a fit to one half of the samples, drawn at random, on the other; the
    term itself is fitted to all.

    Parameters
    ----------
    tokens, ns : (S,) each, S >= 1.
    least : lower bound of the base.
    """
    x, y = np.asarray(tokens, dtype=float), np.maximum(np.asarray(ns, dtype=float), 1.0)
    order = np.random.default_rng(0).permutation(len(x))
    # too few samples to hold any back: their own fit's errors
    seen, unseen = (order, order) if len(x) < 4 else (order[: len(x) // 2], order[len(x) // 2 :])
    base, slope = _solve(x[seen], y[seen])
    error = errors(base + slope * x[unseen], y[unseen])
    base, slope = _solve(x, y)
    return Fit(Linear(max(least, round(base)), round(slope)), error)
