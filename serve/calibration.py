"""What vLLM's steps take, by the requests in them, the tokens that they go over, and the contexts
of those: means.

Plans are served in the process that serves live runs, requests all at once in batches of each size,
and every step is a sample. A step's cost depends on the tokens of all requests in it, prompts among
them; draft and target are not timed apart. Terms are means, not medians: what is foretold are sums,
and steps have a long tail.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from lapsd.calibrate.fitting.linear import errors, fit_mean
from lapsd.calibrate.record import Calibration
from lapsd.serve.engine import Engine
from lapsd.serve.plan import Plan, PlannedRequest
from lapsd.serve.record import Record
from lapsd.serve.validation.recorded import trace_of
from lapsd.traces import Costs, Linear, Profile, RoundTerms, StepTerms, Trace
from lapsd.traces.provenance import FitError, Fits, Provenance

LEAST_ROUNDS, LEAST_PROMPTS = 20, 8  # steps, for terms of a batch size
KNOTS = 6  # numbers of tokens between which a step's cost is linear
REACH = (
    16,
    32,
    64,
    128,
    256,
    512,
    1024,
    2048,
)  # prompts beside the real ones, so that contexts reach far
SHORT = 12  # new tokens of those
UNSTABLE = 0.03
NOTE = (
    "a step's cost depends on the tokens of all requests in it, prompts among them; drafting is"
    " part of it"
)
ESTIMATED = "the token that prefill emits is counted to the prompt"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Requests:
    """What is served: real requests, and how long contexts may be."""

    planned: Sequence[PlannedRequest]
    context: int

    def reaching(self, n: int) -> list[PlannedRequest]:
        """Prompts of set lengths, cut from the real ones strung together."""
        string = [token for planned in self.planned for token in planned.prompt]
        most = min(len(string), self.context - SHORT - n - 2)
        lengths = [length for length in REACH if length <= most]
        return [PlannedRequest(f"reach-{m}", "reach", 0, string[:m], SHORT, SHORT) for m in lengths]


def calibrate(
    engine: Engine,
    requests: Requests,
    plan: Plan,
    batches: Sequence[int],
    provenance: Provenance,
    progress: Progress = lambda what, done, total: None,
) -> Calibration:
    """Serve the requests in batches of each size and fit what their steps took.

    Parameters
    ----------
    plan : what all runs have in common: models, draft length, sampling.
    """
    runs, records = [*sorted(batches), min(batches)], list[Record]()
    everybody = [*requests.planned, *requests.reaching(plan.draft_tokens)]
    progress("warming up", 0, len(runs))
    engine.serve(replace(plan, requests=everybody[: max(batches)], batch=max(batches)))
    for i, batch in enumerate(runs):
        progress(f"batch size {batch}", i, len(runs))
        records.append(engine.serve(replace(plan, requests=everybody, batch=batch)))
        if not records[-1].complete:
            raise KeyboardInterrupt
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
        [f"unstable: the same steps took {drift:+.0%} at the end (more than 3 %)"]
        if known.unstable
        else []
    )
    return Calibration({plan.draft_tokens: trace}, profile, None, samples, warnings, complete=True)


def samples_of(records: Iterable[Record]) -> pd.DataFrame:
    """A row a step: batch (its requests), prompts (of those, who did not decode), tokens, contexts,
    ns.
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
    """Terms of rounds, of steps with prompts, and of prompts alone; and their errors on halves that
    no fit saw.

    Raises
    ------
    ValueError
        If there are too few rounds of a request alone, or prompts.
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
                f"calibration: {len(rows)} {what} of a request alone, at least {least} are needed"
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
    """Batch sizes of which there are enough samples, and those."""
    for batch in sorted(set(samples["batch"].to_numpy().tolist())):
        rows = samples[samples["batch"] == batch]
        if len(rows) >= least:
            yield batch, rows


def _round(rows: pd.DataFrame, n: int) -> RoundTerms:
    whole = fit_mean(rows["contexts"].to_numpy(), rows["ns"].to_numpy(), least=1)
    return RoundTerms(Linear(0, 0), {n + 1: whole.base_ns}, {n + 1: whole.per_token_ns}, 0)


def _step(rows: pd.DataFrame) -> StepTerms:
    """Piecewise linear in tokens, and a slope over contexts, by least squares, nothing negative."""
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
    """Of a fit to every other sample, on the rest."""
    seen, unseen = rows.iloc[::2], rows.iloc[1::2]
    foretold = [predict(seen, row) for _, row in unseen.iterrows()]
    return errors(np.array(foretold, dtype=float), unseen["ns"].to_numpy(dtype=float))


def _mean_ns(record: Record) -> float:
    return float(np.mean([step.round_ns for step in record.steps]))


def _trace(plan: Plan, record: Record, known: Provenance) -> Trace:
    """The real requests' rounds; who ended with the token of its prompt had none."""
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
