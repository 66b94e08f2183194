"""What live rounds cost on average: a profile from calibration runs, made on the same engine
between the others.

A calibration serves requests that no workload holds, in turn, so that prompts, rounds and moves are
timed as live runs spend them: boundary to boundary. All terms are means
(`lapsd.calibrate.fitting.linear.fit_mean`), since what is foretold are sums. Only the draft length
that was run is priced. How costs grow with contexts takes more rounds to tell than there are beside
a run: that is learnt from all of them, and only the level from a run's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from lapsd.calibrate.fitting.linear import fit_mean
from lapsd.serve.record import Record, Step
from lapsd.traces import Costs, Linear, Profile, Provenance, RoundTerms, StepTerms

LEAST_ROUNDS = 20  # of a batch size, for terms of its own
ABOUT = 25  # calibration rounds that tell how fast the machine is in the midst of them
KNOT = 1_001  # tokens; costs are linear between 1 and it, and beyond


def rounds_of(records: Iterable[Record]) -> pd.DataFrame:
    """A row a step without prompts: batch, drafted, tokens (contexts added up), draft_ns,
    verify_ns, total_ns.
    """
    rows = [
        (len(s.running), max(s.scheduled) - 1, sum(s.contexts), s.draft_ns, s.verify_ns, s.round_ns)
        for record in records
        for s in record.steps
        if all(s.emitted)
    ]
    return pd.DataFrame(
        rows, columns=["batch", "drafted", "tokens", "draft_ns", "verify_ns", "total_ns"]
    )


def profile_of(records: Sequence[Record], provenance: Provenance, weights: str) -> Profile:
    """The costs that calibration runs had on average.

    Raises
    ------
    ValueError
        If they hold too few rounds of a request alone.
    """
    rounds = rounds_of(records)
    counts = rounds["batch"].value_counts()
    sizes = sorted(int(b) for b in counts.index if counts[b] >= LEAST_ROUNDS)
    if 1 not in sizes:
        raise ValueError(
            f"calibration: {counts.get(1, 0)} rounds of one request, at least {LEAST_ROUNDS} are"
            " needed"
        )
    n = int(rounds["drafted"].max())
    terms = {b: _terms(rounds[rounds["batch"] == b], n) for b in sizes}
    moves = [move for record in records for step in record.steps for move in step.moves]
    prompts = [
        (p.tokens, p.ns) for record in records for step in record.steps for p in step.prefills
    ]
    prompts += [(m.tokens - 1, m.ns) for m in moves if m.kind == "recompute"]
    out, back = (
        _mean([(m.tokens, m.ns) for m in moves if m.kind == kind])
        for kind in ("swap out", "swap in")
    )
    shared = [step for record in records for step in record.steps if not all(step.emitted)]
    prefill, steps = _shared(shared, sizes[-1]) if shared else (_mean(prompts), {})
    same = rounds["drafted"].nunique() == 1
    costs = Costs(terms, prefill, out, back, only_draft_tokens=n if same else None, steps=steps)
    return Profile("measured", weights, costs, provenance=provenance)


def at_level_of(shape: Profile, records: Iterable[Record]) -> Profile:
    """A profile with all of its costs times what some rounds took in truth over what it says of
    them.
    """
    rounds = [step for record in records for step in record.steps if all(step.emitted)]
    said = sum(_said(shape, step) for step in rounds)
    ratio = sum(s.round_ns for s in rounds) / said if said else 1.0

    def linear(term: Linear) -> Linear:
        return Linear(round(ratio * term.base_ns), round(ratio * term.per_token_ns))

    def table(of: Mapping[int, int]) -> dict[int, int]:
        return {key: round(ratio * ns) for key, ns in of.items()}

    costs = shape.costs
    terms = {
        b: RoundTerms(
            linear(t.draft_step),
            table(t.verify_base_ns),
            table(t.verify_per_token_ns),
            round(ratio * t.host_ns),
        )
        for b, t in costs.rounds.items()
    }
    steps = {
        b: StepTerms(table(s.base_ns), table(s.per_context_ns)) for b, s in costs.steps.items()
    }
    prefill, out, back = map(linear, (costs.prefill, costs.swap_out, costs.swap_in))
    return replace(
        shape,
        costs=replace(
            costs, rounds=terms, steps=steps, prefill=prefill, swap_out=out, swap_in=back
        ),
    )


class Slowness:
    """How many times as long as a profile says rounds took about each instant of a run, as
    calibration saw it.

    Parameters
    ----------
    records : of calibration rounds at instants of the run.
    """

    def __init__(self, shape: Profile, records: Iterable[Record]) -> None:
        steps = sorted(
            (s for r in records for s in r.steps if all(s.emitted)), key=lambda s: s.start_ns
        )
        self._at_ns = np.array([step.start_ns for step in steps])
        took = np.cumsum([0, *(step.round_ns for step in steps)])
        said = np.cumsum([0, *(_said(shape, step) for step in steps)])
        middle = np.arange(len(steps))
        first, last = (
            np.maximum(middle - ABOUT // 2, 0),
            np.minimum(middle + ABOUT // 2 + 1, len(steps)),
        )
        self._times = (took[last] - took[first]) / (said[last] - said[first])

    def __call__(self, now_ns: int) -> float:
        """About an instant."""
        return float(
            self._times[min(int(np.searchsorted(self._at_ns, now_ns)), len(self._times) - 1)]
        )


def _said(shape: Profile, step: Step) -> int:
    """What a profile says of a round."""
    return shape.round_cost(len(step.running))(max(step.scheduled) - 1, sum(step.contexts))


def _terms(rounds: pd.DataFrame, n: int) -> RoundTerms:
    """Of one batch size; where an engine does not tell the parts of a round, all of it is the
    verify pass.
    """
    tokens, total = rounds["tokens"].to_numpy(), rounds["total_ns"].to_numpy()
    draft = fit_mean(tokens, rounds["draft_ns"].to_numpy() // max(n, 1))
    in_parts = bool(rounds["verify_ns"].any())
    verify = fit_mean(tokens, rounds["verify_ns"].to_numpy() if in_parts else total, least=1)
    host = (total - rounds["draft_ns"] - rounds["verify_ns"]).mean() if in_parts else 0
    return RoundTerms(
        draft, {n + 1: verify.base_ns}, {n + 1: verify.per_token_ns}, max(0, round(host))
    )


def _shared(steps: Sequence[Step], batch: int) -> tuple[Linear, dict[int, StepTerms]]:
    """Of steps that hold prompts: a plane over requests, tokens and contexts; and a prompt's alone,
    by its tokens.
    """
    rows = np.array(
        [(1, len(s.running), sum(s.scheduled), sum(s.contexts)) for s in steps], dtype=float
    )
    scale = np.maximum(rows.max(axis=0), 1)
    costs = nnls(rows / scale, np.array([s.round_ns for s in steps], dtype=float))[0] / scale
    base, request, token, context = (float(value) for value in costs)

    def terms(b: int) -> StepTerms:
        at = {t: max(1, round(base + request * b + token * t)) for t in (1, KNOT)}
        return StepTerms(at, {1: round(context)})

    return Linear(round(base + request), round(token)), {b: terms(b) for b in sorted({1, batch})}


def _mean(samples: Sequence[tuple[int, int]]) -> Linear:
    """Of (tokens, ns); nothing where nothing was seen."""
    if not samples:
        return Linear(0, 0)
    tokens, ns = np.array(samples, dtype=np.int64).T
    return fit_mean(tokens, ns)
