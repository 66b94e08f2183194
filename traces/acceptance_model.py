"""A model of acceptance, fitted to a trace: as many requests as wanted that accept like the recorded ones.

Per data set. The j-th token of a draft is accepted, if those before it were, with probability
logistic(α_j + β_b + u): α by place in the draft, β by place in the output, u the request's own. A request's mean
acceptance (at a reference draft length, well into the output) is Beta distributed, its mean a quadratic in the log
output length; u follows from it. Rounds of a request hang together through a Gaussian copula: an autoregressive
normal variable, one value a round, says how far its draft runs. α, β and the Beta are found by maximum marginal
likelihood; then the autocorrelation, the mean and the spread are brought to the recorded ones by simulation.

Output lengths (with their prompts) are resampled from the trace, or given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.describe import OUTPUT_EDGES, autocorrelation, rounds_of
from traces.draft_schedule import DraftSchedule
from traces.errors import FormatError
from traces.trace import Trace

DEEPEST = 8  # draft positions with an α of their own; the deepest stands for those beyond
ORDER = 5  # of the autoregression
LEAST_REQUESTS, LEAST_ROUNDS = 10, 200
GRID = np.linspace(-7.0, 7.0, 57)  # of u, for the integral over requests
FIT_REQUESTS, FIT_STEPS = 3_000, 4
MOST_AT_ONCE = 20_000
BURN_IN = 50


@dataclass(frozen=True)
class AcceptanceModel:
    """One data set's acceptance.

    Attributes
    ----------
    dataset : str
    by_draft : α_j, j = 1, 2, ...
    by_output : β by bins of tokens emitted before (`OUTPUT_EDGES`), the last one 0
    mean_by_length : logit of the Beta's mean as a polynomial in standardised log output length, lowest power first
    log_length : mean and standard deviation that standardise it
    concentration : of the Beta; its variance is mean · (1 − mean) / (1 + concentration)
    latent : correlations of the latent variable at lags 1 to `ORDER`
    schedule : draft lengths
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
        """Expected accepted over drafted tokens of a draft of the reference length, by `u`."""
        depth = np.minimum(np.arange(self.schedule.n), len(self.by_draft) - 1)
        survive = np.cumprod(_logistic(np.array(self.by_draft)[depth] + u[..., None]), axis=-1)
        return np.asarray(survive.mean(axis=-1))

    def beta_mean(self, output_tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """The Beta's mean at output lengths."""
        centre, scale = self.log_length
        # beyond the lengths that were seen the quadratic is not followed
        x = np.clip((np.log(output_tokens) - centre) / scale, -2.5, 2.5)
        return _logistic(np.polynomial.polynomial.polyval(x, self.mean_by_length))

    def propensities(self, output_tokens: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
        """A `u` for each request."""
        mean = self.beta_mean(output_tokens)
        drawn = rng.beta(mean * self.concentration, (1 - mean) * self.concentration)
        return np.interp(drawn, self.acceptance_of(GRID), GRID)


def fit_acceptance(trace: Trace) -> dict[str, AcceptanceModel]:
    """A model for each data set of `trace`.

    Raises
    ------
    FormatError
        If a data set has too few requests or rounds, or draft lengths that follow no rule known here.
    """
    return {name: _fit(name, trace.only(name)) for name in trace.datasets}


def draft_schedule(trace: Trace) -> DraftSchedule:
    """The rule that all draft lengths of `trace` follow.

    Raises
    ------
    FormatError
        If it is neither a constant nor transformers' heuristic.
    """
    lengths = trace.drafted
    if (lengths == lengths[0]).all() and lengths[0] > 0:
        return DraftSchedule("constant", int(lengths[0]))
    first = lengths[trace.offsets[:-1]]
    within = np.ones(len(lengths), dtype=bool)
    within[trace.offsets[:-1]] = False
    full = np.append(False, trace.accepted[:-1] == lengths[:-1])
    before = np.append(0, lengths[:-1])
    expected = np.where(full, before + 2, np.maximum(1, before - 1))
    if (first == first[0]).all() and (lengths == expected)[within].all():
        return DraftSchedule("heuristic", int(first[0]))
    raise FormatError("the trace's draft lengths follow no rule known here (a constant, or transformers' heuristic)")


def _fit(name: str, trace: Trace) -> AcceptanceModel:
    rounds = int(trace.rounds.sum())
    if len(trace) < LEAST_REQUESTS or rounds < LEAST_ROUNDS:
        raise FormatError(
            f"data set {name!r} has {len(trace)} requests and {rounds} rounds: too few to fit acceptance to "
            f"(at least {LEAST_REQUESTS} and {LEAST_ROUNDS})"
        )
    model = _most_likely(name, trace, draft_schedule(trace))
    return _simulated_moments(model, trace)


def _most_likely(name: str, trace: Trace, schedule: DraftSchedule) -> AcceptanceModel:
    """All but the autocorrelation, as if a request's rounds were independent given its u."""
    from scipy.optimize import minimize
    from scipy.stats import beta

    tested, accepted = _counts(trace)
    places, depth = tested.shape[1:]
    logs = np.log(trace.output_tokens)
    model = AcceptanceModel(
        name, (0.0,) * depth, (0.0,) * places, (0.0, 0.0, 0.0), (float(logs.mean()), float(max(logs.std(), 1e-9))),
        1.0, (0.0,) * ORDER, schedule,
    )  # fmt: skip
    flat_tested, flat_accepted = tested.reshape(len(trace), -1), accepted.reshape(len(trace), -1)

    def unpacked(values: NDArray[np.float64]) -> AcceptanceModel:
        by_draft, by_output, rest = np.split(values, [depth, depth + places - 1])
        return replace(
            model, by_draft=tuple(by_draft.tolist()), by_output=(*by_output.tolist(), 0.0),
            mean_by_length=tuple(rest[:3].tolist()), concentration=float(np.exp(rest[3])),
        )  # fmt: skip

    def surprise(values: NDArray[np.float64]) -> float:
        m = unpacked(values)
        logit = np.array(m.by_output)[:, None, None] + np.array(m.by_draft)[:, None] + GRID
        logit = logit.reshape(-1, len(GRID))
        # log P = k · logit − n · log(1 + e^logit), for each request at each u
        likelihood = flat_accepted @ logit - flat_tested @ np.logaddexp(0, logit)
        edges = m.acceptance_of(np.append(GRID - (GRID[1] - GRID[0]) / 2, GRID[-1] + (GRID[1] - GRID[0]) / 2))
        mean = m.beta_mean(trace.output_tokens)[:, None]
        weight = np.diff(beta.cdf(edges, mean * m.concentration, (1 - mean) * m.concentration), axis=1)
        top = likelihood.max(axis=1, keepdims=True)
        total = (np.exp(likelihood - top) * np.maximum(weight, 1e-300)).sum(axis=1)
        # α and u are told apart by the reference length alone; a weak pull to 0 settles what no round tells
        return float(-(np.log(total) + top[:, 0]).sum() + 0.01 * (values[: depth + places - 1] ** 2).sum())

    start = np.zeros(depth + places + 3)
    overall = np.clip(trace.accepted.sum() / trace.drafted.sum(), 0.01, 0.99)
    start[-4], start[-1] = np.log(overall / (1 - overall)), np.log(20.0)
    bounds = [(-6.0, 6.0)] * (depth + places - 1) + [(-6.0, 6.0), (-2.0, 2.0), (-1.0, 1.0), (0.0, np.log(5_000.0))]
    return unpacked(minimize(surprise, start, method="L-BFGS-B", bounds=bounds).x)


def _counts(trace: Trace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draft tokens tested and accepted, by request, place in the output and place in the draft, (R, B, J)."""
    rounds = rounds_of(trace)
    places, depth = len(OUTPUT_EDGES) + 1, min(DEEPEST, int(trace.drafted.max()))
    cell = rounds.request * places + np.searchsorted(OUTPUT_EDGES, rounds.before, side="right")
    found = []
    for reached in (rounds.tested, trace.accepted):
        columns = [np.bincount(cell, reached > j, minlength=len(trace) * places) for j in range(depth - 1)]
        columns.append(np.bincount(cell, np.maximum(reached - (depth - 1), 0), minlength=len(trace) * places))
        found.append(np.stack(columns, axis=-1).reshape(len(trace), places, depth).astype(float))
    return found[0], found[1]


def _simulated_moments(model: AcceptanceModel, trace: Trace) -> AcceptanceModel:
    """The model with the recorded autocorrelation, mean and spread: simulate, compare, correct, a few times."""
    wanted_correlation, wanted_mean, wanted_sd = autocorrelation(trace, ORDER), *_moments(trace)
    repeats = -(-FIT_REQUESTS // len(trace))
    rows = np.tile(np.arange(len(trace)), repeats)
    for step in range(FIT_STEPS):
        rng = np.random.default_rng([step, len(trace)])
        made = _decode(model, model.propensities(trace.output_tokens[rows], rng), trace, rows, rng)
        # what a step of latent correlation gives is about what a normal variable keeps when cut into few values
        missing = np.nan_to_num(wanted_correlation - autocorrelation(made, ORDER)) / 0.8
        latent = _admissible(np.array(model.latent) + missing)
        mean, sd = _moments(made)
        # mean(1 - mean) is the slope of the logistic, and what the Beta's variance is a share of
        slope = float(np.mean(m := model.beta_mean(trace.output_tokens)) * (1 - m.mean()))
        share = 1 / (1 + model.concentration) + (wanted_sd**2 - sd**2) / slope
        level = model.mean_by_length[0] + (wanted_mean - mean) / slope
        model = replace(
            model, latent=tuple(latent.tolist()), mean_by_length=(float(level), *model.mean_by_length[1:]),
            concentration=float(1 / np.clip(share, 1 / 5_001, 0.5) - 1),
        )  # fmt: skip
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


def generate(
    trace: Trace,
    models: Mapping[str, AcceptanceModel],
    *,
    requests: int | None = None,
    prompt_tokens: Sequence[int] | NDArray[np.int64] | None = None,
    output_tokens: Sequence[int] | NDArray[np.int64] | None = None,
    spread: float = 1.0,
    seed: int = 0,
) -> Trace:
    """Requests that accept like those of `trace`.

    Parameters
    ----------
    trace, models : a trace, and what `fit_acceptance` made of it. Data sets keep their shares.
    requests : how many; their lengths are those of the trace's requests, drawn with replacement.
    prompt_tokens, output_tokens : instead of a number of requests, their lengths, both (N,).
    spread : scales how far requests' logits lie from the mean of all; 0: requests differ by chance only.
    seed : the same gives the same trace.

    Raises
    ------
    ValueError
        If a number is out of range, or not exactly one of `requests` and lengths is given.
    """
    if (requests is None) == (output_tokens is None) or (output_tokens is None) != (prompt_tokens is None):
        raise ValueError("generate: give either a number of requests, or prompt and output lengths")
    if not 0 <= spread <= 10:
        raise ValueError(f"spread {spread}: must be between 0 and 10")
    if requests is not None and not 1 <= requests <= 10**7:
        raise ValueError(f"requests {requests}: must be between 1 and 10000000")
    rng = np.random.default_rng([seed, 5])
    count = len(output_tokens) if output_tokens is not None else int(requests or 0)
    source = rng.integers(len(trace), size=count)
    prompts = trace.prompt_tokens[source] if prompt_tokens is None else np.asarray(prompt_tokens, dtype=np.int64)
    outputs = trace.output_tokens[source] if output_tokens is None else np.asarray(output_tokens, dtype=np.int64)
    names = np.array([trace.dataset[row] for row in source.tolist()], dtype=object)
    u = np.zeros(count)
    for name, model in models.items():
        u[names == name] = model.propensities(outputs[names == name], rng)
    u = u.mean() + spread * (u - u.mean())
    drafted, accepted, rounds = [], [], np.zeros(count, dtype=np.int64)
    order: list[NDArray[np.int64]] = []
    for name, model in models.items():
        rows = np.flatnonzero(names == name)
        for some in np.array_split(rows, -(-len(rows) // MOST_AT_ONCE)) if len(rows) else []:
            made, done, counts = _rounds(model, u[some], outputs[some], rng)
            drafted.append(made)
            accepted.append(done)
            rounds[some] = counts
            order.append(some)
    places = np.concatenate(order)
    flat = _gathered(places, rounds)
    told = {
        "source": f"{count} requests generated from acceptance fitted to: {trace.metadata.get('source', 'a trace')}",
        "generated": {
            "seed": seed, "spread": spread, "lengths": "given" if output_tokens is not None else "resampled",
            "models": [asdict(m) for m in models.values()],
        },
    }  # fmt: skip
    # a prediction of the recorded length says nothing of a given one
    recorded = trace.predictions.items() if output_tokens is None else ()
    return Trace(
        request_id=[f"generated-{i}" for i in range(count)], dataset=names.tolist(), prompt_tokens=prompts,
        output_tokens=outputs, offsets=np.append(0, np.cumsum(rounds)).astype(np.int64),
        drafted=np.concatenate(drafted)[flat], accepted=np.concatenate(accepted)[flat],
        predictions={name: tokens[source] for name, tokens in recorded}, metadata=told,
    )  # fmt: skip


def _gathered(places: NDArray[np.int64], rounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the rounds of request 0, 1, ... lie in arrays that hold requests in the order `places`."""
    begins = np.empty(len(places), dtype=np.int64)
    begins[places] = np.append(0, np.cumsum(rounds[places])[:-1])
    first = np.repeat(begins - np.append(0, np.cumsum(rounds)[:-1]), rounds)
    return np.asarray(first + np.arange(int(rounds.sum())))


def _decode(
    model: AcceptanceModel, u: NDArray[np.float64], like: Trace, rows: NDArray[np.int64], rng: np.random.Generator
) -> Trace:
    """A trace of requests with the lengths of `like`'s rows."""
    outputs = like.output_tokens[rows]
    drafted, accepted, rounds = _rounds(model, u, outputs, rng)
    return Trace(
        request_id=[""] * len(rows), dataset=[model.dataset] * len(rows), prompt_tokens=like.prompt_tokens[rows],
        output_tokens=outputs, offsets=np.append(0, np.cumsum(rounds)).astype(np.int64), drafted=drafted,
        accepted=accepted,
    )  # fmt: skip


def _rounds(
    model: AcceptanceModel, u: NDArray[np.float64], output_tokens: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Drafted and accepted tokens, request after request, and how many rounds each has: all requests in step."""
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
        kept = np.minimum(run, left)  # what would come after the output's end is not part of it
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
    """Yule-Walker: weights of the past values, and the standard deviation of what is new, for unit variance."""
    from scipy.linalg import solve_toeplitz

    correlation = np.array(latent)
    weights = solve_toeplitz(np.append(1.0, correlation[:-1]), correlation)
    return weights, float(np.sqrt(max(1e-6, 1 - weights @ correlation)))


def _next(
    past: list[NDArray[np.float64]], weights: NDArray[np.float64], scale: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    found = scale * rng.standard_normal(len(past[0]))
    for weight, values in zip(weights.tolist(), past, strict=True):
        found += weight * values
    return found


def _logistic(x: Any) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))
