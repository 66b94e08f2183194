"""Calibrate a pair: decode prompts speculatively, time all costs, and make traces and a profile."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from lapsd.calibrate.budget import Budget
from lapsd.calibrate.decoding.decoder import generate
from lapsd.calibrate.decoding.exactness import greedy_regret
from lapsd.calibrate.fitting.lengths import predict_lengths, prompt_embeddings
from lapsd.calibrate.fitting.terms import Timings, assemble, warnings_of
from lapsd.calibrate.models.loading import Pair
from lapsd.calibrate.recording import (
    ROUND_COLUMNS,
    Log,
    MemoryLog,
    Progress,
    decode,
    first_of_each,
    silent,
    trace_row,
)
from lapsd.calibrate.requests import Settings, Tokenized
from lapsd.calibrate.stamp import stamp
from lapsd.calibrate.timing.cells import PASSES, WIDTHS, design, time_alone, time_grid
from lapsd.calibrate.timing.floors import floors
from lapsd.calibrate.timing.gpu_state import gpu_state, holds_back
from lapsd.calibrate.timing.kv_transfers import swap_during_decode, time_swaps
from lapsd.calibrate.timing.prefill import REPEATS, batched_sizes, time_prefills
from lapsd.traces import LEARNED, Profile, Trace, speculation_pays, trace_from_rounds
from lapsd.traces.provenance import GreedyCheck, Provenance, Speculation, SpeculationCheck

GREEDY_CHECKS = 6  # requests whose greedy output is compared with the target's own choices
CHECKED_RUNS = 6  # requests decoded at the best draft length, to check its predicted speed
SWAP_SIZES = (64, 128, 256, 512, 1_024, 2_048, 4_096)
FLOOR_CONTEXTS = (128, 512, 2_048, 4_096)
# shares of a time budget after which no further prefills, and no further cells, are timed
PREFILLS, CELLS = 0.6, 0.9


@dataclass(frozen=True, eq=False)
class Calibration:
    """The results of a calibration.

    Attributes
    ----------
    traces : mapping of draft length to Trace
        Empty for random weights.
    profile : Profile
    rounds : DataFrame or None
        Raw timings of the decoded requests, one row per round: request_id, round, drafted,
        accepted, context, draft_ns, verify_ns, total_ns.
    samples : DataFrame
        All other raw timings: `term` (cell, prefill, or swap_out or swap_in with the method),
        batch, width, tokens, ns, and for cells draft_ns and verify_ns. `role` is `fit` or
        `held_out`.
    warnings : list of str
    complete : bool
        False if the timing was interrupted.

    Examples
    --------
    >>> from lapsd.calibrate import Calibration
    >>> list(Calibration.__dataclass_fields__)
    ['traces', 'profile', 'rounds', 'samples', 'warnings', 'complete']
    """

    traces: Mapping[int, Trace]
    profile: Profile
    rounds: pd.DataFrame | None
    samples: pd.DataFrame
    warnings: list[str]
    complete: bool


def calibrate(
    pair: Pair,
    requests: Sequence[Tokenized],
    settings: Settings,
    *,
    log: Log | None = None,
    progress: Progress = silent,
    command: str = "",
    budget: Budget | None = None,
) -> Calibration:
    """Decode every request at every draft length, then time batches, prefills and KV transfers.

    Parameters
    ----------
    pair : Pair
    requests : sequence of Tokenized
        Tokenized prompts. Empty for a pair with random weights, which is only timed.
    settings : Settings
    log : Log, optional
        Receives one record per decoded request. Requests that it already holds are not decoded
        again.
    progress : Progress
        Called often.
    command : str
        The command as the user typed it; written into the results.
    budget : Budget, optional
        Measurements that do not fit are left out, and `left_out` of the provenance names them.
        Decoding ends when half of the budget is used up (`recording.decode`). Of the costs, samples
        are left out first (the later passes over the cells, the later prefills), then the largest
        batch sizes. Two requests of each prompt set and batch size 1 are always measured.

    Examples
    --------
    >>> from lapsd.calibrate import Settings, calibrate, random_pair
    >>> pair = random_pair("tiny-target+tiny-draft", device="cpu")
    >>> done = calibrate(pair, [], Settings(draft_tokens=(2,), batches=(1,), quick=True))
    >>> done.profile.kind, done.profile.weights
    ('measured', 'random')
    """
    log, budget = MemoryLog() if log is None else log, budget or Budget()
    states = {"before": gpu_state()} if pair.device.type == "cuda" else {}
    # one KV memory for all phases: allocating a larger one later would invalidate all graphs
    look_ahead = settings.max_new_tokens + max(settings.draft_tokens) + 1
    pair.workspace.capacity = max([_longest(pair), *(len(ids) + look_ahead for _, ids in requests)])
    asked = len(requests)
    requests = requests[: decode(pair, requests, settings, log, progress, budget)]
    log = MemoryLog(first_of_each(log.records, len(requests)))
    timings, fit_notes, during = _timings(pair, settings, log, progress, budget)
    left_out = [f"{asked - len(requests)} of {asked} requests"] if len(requests) < asked else []
    if budget.limited:
        left_out += _untimed(pair, settings, timings)
        timings = replace(timings, grid=timings.grid.without_late())
    if states:
        states |= {"during": during, "after": gpu_state()}
    n, grid = settings.draft_tokens[0], timings.grid
    costs, fits = assemble(timings, n)
    held_back = any(holds_back(s) for s in states.values())
    provenance = replace(
        stamp(pair, command),
        draft_tokens=settings.draft_tokens,
        quick=settings.quick,
        drift=round(grid.drift, 4),
        unstable=grid.unstable or held_back,
        incomplete=tuple(grid.skipped) if grid.interrupted else (),
        left_out=tuple(left_out),
    ).noting(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.sampling.temperature,
        seed=settings.sampling.seed,
        skipped_cells=grid.skipped,
        **({"gpu_states": states} if states else {}),
        **({"budget_s": budget.seconds} if budget.limited else {}),
    )
    warnings = warnings_of(fits, grid)
    if held_back:
        warnings.append("unstable: power, heat or the hardware limited the GPU's clocks")
    traces: dict[int, Trace] = {}
    if requests:
        check = _greedy_check(pair, settings, requests, log)
        provenance = replace(provenance, greedy_check=check)
        traces = _traces(pair, settings, requests, log, provenance, progress)
        provenance = replace(provenance, length_predictor=traces[n].provenance.length_predictor)
        if check is not None and not check.exact:
            warnings.append(
                "an output is not the target's own greedy choice: a logit is"
                f" {check.worst_regret:.3g} below the largest (tolerance {check.tolerance:.3g})"
            )
    bounds = floors(pair, n, [c for c in FLOOR_CONTEXTS if c < pair.context])
    profile = Profile("measured", pair.weights, costs, fits.noting(**fit_notes), provenance, bounds)
    if requests and not grid.interrupted:
        speculation, warning = _pays(pair, requests, settings, traces[n], profile, progress, budget)
        profile = replace(profile, speculation=speculation)
        warnings += warning
    return Calibration(
        traces,
        profile,
        timings.rounds,
        samples_frame(timings),
        warnings,
        not timings.grid.interrupted,
    )


def _greedy_check(
    pair: Pair, settings: Settings, requests: Sequence[Tokenized], log: Log
) -> GreedyCheck | None:
    """Compare the first greedy outputs with the target's own choices; None for sampled outputs."""
    if settings.sampling.temperature:
        return None
    n = settings.draft_tokens[0]
    records = [record for record in log.records if record["draft_tokens"] == n]
    first = list(zip(requests, records, strict=True))[:GREEDY_CHECKS]
    regrets = [greedy_regret(pair, ids, record["tokens"], n) for (_, ids), record in first]
    return GreedyCheck(
        exact=all(r.exact for r in regrets),
        requests=len(regrets),
        tokens=sum(r.tokens for r in regrets),
        ties=sum(r.ties for r in regrets),
        worst_regret=max(r.worst for r in regrets),
        tolerance=max(r.tolerance for r in regrets),
    )


def _traces(
    pair: Pair,
    settings: Settings,
    requests: Sequence[Tokenized],
    log: Log,
    provenance: Provenance,
    progress: Progress,
) -> dict[int, Trace]:
    """Return one trace per draft length.

    Traces include predicted lengths if there are enough requests to learn them from.
    """
    progress("predicting lengths", 0, 1)
    embeddings = prompt_embeddings(pair, [ids for _, ids in requests])
    source = f"lapsd calibrate, {pair.target_name} + {pair.draft_name}"
    traces: dict[int, Trace] = {}
    for n in settings.draft_tokens:
        rows = [trace_row(r) for r in log.records if r["draft_tokens"] == n]
        lengths = np.array([r["output_tokens"] for r in rows])
        predicted = predict_lengths(
            embeddings,
            [p.text for p, _ in requests],
            np.array([r["prompt_tokens"] for r in rows]),
            lengths,
            [p.dataset for p, _ in requests],
            [p.group for p, _ in requests],
            settings.max_new_tokens,
        )
        own = replace(provenance, source=source, draft_tokens=(n,))
        if predicted is None:
            traces[n] = trace_from_rounds(rows, own)
        else:
            tokens, learned = predicted
            trace = trace_from_rounds(rows, replace(own, length_predictor=learned))
            traces[n] = trace.with_prediction(LEARNED, tokens)
    return traces


def round_frame(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rounds of all recorded requests, one row per round."""
    rows = [(r["request_id"], i, *values) for r in records for i, values in enumerate(r["rounds"])]
    frame = pd.DataFrame(rows, columns=["request_id", "round", *ROUND_COLUMNS])
    return frame.drop(columns="emitted")


def _longest(pair: Pair) -> int:
    """Return the longest timed context plus the look-ahead of its round, in tokens."""
    return min(pair.context, 4_096 + 64)


def _timings(
    pair: Pair, settings: Settings, log: Log, progress: Progress, budget: Budget
) -> tuple[Timings, dict[str, Any], Any]:
    """Time prefills, KV transfers and the grid of cells.

    Returns
    -------
    (timings, notes for the fits, state of the GPU halfway through the grid). The timings include
    the rounds of the recorded requests.
    """
    longest = _longest(pair)
    progress("timing prefills", 0, 1, budget.at_most(PREFILLS))
    prefills = time_prefills(
        pair,
        longest - 4,
        settings.batches,
        lambda: progress("timing prefills", 0, 1),
        deadline=budget.until(PREFILLS),
    )
    # the recorded prompts give weight to typical lengths, and the sweep covers the whole range
    real = [
        (1, r["prompt_tokens"] - 1, r["prefill_ns"], "fit")
        for r in log.records
        if r["prompt_tokens"] > 1
    ]
    prefills = pd.concat(
        [prefills, pd.DataFrame(real, columns=prefills.columns)], ignore_index=True
    )
    sizes = [s for s in SWAP_SIZES if s <= longest - 4] or [longest - 4]
    transfers, swap_notes = time_swaps(pair, sizes, lambda: progress("timing swaps", 0, 1))
    during_decode = swap_during_decode(pair, min(512, max(sizes)), settings.draft_tokens[0])
    lengths = settings.draft_tokens
    widths = sorted(
        {*((1, 2, 2 * lengths[0] + 1) if settings.quick else WIDTHS), *(n + 1 for n in lengths)}
    )
    cells = design(longest, settings.batches, widths)
    states: list[Any] = []

    def tick(done: int, total: int) -> None:
        progress("timing blocks of rounds", done, total, budget.at_most(CELLS))
        if pair.device.type == "cuda" and done == total // 2:
            states.append(gpu_state())

    grid = time_grid(
        pair,
        cells,
        settings.sampling,
        tick,
        deadline=budget.until(CELLS),
        quick=settings.quick,
        shorten=budget.limited,
    )
    timings = Timings(round_frame(log.records) if log.records else None, grid, prefills, transfers)
    alone = time_alone(pair, lengths[0], min(512, longest - 2 * lengths[0] - 2))
    fit_notes = {"swap_notes": {**swap_notes, "during_decode": during_decode}, "alone": alone}
    return timings, fit_notes, states[0] if states else None


def _untimed(pair: Pair, settings: Settings, timings: Timings) -> list[str]:
    """Return what was not timed for want of time, in words."""
    grid, prefills, out = timings.grid, timings.prefills, []
    batches = sorted({1, *settings.batches})
    if grid.late:
        missing = [b for b in batches if b not in grid.passes]
        sizes = f" (batch sizes {', '.join(map(str, missing))})" if missing else ""
        out.append(f"{len(grid.late)} of {grid.cells} cells{sizes}")
    passes = 1 if settings.quick or pair.device.type == "cuda" else PASSES
    fewer = [b for b, done in sorted(grid.passes.items()) if done < passes]
    if fewer and not grid.interrupted:
        out.append(
            f"some of the {passes} passes over the cells of batch size{'s' * (len(fewer) > 1)}"
            f" {', '.join(map(str, fewer))}"
        )
    single, batched = prefills[prefills["batch"] == 1], prefills[prefills["batch"] > 1]
    repeats = int(single.groupby("tokens").size().max())
    if repeats < REPEATS:
        out.append(f"{REPEATS - repeats} of {REPEATS} repetitions of prefills")
    wanted = len(batched_sizes(pair, _longest(pair) - 4, settings.batches))
    if len(batched) < (REPEATS * wanted):
        out.append(f"{wanted - len(batched) // REPEATS} of {wanted} batched prefills")
    return out


def samples_frame(timings: Timings) -> pd.DataFrame:
    """Return all raw timings except the rounds of recorded requests, in one table."""
    cells = timings.grid.samples.rename(columns={"total_ns": "ns"}).assign(term="cell")
    prefills = timings.prefills.assign(term="prefill")
    transfers = [
        pd.DataFrame(
            {"term": f"{direction} {way}", "batch": 1, "tokens": m.tokens, "ns": ns, "role": "fit"}
        )
        for way, m in timings.kv_transfers.items()
        for direction, ns in (("swap_out", m.out_ns), ("swap_in", m.back_ns))
    ]
    columns = ["term", "role", "cell", "batch", "width", "tokens", "ns", "draft_ns", "verify_ns"]
    whole = pd.concat([cells, prefills, *transfers], ignore_index=True)[columns]
    return whole.astype(dict.fromkeys(columns[2:], "Int64"))


def _pays(
    pair: Pair,
    requests: Sequence[Tokenized],
    settings: Settings,
    trace: Trace,
    profile: Profile,
    progress: Progress,
    budget: Budget,
) -> tuple[Speculation, list[str]]:
    """Return the predicted tokens per second by draft length, and warnings.

    The best draft length at batch size 1 is checked by real runs (at least one, whatever the
    budget). There is one warning for each batch size at which plain decoding is fastest.
    """
    progress("comparing draft lengths", 0, 1)
    speculation = Speculation.of(speculation_pays(trace, profile))
    warnings = [
        f"at batch size {batch} plain decoding is faster than speculation at every draft length"
        for batch in speculation.batches
        if speculation.best(batch).draft_tokens == 0
    ]
    best_n = speculation.best(1).draft_tokens
    room = pair.context - settings.max_new_tokens - best_n - 1
    chosen = [(i, ids) for i, (_, ids) in enumerate(requests) if 2 <= len(ids) <= room][
        :CHECKED_RUNS
    ]
    if best_n and chosen:
        seconds: list[float] = []
        tokens: list[int] = []
        for i, ids in chosen:
            if seconds and not budget.left_s:
                break
            begin = time.perf_counter()
            done = generate(
                pair,
                ids,
                n=best_n,
                max_new_tokens=settings.max_new_tokens,
                sampling=settings.sampling,
                request=i,
            )
            seconds.append(time.perf_counter() - begin - done.prefill_ns / 1e9)
            tokens.append(len(done.tokens))
        same = trace.take([i for i, _ in chosen[: len(seconds)]])
        predicted = speculation_pays(same, profile, batches=(1,), lengths=(best_n,))[
            "tokens_per_s"
        ].iloc[0]
        check = SpeculationCheck(
            draft_tokens=best_n,
            requests=len(seconds),
            measured_tokens_per_s=round(sum(tokens) / sum(seconds), 3),
            predicted_tokens_per_s=round(float(predicted), 3),
        )
        speculation = replace(speculation, check=check)
    return speculation, warnings
