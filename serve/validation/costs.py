"""Mean costs of live rounds: a profile from calibration runs on the same engine.

A calibration serves requests of the training half round-robin. Prompts, rounds and KV transfers are
timed as in live runs, from one step boundary to the next. All terms are means
(`lapsd.calibrate.fitting.linear.fit_mean`), because the simulator predicts sums. Where the runs
have one draft length, only that one has a price. The growth of costs with context length is fitted
to the calibration rounds of all live runs, because one run has too few of them; only the level of
all costs is fitted to the calibration rounds of each run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from lapsd.calibrate.fitting.linear import fit_mean
from lapsd.serve.record import Record, Step
from lapsd.traces import Costs, Linear, Profile, Provenance, RoundTerms, StepTerms

LEAST_ROUNDS = 20  # rounds of a batch size that its own terms need
ABOUT = 25  # calibration rounds in the window that measures the speed of the machine
KNOT = 1_001  # tokens of the second knot (the first is 1); costs are linear in tokens


def rounds_of(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per step without prompts.

    Columns: `batch`, `drafted`, `length` (the longest draft of the same run), `tokens` (sum of
    contexts), `draft_ns`, `verify_ns`, `total_ns`.
    """
    names = ["batch", "drafted", "tokens", "draft_ns", "verify_ns", "total_ns"]
    runs = []
    for record in records:
        rows = [
            (
                len(s.running),
                max(s.scheduled) - 1,
                sum(s.contexts),
                s.draft_ns,
                s.verify_ns,
                s.round_ns,
            )
            for s in record.steps
            if all(s.emitted)
        ]
        runs.append(pd.DataFrame(rows, columns=names, dtype=np.int64))
        runs[-1]["length"] = runs[-1]["drafted"].max()
    return pd.concat(runs, ignore_index=True)


def profile_of(records: Sequence[Record], provenance: Provenance, weights: str) -> Profile:
    """Return the mean costs of calibration runs.

    Raises
    ------
    ValueError
        If there are too few rounds of a single request.
    """
    rounds = rounds_of(records)
    # by batch size, the rounds of the draft length that has the fewest
    counts = pd.crosstab(rounds["batch"], rounds["length"]).min(axis=1)
    sizes = sorted(int(b) for b in counts.index if counts[b] >= LEAST_ROUNDS)
    if 1 not in sizes:
        raise ValueError(
            f"calibration: {counts.get(1, 0)} rounds of a single request: at least"
            f" {LEAST_ROUNDS} are needed"
        )
    terms = {b: _terms(rounds[rounds["batch"] == b]) for b in sizes}
    transfers = [
        transfer for record in records for step in record.steps for transfer in step.transfers
    ]
    prompts = [
        (p.tokens, p.ns) for record in records for step in record.steps for p in step.prefills
    ]
    prompts += [(m.tokens - 1, m.ns) for m in transfers if m.kind == "recompute"]
    out, back = (
        _mean([(m.tokens, m.ns) for m in transfers if m.kind == kind])
        for kind in ("swap out", "swap in")
    )
    shared = [step for record in records for step in record.steps if not all(step.emitted)]
    prefill, steps = _shared(shared, sizes[-1]) if shared else (_mean(prompts), {})
    lengths = rounds["drafted"].unique().tolist()
    only = lengths[0] if len(lengths) == 1 else None
    costs = Costs(terms, prefill, out, back, only_draft_tokens=only, steps=steps)
    return Profile("measured", weights, costs, provenance=provenance)


def at_level_of(shape: Profile, records: Iterable[Record]) -> Profile:
    """Return a profile with all costs scaled to the level of some rounds.

    The factor is the measured time of the rounds divided by their time in the profile.
    """
    rounds = [step for record in records for step in record.steps if all(step.emitted)]
    predicted = sum(_predicted_ns(shape, step) for step in rounds)
    ratio = sum(s.round_ns for s in rounds) / predicted if predicted else 1.0

    costs = shape.costs
    return replace(
        shape,
        costs=replace(
            costs,
            rounds={b: terms.scaled(ratio) for b, terms in costs.rounds.items()},
            steps={b: terms.scaled(ratio) for b, terms in costs.steps.items()},
            prefill=costs.prefill.scaled(ratio),
            swap_out=costs.swap_out.scaled(ratio),
            swap_in=costs.swap_in.scaled(ratio),
        ),
    )


class Slowness:
    """Measured divided by predicted round time, as a function of the time in a live run.

    Parameters
    ----------
    shape : the profile that predicts round times.
    records : calibration rounds with their start times in the run.
    """

    def __init__(self, shape: Profile, records: Iterable[Record]) -> None:
        steps = sorted(
            (s for r in records for s in r.steps if all(s.emitted)), key=lambda s: s.start_ns
        )
        self._at_ns = np.array([step.start_ns for step in steps])
        took = np.cumsum([0, *(step.round_ns for step in steps)])
        predicted = np.cumsum([0, *(_predicted_ns(shape, step) for step in steps)])
        middle = np.arange(len(steps))
        first, last = (
            np.maximum(middle - ABOUT // 2, 0),
            np.minimum(middle + ABOUT // 2 + 1, len(steps)),
        )
        self._times = (took[last] - took[first]) / (predicted[last] - predicted[first])

    def __call__(self, now_ns: int) -> float:
        """Return the ratio over the calibration rounds around an instant."""
        return float(
            self._times[min(int(np.searchsorted(self._at_ns, now_ns)), len(self._times) - 1)]
        )


def _predicted_ns(shape: Profile, step: Step) -> int:
    """Return the time of a round in a profile."""
    return shape.round_cost(len(step.running))(max(step.scheduled) - 1, sum(step.contexts))


def _terms(rounds: pd.DataFrame) -> RoundTerms:
    """Return the terms of one batch size, whose sum is the mean time of rounds of each length.

    Where the engine does not measure the parts of a round, the whole round is the verify pass.
    """
    drafting = rounds[rounds["length"] == rounds["length"].max()]
    per_step = drafting["draft_ns"] // drafting["length"].clip(lower=1)
    draft = _mean(zip(drafting["tokens"], per_step, strict=True))
    in_parts = bool(rounds["verify_ns"].any())
    outside = rounds["total_ns"] - rounds["draft_ns"] - rounds["verify_ns"]
    host_ns = max(0, round(outside.mean())) if in_parts else 0
    base, per_token = {}, {}
    for n in sorted(set(rounds["length"].tolist())):
        some = rounds[rounds["length"] == n]
        # drafting that is not proportional to the number of steps counts as verification
        steps = n * (draft.base_ns + draft.per_token_ns * some["tokens"])
        verify = _mean(zip(some["tokens"], some["total_ns"] - host_ns - steps, strict=True), 1)
        base[n + 1], per_token[n + 1] = verify.base_ns, verify.per_token_ns
    return RoundTerms(draft, base, per_token, host_ns)


def _shared(steps: Sequence[Step], batch: int) -> tuple[Linear, dict[int, StepTerms]]:
    """Return the costs of a single prompt by its tokens, and of steps that contain prompts.

    Both come from one fit that is linear in requests, tokens and contexts.
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


def _mean(samples: Iterable[tuple[int, int]], least: int = 0) -> Linear:
    """Return a fit to pairs (tokens, ns); costs of 0 without samples."""
    pairs = np.array(list(samples), dtype=np.int64)
    return fit_mean(pairs[:, 0], pairs[:, 1], least) if len(pairs) else Linear(0, 0)
