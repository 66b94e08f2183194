"""Models of acceptance fitted to a trace.

α, β and the Beta are found by maximum marginal likelihood, as if a request's rounds were
independent given its u; then the autocorrelation, the mean and the spread are brought to the
recorded ones by simulation.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.derived.acceptance_model import GRID, ORDER, AcceptanceModel, decoded_rounds
from lapsd.traces.derived.describe import OUTPUT_EDGES, autocorrelation, rounds_of
from lapsd.traces.derived.draft_schedule import DraftSchedule
from lapsd.traces.errors import FormatError
from lapsd.traces.trace import Trace

DEEPEST = 8  # draft positions with an α of their own; the deepest stands for those beyond
LEAST_REQUESTS, LEAST_ROUNDS = 10, 200
FIT_REQUESTS, FIT_STEPS = 3_000, 4


def fit_acceptance(trace: Trace) -> dict[str, AcceptanceModel]:
    """A model for each data set of `trace`.

    Raises
    ------
    FormatError
        If a data set has too few requests or rounds, or draft lengths that follow no rule known
        here.
    """
    return {name: _fit(name, trace.only(name)) for name in trace.datasets}


def _fit(name: str, trace: Trace) -> AcceptanceModel:
    rounds = int(trace.rounds.sum())
    if len(trace) < LEAST_REQUESTS or rounds < LEAST_ROUNDS:
        raise FormatError(
            f"data set {name!r} has {len(trace)} requests and {rounds} rounds: too few to fit"
            f" acceptance to (at least {LEAST_REQUESTS} and {LEAST_ROUNDS})"
        )
    model = _most_likely(name, trace, DraftSchedule.of(trace))
    return _simulated_moments(model, trace)


def _most_likely(name: str, trace: Trace, schedule: DraftSchedule) -> AcceptanceModel:
    """All but the autocorrelation, as if a request's rounds were independent given its u."""
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
        # α and u are told apart by the reference length alone; a weak pull to 0 settles what no
        # round tells
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
    """Draft tokens tested and accepted, by request, place in the output and place in the draft, (R,
    B, J).
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
    """The model with the recorded autocorrelation, mean and spread: simulate, compare, correct, a
    few times.
    """
    wanted_correlation, wanted_mean, wanted_sd = autocorrelation(trace, ORDER), *_moments(trace)
    repeats = -(-FIT_REQUESTS // len(trace))
    rows = np.tile(np.arange(len(trace)), repeats)
    for step in range(FIT_STEPS):
        rng = np.random.default_rng([step, len(trace)])
        made = _decode(model, model.propensities(trace.output_tokens[rows], rng), trace, rows, rng)
        # what a step of latent correlation gives is about what a normal variable keeps when cut
        # into few values
        missing = np.nan_to_num(wanted_correlation - autocorrelation(made, ORDER)) / 0.8
        latent = _admissible(np.array(model.latent) + missing)
        mean, sd = _moments(made)
        # mean(1 - mean) is the slope of the logistic, and what the Beta's variance is a share of
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
    """Mean and standard deviation, over requests, of accepted over drafted tokens."""
    return float(trace.acceptance.mean()), float(trace.acceptance.std())


def _admissible(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest multiple of the correlations that some stationary process has."""
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
    """A trace of requests with the lengths of `like`'s rows."""
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
