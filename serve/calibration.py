"""Mean times of vLLM's steps, by number of requests, number of tokens and context lengths.

The calibration serves plans in the same process as live runs. All requests arrive at once and are
served in batches of each size; every step is a sample. The cost of a step depends on the tokens of
all its requests, including prompts; the draft and the target are not timed separately. Terms are
means, not medians, because the simulator predicts sums of steps, and step times have a long tail.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from lapsd.calibrate.fitting.linear import errors, fit_mean
from lapsd.calibrate.record import Calibration
from lapsd.calibrate.recording import Progress, silent
from lapsd.serve.engine import Engine
from lapsd.serve.plan import Plan, PlannedRequest
from lapsd.serve.record import Record
from lapsd.serve.validation.recorded import trace_of
from lapsd.traces import Costs, Linear, Profile, RoundTerms, StepTerms, Trace
from lapsd.traces.provenance import FitError, Fits, Provenance

LEAST_ROUNDS, LEAST_PROMPTS = 20, 8  # minimum number of steps to fit the terms of a batch size
KNOTS = 6  # knots of the piecewise linear cost of a step by its tokens
# tokens of additional prompts, so that the samples include long contexts
REACH = (16, 32, 64, 128, 256, 512, 1024, 2048)
SHORT = 12  # new tokens of each additional prompt
UNSTABLE = 0.03
NOTE = (
    "the cost of a step depends on the tokens of all its requests, including prompts; it includes"
    " drafting"
)
ESTIMATED = "the token that prefill emits counts as part of the prompt"


@dataclass(frozen=True)
class Requests:
    """The real requests to serve, and the longest context, in tokens."""

    planned: Sequence[PlannedRequest]
    context: int

    def reaching(self, n: int) -> list[PlannedRequest]:
        """Return prompts of fixed lengths, cut from the concatenation of the real prompts."""
        string = [token for request in self.planned for token in request.prompt]
        most = min(len(string), self.context - SHORT - n - 2)
        lengths = [length for length in REACH if length <= most]
        return [PlannedRequest(f"reach-{m}", "reach", 0, string[:m], SHORT, SHORT) for m in lengths]


def calibrate(
    engine: Engine,
    requests: Requests,
    plan: Plan,
    batches: Sequence[int],
    provenance: Provenance,
    progress: Progress = silent,
) -> Calibration:
    """Serve the requests in batches of each size and fit the times of their steps.

    Parameters
    ----------
    plan : the models, draft length and sampling that all runs share.
    """
    runs, records = [*sorted(batches), min(batches)], list[Record]()
    every_request = [*requests.planned, *requests.reaching(plan.draft_tokens)]
    progress("warming up", 0, 1)
    engine.serve(replace(plan, requests=every_request[: max(batches)], batch=max(batches)))
    longest_s = 0.0
    for i, batch in enumerate(runs, 1):
        # larger batches take less time; the last run repeats the first
        takes = f"about {longest_s:,.0f} s or less" if longest_s else ""
        what = f"run {i} of {len(runs)} ({len(every_request)} requests at batch size {batch})"
        progress(what, 0, 1, takes)
        begun = time.monotonic()
        records.append(engine.serve(replace(plan, requests=every_request, batch=batch)))
        if not records[-1].complete:
            raise KeyboardInterrupt
        longest_s = max(longest_s, time.monotonic() - begun)
    samples = samples_of(records[:-1])
    costs, fits = costs_of(samples, plan.draft_tokens)
    drift = _mean_ns(records[-1]) / _mean_ns(records[0]) - 1
    known = replace(
        provenance,
        draft_tokens=(plan.draft_tokens,),
        drift=round(drift, 4),
        unstable=abs(drift) > UNSTABLE,
    ).noting(steps=NOTE, engine="vllm", vllm=dict(records[0].notes))
    trace = _trace(replace(plan, requests=requests.planned), records[0], known)
    profile = Profile("measured", engine.weights, costs, fits, known)
    warnings = (
        [f"unstable: the time of the same steps changed by {drift:+.0%} by the end (more than 3 %)"]
        if known.unstable
        else []
    )
    return Calibration({plan.draft_tokens: trace}, profile, None, samples, warnings, complete=True)


def samples_of(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per step.

    Columns: `batch` (number of requests), `prompts` (requests that did not decode), `tokens`,
    `contexts` (their sum), `ns`.
    """
    rows = [
        (
            len(s.running),
            sum(e == 0 for e in s.emitted),
            sum(s.scheduled),
            sum(s.contexts),
            s.round_ns,
        )
        for record in records
        for s in record.steps
    ]
    return pd.DataFrame(rows, columns=["batch", "prompts", "tokens", "contexts", "ns"])


def costs_of(samples: pd.DataFrame, n: int) -> tuple[Costs, Fits]:
    """Return the costs of rounds, steps with prompts and single prompts, and their fit errors.

    Each error is measured on the half of the samples that the fit did not use.

    Raises
    ------
    ValueError
        If there are too few rounds or too few prompts of a single request.
    """
    whole = samples["tokens"] == samples["batch"] * (n + 1)
    rounds = samples[(samples["prompts"] == 0) & whole]
    prompts = samples[samples["prompts"] > 0]
    alone = prompts[prompts["batch"] == 1]
    for what, rows, least in (
        ("rounds", rounds[rounds["batch"] == 1], LEAST_ROUNDS),
        ("prompts", alone, LEAST_PROMPTS),
    ):
        if len(rows) < least:
            raise ValueError(
                f"calibration: {len(rows)} {what} of a single request: at least {least} are needed"
            )
    terms = {b: _round(rows, n) for b, rows in _by_batch(rounds, LEAST_ROUNDS)}
    steps = {b: _step(rows) for b, rows in _by_batch(prompts, LEAST_PROMPTS)}
    prefill = fit_mean(alone["tokens"].to_numpy(), alone["ns"].to_numpy())
    free = Linear(0, 0)
    costs = Costs(terms, prefill, free, free, only_draft_tokens=n, steps=steps)
    single = rounds[rounds["batch"] == 1]
    judged = {
        f"verify_{n + 1}": _judged(
            single, lambda seen, row: _round(seen, n).verify(n + 1)(row.contexts)
        ),
        "prefill": _judged(alone, lambda seen, row: _step(seen)(row.tokens, row.contexts)),
    }
    return costs, Fits(terms=judged)


def _by_batch(samples: pd.DataFrame, least: int) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield each batch size with at least `least` samples, and its samples."""
    for batch in sorted(set(samples["batch"].to_numpy().tolist())):
        rows = samples[samples["batch"] == batch]
        if len(rows) >= least:
            yield batch, rows


def _round(rows: pd.DataFrame, n: int) -> RoundTerms:
    whole = fit_mean(rows["contexts"].to_numpy(), rows["ns"].to_numpy(), least=1)
    return RoundTerms(Linear(0, 0), {n + 1: whole.base_ns}, {n + 1: whole.per_token_ns}, 0)


def _step(rows: pd.DataFrame) -> StepTerms:
    """Return a fit that is piecewise linear in tokens and linear in contexts.

    Least squares with non-negative terms.
    """
    tokens, contexts = rows["tokens"].to_numpy(dtype=float), rows["contexts"].to_numpy(dtype=float)
    knots = np.unique(
        np.quantile(tokens, np.linspace(0, 1, min(KNOTS, len(set(tokens)))), method="nearest")
    )
    hats = np.column_stack([np.interp(tokens, knots, row) for row in np.eye(len(knots))])
    longest = max(float(contexts.max()), 1.0)
    terms = np.column_stack([hats, contexts / longest])
    costs: NDArray[np.float64] = nnls(terms, rows["ns"].to_numpy(dtype=float))[0]
    base = {int(k): max(1, round(ns)) for k, ns in zip(knots, costs, strict=False)}
    return StepTerms(base, {int(knots[0]): round(float(costs[-1]) / longest)})


def _judged(
    rows: pd.DataFrame, predict: Callable[[pd.DataFrame, "pd.Series[int]"], int]
) -> FitError:
    """Return the errors of a fit to every other sample, measured on the remaining samples."""
    seen, unseen = rows.iloc[::2], rows.iloc[1::2]
    predicted = [predict(seen, row) for _, row in unseen.iterrows()]
    return errors(np.array(predicted, dtype=float), unseen["ns"].to_numpy(dtype=float))


def _mean_ns(record: Record) -> float:
    return float(np.mean([step.round_ns for step in record.steps]))


def _trace(plan: Plan, record: Record, known: Provenance) -> Trace:
    """Return the rounds of the real requests.

    A request that ended with the token that its prefill emitted had no rounds and is left out.
    """
    served = [s for s in record.results if s.index < len(plan.requests)]
    rows = [
        s.index
        for s in sorted(served, key=lambda s: s.index)
        if any(s.drafted) or len(s.drafted) > 1
    ]
    served_trace = trace_of(plan, replace(record, results=served))
    own = replace(known, source=f"vLLM, {plan.target} + {plan.draft}", estimated=(ESTIMATED,))
    return replace(served_trace, prompt_tokens=served_trace.prompt_tokens + 1, provenance=own).take(
        rows
    )
