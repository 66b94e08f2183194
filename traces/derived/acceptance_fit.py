"""Fit models of acceptance to a trace.

Maximum marginal likelihood gives α, β and the Beta, as if the rounds of a request were independent
given its u. Then simulations adjust the model until its autocorrelation, mean and standard
deviation equal the recorded ones.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.derived.acceptance_model import GRID, ORDER, AcceptanceModel, decoded_rounds
from lapsd.traces.derived.describe import OUTPUT_EDGES, autocorrelation, rounds_of
from lapsd.traces.derived.draft_schedule import DraftSchedule
from lapsd.traces.errors import FormatError
from lapsd.traces.trace import Trace

DEEPEST = 8  # draft positions with an α of their own; later positions share the last α
LEAST_REQUESTS, LEAST_ROUNDS = 10, 200
FIT_REQUESTS, FIT_STEPS = 3_000, 4


def fit_acceptance(trace: Trace) -> dict[str, AcceptanceModel]:
    """Return a model for each data set of `trace`.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.

    Raises
    ------
    FormatError
        If a data set has too few requests or rounds, or its draft lengths follow no known schedule.

    Examples
    --------
    >>> import lapsd
    >>> models = lapsd.fit_acceptance(lapsd.load_trace("reference").only("code"))
    >>> list(models)
    ['code']
    """
    return {name: _fit(name, trace.only(name)) for name in trace.datasets}


def _fit(name: str, trace: Trace) -> AcceptanceModel:
    rounds = int(trace.rounds.sum())
    if len(trace) < LEAST_REQUESTS or rounds < LEAST_ROUNDS:
        raise FormatError(
            f"data set {name!r} has {len(trace)} requests and {rounds} rounds: too few to fit"
            f" acceptance (needs at least {LEAST_REQUESTS} and {LEAST_ROUNDS})"
        )
    model = _most_likely(name, trace, DraftSchedule.of(trace))
    return _simulated_moments(model, trace)


def _most_likely(name: str, trace: Trace, schedule: DraftSchedule) -> AcceptanceModel:
    """Return the model without autocorrelation, by maximum marginal likelihood."""
    from scipy.optimize import minimize
    from scipy.stats import beta

    tested, accepted = _counts(trace)
    places, depth = tested.shape[1:]
    logs = np.log(trace.output_tokens)
    model = AcceptanceModel(
        name,
        (0.0,) * depth,
        (0.0,) * places,
        (0.0, 0.0, 0.0),
        (float(logs.mean()), float(max(logs.std(), 1e-9))),
        1.0,
        (0.0,) * ORDER,
        schedule,
    )
    flat_tested, flat_accepted = tested.reshape(len(trace), -1), accepted.reshape(len(trace), -1)

    def unpacked(values: NDArray[np.float64]) -> AcceptanceModel:
        by_draft, by_output, rest = np.split(values, [depth, depth + places - 1])
        return replace(
            model,
            by_draft=tuple(by_draft.tolist()),
            by_output=(*by_output.tolist(), 0.0),
            mean_by_length=tuple(rest[:3].tolist()),
            concentration=float(np.exp(rest[3])),
        )

    def surprise(values: NDArray[np.float64]) -> float:
        m = unpacked(values)
        logit = np.array(m.by_output)[:, None, None] + np.array(m.by_draft)[:, None] + GRID
        logit = logit.reshape(-1, len(GRID))
        # log P = k · logit − n · log(1 + e^logit), for each request at each u
        likelihood = flat_accepted @ logit - flat_tested @ np.logaddexp(0, logit)
        edges = m.acceptance_of(
            np.append(GRID - (GRID[1] - GRID[0]) / 2, GRID[-1] + (GRID[1] - GRID[0]) / 2)
        )
        mean = m.beta_mean(trace.output_tokens)[:, None]
        weight = np.diff(
            beta.cdf(edges, mean * m.concentration, (1 - mean) * m.concentration), axis=1
        )
        top = likelihood.max(axis=1, keepdims=True)
        total = (np.exp(likelihood - top) * np.maximum(weight, 1e-300)).sum(axis=1)
        # only the reference draft length separates α from u; a weak penalty determines the values
        # on which no round depends
        return float(
            -(np.log(total) + top[:, 0]).sum() + 0.01 * (values[: depth + places - 1] ** 2).sum()
        )

    start = np.zeros(depth + places + 3)
    overall = np.clip(trace.accepted.sum() / trace.drafted.sum(), 0.01, 0.99)
    start[-4], start[-1] = np.log(overall / (1 - overall)), np.log(20.0)
    bounds = [(-6.0, 6.0)] * (depth + places - 1) + [
        (-6.0, 6.0),
        (-2.0, 2.0),
        (-1.0, 1.0),
        (0.0, np.log(5_000.0)),
    ]
    return unpacked(minimize(surprise, start, method="L-BFGS-B", bounds=bounds).x)


def _counts(trace: Trace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return counts of draft tokens tested and accepted, (R, B, J).

    The axes are requests, bins of the position in the output, and positions in the draft.
    """
    rounds = rounds_of(trace)
    places, depth = len(OUTPUT_EDGES) + 1, min(DEEPEST, int(trace.drafted.max()))
    cell = rounds.request * places + np.searchsorted(OUTPUT_EDGES, rounds.before, side="right")
    counts = []
    for reached in (rounds.tested, trace.accepted):
        columns = [
            np.bincount(cell, reached > j, minlength=len(trace) * places) for j in range(depth - 1)
        ]
        columns.append(
            np.bincount(cell, np.maximum(reached - (depth - 1), 0), minlength=len(trace) * places)
        )
        counts.append(np.stack(columns, axis=-1).reshape(len(trace), places, depth).astype(float))
    return counts[0], counts[1]


def _simulated_moments(model: AcceptanceModel, trace: Trace) -> AcceptanceModel:
    """Return the model adjusted to the trace's autocorrelation, mean and standard deviation.

    Each step simulates the model, compares it with the trace and corrects the parameters.
    """
    wanted_correlation, wanted_mean, wanted_sd = autocorrelation(trace, ORDER), *_moments(trace)
    repeats = -(-FIT_REQUESTS // len(trace))
    rows = np.tile(np.arange(len(trace)), repeats)
    for step in range(FIT_STEPS):
        rng = np.random.default_rng([step, len(trace)])
        made = _decode(model, model.propensities(trace.output_tokens[rows], rng), trace, rows, rng)
        # a change of the latent correlation changes that of the rounds by about 0.8 of it, since
        # rounds take few values
        change = np.nan_to_num(wanted_correlation - autocorrelation(made, ORDER)) / 0.8
        latent = _admissible(np.array(model.latent) + change)
        mean, sd = _moments(made)
        # mean · (1 - mean) is the slope of the logistic; the Beta's variance is a share of it
        slope = float(np.mean(m := model.beta_mean(trace.output_tokens)) * (1 - m.mean()))
        share = 1 / (1 + model.concentration) + (wanted_sd**2 - sd**2) / slope
        level = model.mean_by_length[0] + (wanted_mean - mean) / slope
        model = replace(
            model,
            latent=tuple(latent.tolist()),
            mean_by_length=(float(level), *model.mean_by_length[1:]),
            concentration=float(1 / np.clip(share, 1 / 5_001, 0.5) - 1),
        )
    return model


def _moments(trace: Trace) -> tuple[float, float]:
    """Return mean and standard deviation, over requests, of accepted / drafted tokens."""
    return float(trace.acceptance.mean()), float(trace.acceptance.std())


def _admissible(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlations, shrunk as little as needed for a stationary process."""
    from scipy.linalg import toeplitz

    for shrink in (1.0, 0.9, 0.8, 0.6, 0.4, 0.2):
        tried = np.clip(correlation * shrink, -0.95, 0.95)
        if np.linalg.eigvalsh(toeplitz(np.append(1.0, tried))).min() > 0.01:
            return tried
    return np.zeros_like(correlation)


def _decode(
    model: AcceptanceModel,
    u: NDArray[np.float64],
    like: Trace,
    rows: NDArray[np.int64],
    rng: np.random.Generator,
) -> Trace:
    """Return a generated trace whose requests have the lengths of the given rows of `like`."""
    outputs = like.output_tokens[rows]
    drafted, accepted, rounds = decoded_rounds(model, u, outputs, rng)
    return Trace(
        request_id=[""] * len(rows),
        dataset=[model.dataset] * len(rows),
        prompt_tokens=like.prompt_tokens[rows],
        output_tokens=outputs,
        offsets=np.append(0, np.cumsum(rounds)).astype(np.int64),
        drafted=drafted,
        accepted=accepted,
    )
