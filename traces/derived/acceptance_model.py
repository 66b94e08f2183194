"""A model of acceptance, and rounds generated from it.

Each data set has its own model. If the previous tokens of a draft were accepted, its j-th token is
accepted with probability logistic(α_j + β_b + u). α depends on the position in the draft, β on the
position in the output, and u on the request. A request's mean acceptance (at a reference draft
length, well into the output) is Beta distributed, and the Beta's mean is a quadratic function of
the log output length; u follows from the mean acceptance. A Gaussian copula correlates the rounds
of a request: an autoregressive normal variable with one value per round determines how many draft
tokens are accepted. `lapsd.traces.derived.acceptance_fit` fits the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.derived.describe import OUTPUT_EDGES
from lapsd.traces.derived.draft_schedule import DraftSchedule

ORDER = 5  # order of the autoregression
GRID = np.linspace(-7.0, 7.0, 57)  # values of u, for the integral over requests
BURN_IN = 50


@dataclass(frozen=True)
class AcceptanceModel:
    """Model of the acceptance of one data set.

    Attributes
    ----------
    dataset : str
        Name of the data set.
    by_draft : tuple[float, ...]
        α_j, j = 1, 2, ...
    by_output : tuple[float, ...]
        β by bins of tokens emitted before the round (`OUTPUT_EDGES`), the last one 0.
    mean_by_length : tuple[float, ...]
        Coefficients, lowest power first, of the logit of the Beta's mean as a polynomial in the
        standardised log output length.
    log_length : tuple[float, float]
        Mean and standard deviation of the log output length, which standardise it.
    concentration : float
        Of the Beta; its variance is mean · (1 − mean) / (1 + concentration).
    latent : tuple[float, ...]
        Correlations of the latent variable at lags 1 to `ORDER`.
    schedule : DraftSchedule
        Draft lengths.

    Examples
    --------
    >>> import lapsd
    >>> trace = lapsd.load_trace("reference")
    >>> model = lapsd.fit_acceptance(trace.only("code"))["code"]
    >>> model.dataset, len(model.by_draft)
    ('code', 4)
    """

    dataset: str
    by_draft: tuple[float, ...]
    by_output: tuple[float, ...]
    mean_by_length: tuple[float, ...]
    log_length: tuple[float, float]
    concentration: float
    latent: tuple[float, ...]
    schedule: DraftSchedule

    def acceptance_of(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return expected accepted / drafted tokens at the reference draft length, for each `u`."""
        depth = np.minimum(np.arange(self.schedule.n), len(self.by_draft) - 1)
        survive = np.cumprod(_logistic(np.array(self.by_draft)[depth] + u[..., None]), axis=-1)
        return np.asarray(survive.mean(axis=-1))

    def beta_mean(self, output_tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the Beta's mean at each output length."""
        centre, scale = self.log_length
        # do not extrapolate the quadratic beyond the observed lengths
        x = np.clip((np.log(output_tokens) - centre) / scale, -2.5, 2.5)
        return _logistic(np.polynomial.polynomial.polyval(x, self.mean_by_length))

    def propensities(
        self, output_tokens: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Draw `u` for each request."""
        mean = self.beta_mean(output_tokens)
        drawn = rng.beta(mean * self.concentration, (1 - mean) * self.concentration)
        return np.interp(drawn, self.acceptance_of(GRID), GRID)


def decoded_rounds(
    model: AcceptanceModel,
    u: NDArray[np.float64],
    output_tokens: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Generate the rounds of all requests; the k-th rounds of all requests are drawn together.

    Returns
    -------
    drafted, accepted : int64 arrays (rounds of all requests,)
        Rounds of the first request, then of the second, and so on.
    rounds : int64 array (N,)
        Number of rounds of each request.
    """
    from scipy.special import ndtr

    count = len(u)
    alpha, beta = np.array(model.by_draft), np.array(model.by_output)
    weights, scale = _autoregression(model.latent)
    past = [np.zeros(count) for _ in range(ORDER)]
    for _ in range(BURN_IN if any(model.latent) else 0):
        past = [_next(past, weights, scale, rng), *past[:-1]]
    emitted, n = np.zeros(count, dtype=np.int64), np.full(count, model.schedule.n, dtype=np.int64)
    running = np.arange(count)
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    while len(running):
        z = _next(past, weights, scale, rng)
        past = [z, *past[:-1]]
        level = u[running] + beta[np.searchsorted(OUTPUT_EDGES, emitted[running], side="right")]
        chance, survive = ndtr(-z[running]), np.ones(len(running))
        run = np.zeros(len(running), dtype=np.int64)
        for j in range(int(n[running].max())):
            survive = survive * _logistic(alpha[min(j, len(alpha) - 1)] + level)
            on = (chance < survive) & (j < n[running])
            if not on.any():
                break
            run += on
        left = output_tokens[running] - emitted[running]
        kept = np.minimum(run, left)  # tokens after the end of the output do not count
        steps.append((running, n[running], kept))
        emitted[running] += kept + 1
        if model.schedule.kind == "heuristic":
            n[running] = np.where(run == n[running], n[running] + 2, np.maximum(1, n[running] - 1))
        running = running[emitted[running] < output_tokens[running]]
    request = np.concatenate([s[0] for s in steps])
    order = np.argsort(request, kind="stable")
    drafted, accepted = (np.concatenate([s[k] for s in steps])[order] for k in (1, 2))
    return drafted, accepted, np.bincount(request, minlength=count).astype(np.int64)


def _autoregression(latent: Sequence[float]) -> tuple[NDArray[np.float64], float]:
    """Return the weights of past values and the standard deviation of the innovation.

    They solve the Yule-Walker equations for unit variance.
    """
    from scipy.linalg import solve_toeplitz

    correlation = np.array(latent)
    weights = solve_toeplitz(np.append(1.0, correlation[:-1]), correlation)
    return weights, float(np.sqrt(max(1e-6, 1 - weights @ correlation)))


def _next(
    past: list[NDArray[np.float64]],
    weights: NDArray[np.float64],
    scale: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw the next value of the autoregression for each request."""
    value = scale * rng.standard_normal(len(past[0]))
    for weight, values in zip(weights.tolist(), past, strict=True):
        value += weight * values
    return value


def _logistic(x: Any) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))
