"""Costs of a profile, fitted to the times of a target and a draft model.

Between the points of its grid a profile's costs are linear. The errors of the fits are measured at
other points: batch sizes, draft lengths and contexts between the points of the grid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.costs import Costs, Linear, Piecewise, RoundTerms, StepTerms, Swap
from lapsd.traces.operator_tables.model_times import ModelTimes
from lapsd.traces.profile import Profile
from lapsd.traces.provenance import FitError, Fits, GridError

SHORTEST, MIDDLE = 16, 5  # tokens of the shortest context; width at which slopes are fitted
# kernels change at 128 tokens, so the batch sizes after 16, 32, 64 and 128 are included
BATCHES = (
    *range(1, 9),
    *(10, 12, 14, 16, 17, 20, 24, 28, 32, 33, 40, 48, 56, 64, 65, 80, 96, 112, 128, 129),
    *(160, 192, 224, 256),
)
STEPPED = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256)  # batch sizes of steps with prompts
WIDTHS = tuple(range(1, 17))
PROMPTS = (
    *(1, 8, 16, 32, 48, 64, 96, 128, 129, 160, 192, 224, 256, 257, 320, 384, 448, 512, 513, 640),
    *(768, 896, 1_024, 1_025, 1_280, 1_536, 1_792, 2_048, 2_560, 3_072, 4_096, 6_144, 8_192),
    *(12_288, 16_384),
)
DRAFTED = (0, 2, 4, 8)  # draft lengths of the decoding requests in steps with prompts
SAMPLES = 1_500  # passes at which errors are measured, of each kind


@dataclass(frozen=True)
class Grid:
    """The points at which times are taken.

    Attributes
    ----------
    batches, widths : batch sizes, and tokens per request of a verify pass.
    longest : tokens of the longest context and prompt.
    kv_tokens : tokens of all contexts together; None: no limit.
    """

    batches: Sequence[int]
    widths: Sequence[int]
    longest: int
    kv_tokens: int | None = None

    def longest_at(self, batch: int) -> int:
        """Return the longest context of `batch` requests that fits in memory."""
        fits = self.longest if self.kv_tokens is None else self.kv_tokens // batch
        return max(4 * SHORTEST, min(self.longest, fits))

    def contexts(self, batch: int) -> NDArray[np.int64]:
        """Return contexts from short to long, equally spaced on a logarithmic axis."""
        ends = SHORTEST, self.longest_at(batch)
        return np.unique(np.geomspace(*ends, 20).round().astype(np.int64))

    @cached_property
    def totals(self) -> list[int]:
        """Tokens of the passes over prompts, up to the longest prompt or beyond."""
        return sorted({*PROMPTS, self.longest})

    def step_totals(self, batch: int) -> list[int]:
        """Return tokens of steps of `batch` requests, with one short prompt and more."""
        least = batch + SHORTEST - 1
        return [least, *(t for t in self.totals if t > least)]

    def split(self, total: int) -> list[tuple[int, int]]:
        """Return equal prompts of so many tokens together, none longer than the longest context.

        Each is a pair of its tokens and 0, the tokens that earlier passes computed.
        """
        count = -(-total // self.longest)
        return [(total // count + (i < total % count), 0) for i in range(count)]


@dataclass(frozen=True)
class Pair:
    """A target and a draft model; the draft is None without a draft model."""

    target: ModelTimes
    draft: ModelTimes | None

    def round_ms(self, batch: int, drafted: int, context: int) -> float:
        """Return the time of a round of `batch` requests with equal contexts."""
        steps = drafted * self.draft.verify(batch, 1, context) if self.draft else 0.0
        return steps + self.target.verify(batch, drafted + 1, context)

    def prompts_ms(
        self, chunks: Sequence[tuple[int, int]], batch: int = 0, drafted: int = 0, context: int = 0
    ) -> float:
        """Return the time of a step that prefills prompts and runs a round of `batch` requests."""
        ms = self.target.prompts(chunks, batch, drafted + 1, context)
        if self.draft is None:
            return ms
        steps = drafted * self.draft.verify(batch, 1, context) if batch else 0.0
        return ms + self.draft.prompts(chunks) + steps


def fit_costs(pair: Pair, grid: Grid, swap: Linear, only_draft_tokens: int | None) -> Costs:
    """Return the costs of rounds, prefills and steps with prompts, and the given KV transfer."""
    rounds = {b: _round_terms(pair, grid, b) for b in grid.batches}
    stepped = sorted({b for b in grid.batches if b in STEPPED} | {1, max(grid.batches)})
    return Costs(
        rounds=rounds,
        prefill=_prefill(pair, grid),
        swap_out=swap,
        swap_in=swap,
        swap_ways={"link": Swap(swap, swap)},
        only_draft_tokens=only_draft_tokens,
        steps={b: _step_terms(pair, grid, b, rounds[b].draft_step) for b in stepped},
    )


def _round_terms(pair: Pair, grid: Grid, batch: int) -> RoundTerms:
    contexts = grid.contexts(batch)
    verify = pair.target.verify

    def line(times: ModelTimes, width: int) -> Linear:
        ms = [times.verify(batch, width, s) for s in contexts.tolist()]
        return fit_line(batch * contexts, np.array(ms))

    if pair.target.linear:  # attention is the same at all widths
        middle, some = min(grid.widths, key=lambda w: abs(w - MIDDLE)), int(contexts[0])
        fitted, reference = line(pair.target, middle), verify(batch, middle, some)
        more = {w: _ns(verify(batch, w, some) - reference) for w in grid.widths}
        base = {w: fitted.base_ns + more[w] for w in grid.widths}
        slopes = {grid.widths[0]: fitted.per_token_ns}
    else:
        lines = {w: line(pair.target, w) for w in grid.widths}
        base = {w: fitted.base_ns for w, fitted in lines.items()}
        slopes = {w: fitted.per_token_ns for w, fitted in lines.items()}
    draft = line(pair.draft, 1) if pair.draft else Linear(0, 0)
    return RoundTerms(draft, {w: max(1, ns) for w, ns in base.items()}, slopes, 0)


def fit_line(tokens: NDArray[np.int64], ms: NDArray[np.float64]) -> Linear:
    """Return the line of least squared relative error, in whole nanoseconds.

    No term is negative. The slope is rounded to the better of its two neighbours, and the base is
    fitted again.
    """
    from scipy.optimize import nnls

    scale = float(tokens.max())
    terms = np.column_stack([np.ones(len(tokens)), tokens / scale]) / ms[:, None]
    slope = 1e6 * float(nnls(terms, np.ones(len(tokens)))[0][1]) / scale
    lines = [_with_slope(tokens, ms, int(s)) for s in (np.floor(slope), np.ceil(slope))]
    return min(lines, key=lambda fitted: _squared_error(fitted, tokens, ms))


def _with_slope(tokens: NDArray[np.int64], ms: NDArray[np.float64], slope: int) -> Linear:
    """Return the line of a slope whose base has the least squared relative error."""
    left = 1e6 * ms - slope * tokens
    base = float((left / ms**2).sum() / (1 / ms**2).sum())
    return Linear(max(0, round(base)), slope)


def _squared_error(line: Linear, tokens: NDArray[np.int64], ms: NDArray[np.float64]) -> float:
    predicted = line.base_ns + line.per_token_ns * tokens
    return float(((predicted / (1e6 * ms) - 1) ** 2).mean())


def _prefill(pair: Pair, grid: Grid) -> Piecewise:
    """Return the cost of prompts: exact for one prompt at each length of the grid."""
    alone = [t for t in grid.totals if t <= grid.longest]
    whole = {t: pair.prompts_ms(grid.split(t)) for t in grid.totals}
    attention = np.array([_attention_ms(pair, t) for t in alone])
    square = _square_ps(np.array(alone), attention, np.array([whole[t] for t in alone]))
    base = {
        t: max(1, _ns(ms) - square * sum(p * p for p, _ in grid.split(t)) // 1_000)
        for t, ms in whole.items()
    }
    return Piecewise(base, square)


def _attention_ms(pair: Pair, tokens: int) -> float:
    models = [m for m in (pair.target, pair.draft) if m is not None]
    return sum(m.prompt_attention(tokens) for m in models)


def _square_ps(
    lengths: NDArray[np.int64], ms: NDArray[np.float64], whole: NDArray[np.float64]
) -> int:
    """Return the quadratic coefficient of attention in ps per squared token, at least 0.

    Errors are relative to the time of whole passes.
    """
    from scipy.optimize import nnls

    scale = float(lengths.max())
    terms = np.vander(lengths / scale, 3, increasing=True)
    found = nnls(terms / whole[:, None], ms / whole)[0]
    return round(1e9 * float(found[2]) / scale**2)


def _step_terms(pair: Pair, grid: Grid, batch: int, draft_step: Linear) -> StepTerms:
    """Return the cost of steps with prompts, mostly one, and decoding requests.

    Least squares of relative errors with terms that are not negative.
    """
    from scipy.optimize import nnls

    rows = list(_steps(pair, grid, batch))
    tokens, contexts, ms = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    knots = np.array(grid.step_totals(batch), dtype=float)
    hats = np.column_stack([np.interp(tokens, knots, row) for row in np.eye(len(knots))])
    longest = max(float(contexts.max()), 1.0)
    terms = np.column_stack([hats, contexts / longest]) / ms[:, None]
    found = 1e6 * nnls(terms, np.ones(len(ms)))[0]
    base = {int(k): max(1, round(float(ns))) for k, ns in zip(knots, found, strict=False)}
    slope = {int(knots[0]): round(float(found[-1]) / longest)}
    return StepTerms(base, slope, draft_step)


def _steps(pair: Pair, grid: Grid, batch: int) -> Iterator[tuple[int, int, float]]:
    """Yield tokens, contexts and time, without draft steps, of steps of `batch` requests.

    The steps hold one prompt, or more where a prompt of so many tokens would be too long.
    """
    top = grid.longest_at(batch)
    for total in grid.step_totals(batch):
        for drafted in DRAFTED if batch > 1 else (0,):
            if drafted + 1 > max(grid.widths):
                continue
            for context in sorted({SHORTEST, min(512, top // 2), top // 2}):
                decoding = batch - len(grid.split(max(1, total - (batch - 1) * (drafted + 1))))
                left = total - max(0, decoding) * (drafted + 1)
                if decoding < 0 or left < 1:
                    continue
                held = 0 if decoding else context - SHORTEST
                chunks = [(tokens, held) for tokens, _ in grid.split(left)]
                if max(tokens + held for tokens, held in chunks) > grid.longest:
                    continue
                ms = pair.target.prompts(chunks, decoding, drafted + 1, context)
                ms += pair.draft.prompts(chunks) if pair.draft else 0.0
                yield total, decoding * context + held * len(chunks), ms


def fit_errors(pair: Pair, grid: Grid, profile: Profile, seed: int = 0) -> Fits:
    """Return the errors of the costs at random passes, most of which are not in the grid."""
    rng = np.random.default_rng(seed)
    costs, only = profile.costs, profile.costs.only_draft_tokens
    rounds, verify, steps = [], [], []
    for _ in range(SAMPLES):
        batch = _between(rng, 1, max(grid.batches))
        drafted = only if only is not None else int(rng.integers(1, max(grid.widths)))
        context = _context(rng, grid, batch)
        cost = profile.round_cost(batch)
        true = pair.round_ms(batch, drafted, context)
        rounds.append((cost(drafted, batch * context), true))
        without = pair.target.verify(batch, drafted + 1, context)
        draft_ns = 1e6 * (true - without)
        verify.append((cost(drafted, batch * context) - draft_ns, without))
        if max(grid.batches) > 1:
            steps.append(_random_step(rng, pair, grid, profile, only))
    alone, batched = [], []
    for _ in range(SAMPLES // 3):
        tokens = _between(rng, 1, grid.longest)
        alone.append((costs.prefill(tokens), pair.prompts_ms([(tokens, 0)])))
        several = [_between(rng, 1, grid.longest // 4) for _ in range(int(rng.integers(2, 5)))]
        true = pair.prompts_ms([(t, 0) for t in several])
        batched.append((costs.prefill.several(several), true))
    terms = {"prefill": _error(alone), "prefill_batched": _error(batched)}
    if steps:
        terms["step"] = _error(steps)
    whole = _error(rounds)
    grid_error = GridError(**{**vars(whole), "verify": _error(verify)})
    return Fits(terms=terms, grid=grid_error)


def _random_step(
    rng: np.random.Generator, pair: Pair, grid: Grid, profile: Profile, only: int | None
) -> tuple[float, float]:
    """Return predicted ns and true ms of a step with one to three prompts."""
    batch = _between(rng, 2, max(grid.batches))
    prompts = int(rng.integers(1, min(4, batch)))
    decoding = batch - prompts
    drafted = only if only is not None else int(rng.integers(0, 9))
    context = _context(rng, grid, batch)
    chunks = [_between(rng, 16, min(2_048, grid.longest)) for _ in range(prompts)]
    true = pair.prompts_ms([(t, 0) for t in chunks], decoding, drafted, context)
    predicted = profile.step_cost(batch)([drafted] * decoding, decoding * context, chunks, 0)
    return predicted, true


def _context(rng: np.random.Generator, grid: Grid, batch: int) -> int:
    """Return a random context: short ones in half of the cases, all alike in the other half."""
    ends = SHORTEST, grid.longest_at(batch)
    return _between(rng, *ends) if rng.random() < 0.5 else int(rng.integers(ends[0], ends[1] + 1))


def _between(rng: np.random.Generator, low: int, high: int) -> int:
    """Return a random integer whose logarithm is uniform."""
    return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))


def _error(pairs: Sequence[tuple[float, float]]) -> FitError:
    predicted_ns, ms = np.array(pairs, dtype=float).T
    error = np.abs(predicted_ns / (1e6 * ms) - 1)
    median, p90 = np.percentile(error, [50, 90])
    return FitError(
        median_error=round(float(median), 4),
        p90_error=round(float(p90), 4),
        samples=len(error),
        mean_error=round(float(error.mean()), 4),
        worst_error=round(float(error.max()), 4),
    )


def _ns(ms: float) -> int:
    return round(1e6 * ms)
