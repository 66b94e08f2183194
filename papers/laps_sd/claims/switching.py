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
LONGEST, POINTS = 600, 60  # least length in tokens at which the figure ends, and its points
RECOMPUTE = "recompute"
SOURCE = "A summary of the paper (its Figure 2). We do not know how many switches it counts."


def typical_requests(trace: Trace, output_tokens: Sequence[int]) -> Trace:
    """Return one request per output length, with the trace's median prompt and mean acceptance.

    Rounds emit whole tokens: the first r rounds emit ⌊r · tokens / rounds⌋ tokens, where tokens and
    rounds are the totals of the trace.
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
    """Return the time of prefill and rounds of `typical_requests`, (N,)."""
    return price(typical_requests(inputs.trace, output_tokens), inputs.profile).size_ns


def switch_ns(inputs: Inputs, output_tokens: int) -> dict[str, int]:
    """Return the time of one switch of a request whose output is complete, by method.

    A swap transfers the whole KV cache out and back; `recompute` runs the prefill again.
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
    """Return the factor on swap times at which one switch takes 14 % of a 500-token request."""
    costs, tokens = inputs.profile.costs, _median_prompt(inputs.trace) + PAPER_TOKENS
    once = costs.swap_out(tokens) + costs.swap_in(tokens)
    return float(f"{PAPER_SHARE * int(inference_ns(inputs, [PAPER_TOKENS])[0]) / once:.3g}")


def find(evidence: Evidence) -> Tables:
    """Return the time of one switch over a request's time, by method and output length.

    Also returns the share of busy time that LAPS-SD spends on switching.
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
    """Judge the claim by the share of one switch in the time of a 500-token request.

    It holds if a measured swap takes between half of 14 % and twice 14 %, and in part if
    recomputing does.
    """
    rows = tables["switching"]
    at = rows[rows["tokens"] == PAPER_TOKENS]
    shares = {str(way): float(share) for way, share in zip(at["way"], at["share"], strict=True)}
    swaps = {way: share for way, share in shares.items() if way != RECOMPUTE}
    reached = [w for w, s in shares.items() if PAPER_SHARE / 2 <= s <= 2 * PAPER_SHARE]
    paid = float(tables["switching_paid"]["switching_share"].iloc[0])
    table = Table(
        ["method", "one switch / inference time", "switches for 14 %"],
        [
            [w, percentage(s, 2 if s >= 1e-3 else 3), f"{PAPER_SHARE / s:,.0f}"]
            for w, s in shares.items()
        ],
        "Time of one swap-out and one swap-in of a whole KV cache, divided by the time of prefill"
        f" and rounds of a request with {PAPER_TOKENS} output tokens (median prompt, mean"
        " acceptance of the trace). `recompute` runs the prefill again over all tokens.",
    )
    top = max(shares, key=lambda w: shares[w])
    findings = [
        f"The slowest method of a switch, {top}, takes {percentage(shares[top], 2)} of the"
        f" inference time of a request with {PAPER_TOKENS} output tokens. In the runs of Figure 5"
        f" ({REQUESTS} requests, load {LOAD:g}), LAPS-SD spends {percentage(paid, 3)} of its busy"
        " time on switching."
    ]
    return Claim(
        "Switching costs about 14 % of inference time at 500 output tokens",
        SOURCE,
        f"{percentage(max(swaps.values(), default=0.0), 2)} for one swap by the slowest method",
        findings,
        HOLDS if set(reached) & set(swaps) else PART if reached else NOT,
        (
            f"A share between half and twice 14 % is reached by {listed(reached)}."
            if reached
            else _not_reached(evidence.inputs)
        ),
        table,
    )


def _not_reached(inputs: Inputs) -> str:
    hardware = inputs.profile.provenance.hardware
    if hardware is not None and hardware.device == "cpu":
        return (
            "No single switch takes nearly 14 % on a CPU, where a KV cache is copied within one"
            " memory. A share of 14 % needs many switches per request, far slower copies, or"
            " another cost in addition to the copy. This profile has no swaps between a GPU and"
            " its host."
        )
    return (
        "No single switch takes nearly 14 % on this machine. A share of 14 % needs many switches"
        " per request, far slower copies, or another cost in addition to the copy."
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 2."""
    caption = (
        "Time of one swap-out and one swap-in of a whole KV cache (target and draft model), in"
        " percent of the time of prefill and rounds (logarithmic), by output length, one line per"
        " method; `recompute` runs the prefill again. Requests have the trace's median prompt and"
        f" mean acceptance. Star: the paper shows about 14 % at {PAPER_TOKENS} tokens."
        f" {evidence.inputs.costs}"
    )
    return [
        Figure(
            2,
            "The time of one switch relative to a request's inference time",
            caption,
            lambda: plot_switching(tables["switching"], (PAPER_TOKENS, PAPER_SHARE), "paper"),
        )
    ]


QUESTION = Question("figure 2 and the claim on switching", find, say, draw, latency.needs)
