"""Integer cost terms fitted to timings, with their errors on held-out samples."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from lapsd.traces import Linear
from lapsd.traces.provenance import FitError


class Fit(NamedTuple):
    """A fitted term and its error on held-out samples."""

    term: Linear
    error: FitError


def errors(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> FitError:
    """Return the median and the 90th percentile of |predicted − measured| / measured."""
    relative = np.abs(predicted - measured) / np.maximum(measured, 1)
    return FitError(
        median_error=float(np.median(relative)),
        p90_error=float(np.percentile(relative, 90)),
        samples=len(measured),
    )


def _solve(tokens: NDArray[np.float64], ns: NDArray[np.float64]) -> tuple[float, float]:
    """Return the base and slope, both at least 0, that minimise the relative error.

    The fit is repeated: the first fit estimates the cost of each sample, and the second weights the
    residuals by these estimates. Weights from the samples themselves would favour short samples,
    and the costs would be too low. The loss is soft-L1. For ordinary jitter it behaves like least
    squares, so that sums of many costs are right; interruptions by the system, which take several
    times the usual time, have little weight.
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
    """Fit `base + slope * tokens` in integers by least squares, so that sums of costs are right.

    Unlike in `fit_linear`, interruptions by the system count with their whole time.

    Parameters
    ----------
    tokens, ns : array
        (S,) each, S >= 1.
    least : int
        Lower bound of the base.
    """
    x, y = np.asarray(tokens, dtype=float), np.asarray(ns, dtype=float)
    longest = max(float(x.max()), 1.0)
    columns = [np.ones(len(x)), *([x / longest] if len(set(x)) > 1 else [])]
    fitted = nnls(np.column_stack(columns), y)[0]
    slope = round(float(fitted[1]) / longest) if len(fitted) > 1 else 0
    if (y - slope * x).mean() < least:
        # with the base at its lower bound, the slope of least squares would make the sum too large
        slope = max(0, int((y - least).sum() // max(x.sum(), 1)))
    # the base compensates for the rounding of the slope
    return Linear(max(least, round(float((y - slope * x).mean()))), slope)


def fit_linear(tokens: NDArray[np.int64], ns: NDArray[np.int64], least: int = 0) -> Fit:
    """Fit `base + slope * tokens` in integers by robust least squares of relative errors.

    The term is fitted to all samples. Its errors come from a second fit to a random half of the
    samples, evaluated on the other half.

    Parameters
    ----------
    tokens, ns : array
        (S,) each, S >= 1.
    least : int
        Lower bound of the base.
    """
    x, y = np.asarray(tokens, dtype=float), np.maximum(np.asarray(ns, dtype=float), 1.0)
    order = np.random.default_rng(0).permutation(len(x))
    # with fewer than 4 samples nothing is held out: the errors are in-sample
    seen, unseen = (order, order) if len(x) < 4 else (order[: len(x) // 2], order[len(x) // 2 :])
    base, slope = _solve(x[seen], y[seen])
    error = errors(base + slope * x[unseen], y[unseen])
    base, slope = _solve(x, y)
    return Fit(Linear(max(least, round(base)), round(slope)), error)
