"""Claim: switching costs about 14 % of inference time at 500 output tokens."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lapsd.papers.inputs import Inputs
from lapsd.papers.laps_sd.claims import latency
from lapsd.papers.laps_sd.fixed import LOAD, REQUESTS
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.words import listed, percentage
from lapsd.sim.experiment.metrics import over_seeds
from lapsd.sim.figures.costs import plot_switching
from lapsd.traces import Trace, price, trace_from_rounds

PAPER_TOKENS, PAPER_SHARE = 500, 0.14
LONGEST, POINTS = 600, 60  # tokens that the figure reaches at least, and its points
RECOMPUTE = "recompute"
SURE = "From a summary of the paper (its figure 2); how many switches are counted is not known."


def typical_requests(trace: Trace, output_tokens: Sequence[int]) -> Trace:
    """A request of the trace's median prompt for each output length; its rounds emit what the
    trace's do on average.

    Rounds emit whole tokens: r rounds have emitted ⌊r · tokens / rounds⌋ of the trace.
    """
    tokens, rounds = int(trace.output_tokens.sum()), int(trace.rounds.sum())
    drafted, rows = round(float(np.median(trace.drafted))), []
    for length in output_tokens:
        count = -(-length * rounds // tokens)
        emitted = np.diff(np.minimum(np.arange(count + 1) * tokens // rounds, length))
        n = max(drafted, int(emitted.max()) - 1)
        rows.append(
            {
                "request_id": str(length),
                "dataset": "typical",
                "prompt_tokens": _median_prompt(trace),
                "output_tokens": length,
                "drafted": [n] * count,
                "accepted": (emitted - 1).tolist(),
            }
        )
    return trace_from_rounds(rows)


def _median_prompt(trace: Trace) -> int:
    return int(np.median(trace.prompt_tokens))


def inference_ns(inputs: Inputs, output_tokens: Sequence[int]) -> NDArray[np.int64]:
    """Prefill and rounds of `typical_requests`, (N,)."""
    return price(typical_requests(inputs.trace, output_tokens), inputs.profile).size_ns


def switch_ns(inputs: Inputs, output_tokens: int) -> dict[str, int]:
    """By way, out and back of the whole cache of a request at its end; and recomputing it, its
    prefill run again.
    """
    costs = inputs.profile.costs
    tokens = _median_prompt(inputs.trace) + output_tokens
    by_way = {way: swap.out(tokens) + swap.back(tokens) for way, swap in costs.swap_ways.items()}
    if not by_way:
        by_way = {"swap": costs.swap_out(tokens) + costs.swap_in(tokens)}
    if recompute := costs.prefill(tokens):
        by_way[RECOMPUTE] = recompute
    return by_way


def paper_scale(inputs: Inputs) -> float:
    """By what factor moves must grow for one of a 500-token request, out and back, to be 14 % of
    its time.
    """
    costs, tokens = inputs.profile.costs, _median_prompt(inputs.trace) + PAPER_TOKENS
    once = costs.swap_out(tokens) + costs.swap_in(tokens)
    return float(f"{PAPER_SHARE * int(inference_ns(inputs, [PAPER_TOKENS])[0]) / once:.3g}")


def find(evidence: Evidence) -> Tables:
    """What one switch takes over a request's time, by way and output length, and what LAPS-SD
    spends on switching.
    """
    inputs = evidence.inputs
    if not inputs.switching:
        raise Unanswerable("the profile has no switching costs")
    longest = max(LONGEST, float(np.percentile(inputs.trace.output_tokens, 99)))
    lengths = sorted({PAPER_TOKENS, *np.linspace(10, longest, POINTS).round().astype(int).tolist()})
    rows = [
        (tokens, way, ns / int(whole))
        for tokens, whole in zip(lengths, inference_ns(inputs, lengths), strict=True)
        for way, ns in switch_ns(inputs, tokens).items()
    ]
    records = evidence.records["latency"]
    own = records[
        records["dataset"].isna() & ~records["all_at_once"] & (records["requests"] == REQUESTS)
    ]
    paid = over_seeds(own[own["policy"] == "laps-sd"], "switching_share").value
    return {
        "switching": pd.DataFrame(rows, columns=["tokens", "way", "share"]),
        "switching_paid": pd.DataFrame({"policy": ["laps-sd"], "switching_share": [paid]}),
    }


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Holds if one switch in a measured way costs between half and twice 14 %; in part if
    recomputing does.
    """
    rows = tables["switching"]
    at = rows[rows["tokens"] == PAPER_TOKENS]
    shares = {str(way): float(share) for way, share in zip(at["way"], at["share"], strict=True)}
    swaps = {way: share for way, share in shares.items() if way != RECOMPUTE}
    reached = [w for w, s in shares.items() if PAPER_SHARE / 2 <= s <= 2 * PAPER_SHARE]
    paid = float(tables["switching_paid"]["switching_share"].iloc[0])
    table = Table(
        ["way", "one switch / inference", "switches for 14 %"],
        [
            [w, percentage(s, 2 if s >= 1e-3 else 3), f"{PAPER_SHARE / s:,.0f}"]
            for w, s in shares.items()
        ],
        "Out and back of a whole cache once, over prefill and rounds of a request with"
        f" {PAPER_TOKENS} output tokens (median prompt, pooled acceptance). `recompute` runs the"
        " prefill again over all its tokens.",
    )
    top = max(shares, key=lambda w: shares[w])
    findings = [
        f"The dearest measured way of one switch, {top}, is {percentage(shares[top], 2)} of a"
        f" {PAPER_TOKENS}-token request's time. In the runs of figure 5 ({REQUESTS} requests, load"
        f" {LOAD:g}) LAPS-SD spends {percentage(paid, 3)} of the busy time on switching."
    ]
    return Claim(
        "Switching costs about 14 % of inference time at 500 output tokens",
        SURE,
        f"{percentage(max(swaps.values(), default=0.0), 2)} for one swap, the dearest way",
        findings,
        HOLDS if set(reached) & set(swaps) else PART if reached else NOT,
        f"Reached by {listed(reached)}." if reached else _not_reached(evidence.inputs),
        table,
    )


def _not_reached(inputs: Inputs) -> str:
    hardware = inputs.profile.provenance.hardware
    if hardware is not None and hardware.device == "cpu":
        return (
            "No single switch comes near it on CPU cores, where a cache moves within one memory: it"
            " would take many switches a request, far slower copies, or another cost beside the"
            " copy. Nothing has been measured here on a GPU with caches that cross a bus."
        )
    return (
        "No single switch comes near it on this machine: it would take many switches, far slower"
        " copies, or another cost."
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Figure 2."""
    caption = (
        "Measured transfer times of a whole KV cache (target and draft), out and back once, over"
        " prefill and rounds of a request with the trace's median prompt and pooled acceptance;"
        f" `recompute` runs the prefill again. The paper shows about 14 % at {PAPER_TOKENS} tokens."
        f" {evidence.inputs.costs}"
    )
    return [
        Figure(
            2,
            "The cost of one switch over a request's inference time",
            caption,
            lambda: plot_switching(tables["switching"], (PAPER_TOKENS, PAPER_SHARE), "paper"),
        )
    ]


QUESTION = Question("figure 2 and the claim on switching", find, say, draw, latency.needs)
