"""Fit the cost terms of a profile to all timings, and compute their errors on held-out samples.

Each batch size has its own terms. At batch size 1, the verify pass of the width that decoded
requests used is fitted to their rounds. Other widths come from the grid; they are scaled by the
ratio of the real to the grid's time of the pass of that first width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from lapsd.calibrate.fitting.linear import errors, fit_linear
from lapsd.calibrate.timing.cells import Grid
from lapsd.calibrate.timing.kv_transfers import TransferTimes
from lapsd.traces import Costs, Linear, RoundCost, RoundTerms, Swap
from lapsd.traces.provenance import FitError, Fits, GridError, RoundError, SwapFit

# methods of KV transfers that simulations are charged for: the first that was timed
SWAP_WAYS = ("pinned", "pageable")


@dataclass(frozen=True, eq=False)
class Timings:
    """All samples of a calibration.

    Attributes
    ----------
    rounds : DataFrame or None
        Rounds of decoded requests (`lapsd.calibrate.record`); None for random weights.
    grid : Grid
    prefills : DataFrame
        batch, tokens (of all rows), ns, role (`fit` or `held_out`).
    kv_transfers : mapping of method to TransferTimes
    """

    rounds: pd.DataFrame | None
    grid: Grid
    prefills: pd.DataFrame
    kv_transfers: Mapping[str, TransferTimes]


def assemble(timings: Timings, n: int) -> tuple[Costs, Fits]:
    """Return the cost terms and their errors.

    Parameters
    ----------
    timings : Timings
    n : int
        Draft length of the decoded requests that the errors of whole rounds refer to.

    Raises
    ------
    ValueError
        If batch size 1 was not timed.
    """
    cells = _medians(timings.grid.samples)
    fitted = cells[cells["role"] == "fit"]
    rounds = {
        b: _terms(rows)
        for b in sorted(set(fitted["batch"]))
        if (rows := fitted[fitted["batch"] == b]).size
    }
    if 1 not in rounds:
        raise ValueError("no cell of batch size 1 was timed: a profile cannot be made")
    fits = Fits()
    if timings.rounds is not None:
        rounds[1], fits = _from_real_rounds(timings.rounds, rounds[1], n)
    prefill = timings.prefills[timings.prefills["role"] == "fit"]
    prefilled = fit_linear(prefill["tokens"].to_numpy(), prefill["ns"].to_numpy())
    ways: dict[str, Swap] = {}
    swap_fits: dict[str, SwapFit] = {}
    for way, times in timings.kv_transfers.items():
        out, back = (
            fit_linear(np.array(times.tokens), np.array(ns)) for ns in (times.out_ns, times.back_ns)
        )
        ways[way] = Swap(out.term, back.term)
        swap_fits[way] = SwapFit(
            out=out.error, back=back.error, bytes_per_token=round(times.bytes_per_token, 1)
        )
    charged = next(way for way in SWAP_WAYS if way in ways)
    costs = Costs(rounds, prefilled.term, ways[charged].out, ways[charged].back, ways)
    terms = {
        **fits.terms,
        "prefill": prefilled.error,
        "swap_out": swap_fits[charged].out,
        "swap_in": swap_fits[charged].back,
        **_judged_prefills(costs, timings.prefills),
    }
    return costs, replace(fits, terms=terms, grid=_judged_cells(costs, cells), swap_ways=swap_fits)


def _medians(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the median of each cell, one row per cell."""
    keys = ["cell", "role", "batch", "width"]
    return samples.groupby(keys, as_index=False).median(numeric_only=True)


def _terms(cells: pd.DataFrame) -> RoundTerms:
    """Return the terms of one batch size, by non-negative least squares of relative errors."""
    widths = sorted(set(cells["width"]))
    ones = (cells["width"].to_numpy()[:, None] == np.array(widths)).astype(float)
    # attention to one context token takes a + b·width: reading its keys and values, and computing
    # with them for each new token
    tokens = cells["tokens"].to_numpy(dtype=float)
    several = len(set(tokens)) > 1
    longest = max(float(tokens.max()), 1.0)
    slopes = np.column_stack([tokens, tokens * cells["width"].to_numpy()]) / longest
    costs = _relative_nnls(np.column_stack([ones, slopes]) if several else ones, cells["verify_ns"])
    bases = costs[: len(widths)]
    read, multiply = costs[len(widths) :] / longest if several else (0.0, 0.0)
    drafting = cells[cells["width"] > 1]
    draft = (0.0, 0.0)
    if len(drafting):
        steps = drafting["draft_ns"] / (drafting["width"] - 1)
        draft = _relative_line(drafting["tokens"], steps)
    host = cells["total_ns"] - cells["draft_ns"] - cells["verify_ns"]
    return RoundTerms(
        draft_step=Linear(round(draft[0]), round(draft[1])),
        verify_base_ns={w: max(1, round(base)) for w, base in zip(widths, bases, strict=True)},
        verify_per_token_ns={w: round(read + multiply * w) for w in widths},
        host_ns=max(0, round(host.median())),
    )


def _relative_nnls(design: NDArray[np.float64], ns: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return the non-negative costs of the columns of `design`, with least relative errors."""
    y = np.maximum(ns.to_numpy(dtype=float), 1.0)
    solution: NDArray[np.float64] = nnls(design / y[:, None], np.ones(len(y)))[0]
    return solution


def _relative_line(tokens: "pd.Series[Any]", ns: "pd.Series[Any]") -> tuple[float, float]:
    """Return the base and the slope over tokens; the slope is 0 if there is one context only."""
    x = tokens.to_numpy(dtype=float)
    longest = max(float(x.max()), 1.0)
    columns = [np.ones(len(x)), *([x / longest] if len(set(x)) > 1 else [])]
    costs = _relative_nnls(np.column_stack(columns), ns)
    return float(costs[0]), float(costs[1]) / longest if len(costs) > 1 else 0.0


def _from_real_rounds(rounds: pd.DataFrame, grid: RoundTerms, n: int) -> tuple[RoundTerms, Fits]:
    """Return the terms of batch size 1, fitted to half of the decoded requests, and their errors.

    The errors of whole rounds come from the other half of the requests.
    """
    names = rounds["request_id"].drop_duplicates().to_numpy()
    half = np.random.default_rng(0).permutation(names)[: max(1, len(names) // 2)]
    is_seen = rounds["request_id"].isin(half)
    seen, unseen = rounds[is_seen], rounds[~is_seen] if len(names) > 1 else rounds
    draft = fit_linear(seen["context"].to_numpy(), (seen["draft_ns"] // seen["drafted"]).to_numpy())
    own = seen[seen["drafted"] == n]
    verify = fit_linear(own["context"].to_numpy(), own["verify_ns"].to_numpy(), least=1)
    context = round(own["context"].median())
    scale = verify.term(context) / max(1, grid.verify(n + 1)(context))
    table = {w: max(1, round(ns * scale)) for w, ns in grid.verify_base_ns.items()}
    slopes = {w: round(ns * scale) for w, ns in grid.verify_per_token_ns.items()}
    for other in sorted(set(seen["drafted"])):
        rows = seen[seen["drafted"] == other]
        slopes[int(other) + 1] = round(scale * grid.verify(int(other) + 1).per_token_ns)
        rest = rows["verify_ns"] - slopes[int(other) + 1] * rows["context"]
        table[int(other) + 1] = max(1, round(rest.median()))
    table[n + 1], slopes[n + 1] = verify.term.base_ns, verify.term.per_token_ns
    host = (seen["total_ns"] - seen["draft_ns"] - seen["verify_ns"]).median()
    terms = RoundTerms(
        draft.term, dict(sorted(table.items())), dict(sorted(slopes.items())), max(0, round(host))
    )
    lengths = sorted(set(unseen["drafted"].to_numpy().tolist()))
    by_length = {
        k: error for k in lengths if (error := _closure(terms, unseen[unseen["drafted"] == k]))
    }
    return terms, Fits(
        terms={
            "draft_step": replace(
                draft.error, percentiles_ns=_percentiles(seen["draft_ns"] // seen["drafted"])
            ),
            f"verify_{n + 1}": replace(verify.error, percentiles_ns=_percentiles(own["verify_ns"])),
        },
        round=by_length.get(n),
        round_by_draft_tokens=by_length if len(by_length) > 1 else {},
        notes={"grid_over_real": round(1 / scale, 4)},
    )


def _closure(terms: RoundTerms, rounds: pd.DataFrame) -> RoundError | None:
    """Return the errors of the sum of all terms on held-out rounds; None if there are none.

    `closure` and `total_error` compare sums over rounds, because jitter is skewed: a cost that is
    right for sums exceeds most single rounds.
    """
    if rounds.empty:
        return None
    cost = RoundCost({1: terms})
    pairs = zip(
        rounds["drafted"].to_numpy().tolist(), rounds["context"].to_numpy().tolist(), strict=True
    )
    predicted = np.array([cost(n, c) for n, c in pairs], dtype=float)
    measured = rounds["total_ns"].to_numpy(dtype=float)
    sums = (
        pd.DataFrame({"predicted": predicted, "measured": measured})
        .groupby(rounds["request_id"].to_numpy())
        .sum()
    )
    whole = errors(predicted, measured)

    def over(rows: NDArray[np.bool_]) -> float | None:
        return float(predicted[rows].sum() / measured[rows].sum() - 1) if rows.any() else None

    return RoundError(
        median_error=whole.median_error,
        p90_error=whole.p90_error,
        samples=whole.samples,
        closure=float((sums["predicted"] / sums["measured"]).median()) - 1,
        total_error=float(predicted.sum() / measured.sum() - 1),
        none_accepted=over((rounds["accepted"] == 0).to_numpy()),
        all_accepted=over((rounds["accepted"] == rounds["drafted"]).to_numpy()),
    )


def _judged_cells(costs: Costs, cells: pd.DataFrame) -> GridError | None:
    """Return the errors of the terms on held-out cells; None if no such cell was timed."""
    held_out = cells[(cells["role"] == "held_out") & cells["batch"].isin(list(costs.rounds))]
    if held_out.empty:
        return None
    predicted, verify = [], []
    for batch, width, tokens in (
        held_out[["batch", "width", "tokens"]].to_numpy().round().astype(int).tolist()
    ):
        predicted.append(RoundCost(costs.rounds, batch)(width - 1, tokens))
        verify.append(costs.rounds[batch].verify(width)(tokens))
    whole = errors(np.array(predicted, float), held_out["total_ns"].to_numpy(float))
    return GridError(
        median_error=whole.median_error,
        p90_error=whole.p90_error,
        samples=whole.samples,
        verify=errors(np.array(verify, float), held_out["verify_ns"].to_numpy(float)),
    )


def _judged_prefills(costs: Costs, prefills: pd.DataFrame) -> dict[str, FitError]:
    """Return the errors of the prefill term on held-out prefills, single and batched."""
    held_out, judged = prefills[prefills["role"] == "held_out"], {}
    for name, rows in (
        ("recompute", held_out[held_out["batch"] == 1]),
        ("prefill_batched", held_out[held_out["batch"] > 1]),
    ):
        if len(rows):
            expected = np.array([costs.prefill(int(t)) for t in rows["tokens"]], dtype=float)
            judged[name] = errors(expected, rows["ns"].to_numpy(dtype=float))
    return judged


def _percentiles(ns: "pd.Series[int]") -> dict[int, int]:
    """Return percentiles of a term's samples over all contexts."""
    shown = (1, 10, 50, 90, 99)
    return {p: round(v) for p, v in zip(shown, np.percentile(ns, shown), strict=True)}


def warnings_of(fits: Fits, grid: Grid) -> list[str]:
    """Return warnings about the accuracy of the terms, one line each."""
    warnings = list(fits.warnings())
    if grid.unstable:
        warnings.append(
            f"unstable: the time of the same rounds changed by {grid.drift:+.0%} during the timing"
            " (limit: 3 %)"
        )
    if grid.skipped:
        warnings.append(
            f"{len(grid.skipped)} cells were not timed; the first one: {grid.skipped[0]}"
        )
    return warnings
