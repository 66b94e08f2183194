"""What live rounds cost on average: a profile from calibration runs, made on the same engine between the others.

A calibration serves requests that no workload holds, in turn, so that prompts, rounds and moves are timed as live
runs spend them: boundary to boundary. All terms are means (`calibrate.fitting.linear.fit_mean`), since what is
foretold are sums. Only the draft length that was run is priced.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from calibrate.fitting.linear import fit_mean
from serve.record import Record
from traces import Costs, Linear, Profile, Provenance, RoundTerms

LEAST_ROUNDS = 20  # of a batch size, for terms of its own


def rounds_of(records: Iterable[Record]) -> pd.DataFrame:
    """A row a round: batch, drafted, tokens (contexts added up), draft_ns, verify_ns, total_ns."""
    rows = [
        (len(s.running), max(s.scheduled) - 1, sum(s.contexts), s.draft_ns, s.verify_ns, s.round_ns)
        for record in records for s in record.steps
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["batch", "drafted", "tokens", "draft_ns", "verify_ns", "total_ns"])


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
        raise ValueError(f"calibration: {counts.get(1, 0)} rounds of one request, at least {LEAST_ROUNDS} are needed")
    n = int(rounds["drafted"].max())
    terms = {b: _terms(rounds[rounds["batch"] == b], n) for b in sizes}
    moves = [move for record in records for step in record.steps for move in step.moves]
    prompts = [(p.tokens, p.ns) for record in records for step in record.steps for p in step.prefills]
    prompts += [(m.tokens - 1, m.ns) for m in moves if m.kind == "recompute"]
    out, back = (_mean([(m.tokens, m.ns) for m in moves if m.kind == kind]) for kind in ("swap out", "swap in"))
    costs = Costs(terms, _mean(prompts), out, back, only_draft_tokens=n)
    return Profile("measured", weights, costs, provenance=provenance)


def _terms(rounds: pd.DataFrame, n: int) -> RoundTerms:
    tokens = rounds["tokens"].to_numpy()
    draft = fit_mean(tokens, rounds["draft_ns"].to_numpy() // max(n, 1))
    verify = fit_mean(tokens, rounds["verify_ns"].to_numpy(), least=1)
    host = (rounds["total_ns"] - rounds["draft_ns"] - rounds["verify_ns"]).mean()
    return RoundTerms(draft, {n + 1: verify.base_ns}, {n + 1: verify.per_token_ns}, max(0, round(host)))


def _mean(samples: Sequence[tuple[int, int]]) -> Linear:
    """Of (tokens, ns); nothing where nothing was seen."""
    if not samples:
        return Linear(0, 0)
    tokens, ns = np.array(samples, dtype=np.int64).T
    return fit_mean(tokens, ns)
