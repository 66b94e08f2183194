"""Claim: switching costs about 14 % of inference time at 500 output tokens."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lapsd.papers.inputs import Inputs
from lapsd.papers.laps_sd.claims import latency
from lapsd.papers.laps_sd.fixed import LOAD, REQUESTS
from lapsd.papers.laps_sd.switch_times import (
    PAPER_SHARE,
    PAPER_TOKENS,
    RECOMPUTE,
    Link,
    inference_ns,
    link_of,
    median_prompt,
    named,
    switch_ns,
)
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import HOLDS, NOT, NOT_TESTED, Claim, Figure, Table
from lapsd.papers.words import listed, percentage
from lapsd.sim.experiment.metrics import over_seeds
from lapsd.sim.figures.costs import plot_switching

LONGEST, POINTS = 600, 60  # least length in tokens at which the figure ends, and its points
DRAWN = (25.0, 8.0, 2.0)  # link rates in the figure besides the profile's own, 10^9 bytes/s
SOURCE = "A summary of the paper (its Figure 2). We do not know how many switches it counts."


def find(evidence: Evidence) -> Tables:
    """Return the time of one switch over a request's time, by method and output length.

    Also returns LAPS-SD's share of busy time that is spent on switching, and its switches per
    request.
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
        records["dataset"].isna()
        & ~records["all_at_once"]
        & (records["requests"] == REQUESTS)
        & (records["policy"] == "laps-sd")
    ]
    paid = {
        "policy": "laps-sd",
        "switching_share": over_seeds(own, "switching_share").value,
        "switches_per_request": own["preemptions"].mean() / REQUESTS,
    }
    return {
        "switching": pd.DataFrame(rows, columns=["tokens", "way", "share"]),
        "switching_paid": pd.DataFrame([paid]),
    }


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by the share of one switch in the time of a 500-token request.

    The claim is not tested by a profile that was measured on a CPU, whose KV caches are copied
    within one memory. Otherwise it holds if a swap takes between half of 14 % and twice 14 % by
    the profile's own method: at its link rate where it knows the bytes of a KV cache, else as
    measured. The other methods and `LINK_RATES` are secondary.
    """
    inputs, rows = evidence.inputs, tables["switching"]
    at, link = rows[rows["tokens"] == PAPER_TOKENS], link_of(evidence.inputs.profile)
    shares = {str(way): float(share) for way, share in zip(at["way"], at["share"], strict=True)}
    own = named(link.rate) if link else next(iter(shares))
    reached = [w for w, s in shares.items() if PAPER_SHARE / 2 <= s <= 2 * PAPER_SHARE]
    verdict = NOT_TESTED if _on_cpu(inputs) else HOLDS if own in reached else NOT
    how = f"at {own}, the profile's link rate" if link else f"by the profile's method, {own}"
    return Claim(
        "Switching costs about 14 % of inference time at 500 output tokens",
        SOURCE,
        f"{_percent(shares[own])} for one swap {how}",
        [
            _over_links(inputs, link, shares) if link else _by_method(shares),
            _paid(tables["switching_paid"]),
        ],
        verdict,
        _why(inputs, own, shares[own], reached),
        _table(shares, link),
    )


def _on_cpu(inputs: Inputs) -> bool:
    hardware = inputs.profile.provenance.hardware
    return hardware is not None and hardware.device == "cpu"


def _by_method(shares: Mapping[str, float]) -> str:
    top = max(shares, key=lambda way: shares[way])
    return (
        f"The slowest method of a switch, {top}, takes {percentage(shares[top], 2)} of the"
        f" inference time of a request with {PAPER_TOKENS} output tokens."
    )


def _over_links(inputs: Inputs, link: Link, shares: Mapping[str, float]) -> str:
    """Return the share of a swap over the profile's link, and the link that the claim needs."""
    tokens, share = median_prompt(inputs.trace) + PAPER_TOKENS, shares[named(link.rate)]
    whole = int(inference_ns(inputs, [PAPER_TOKENS])[0])
    needed = link.rate_for(tokens, PAPER_SHARE * whole)
    capacity = inputs.profile.kv_capacity
    fitting = (
        f" The memory of the profile's hardware holds {capacity.tokens // tokens:,} such requests,"
        " and a server that uses all of it switches only when it is full."
        if capacity is not None and capacity.tokens
        else ""
    )
    return (
        f"A request with {PAPER_TOKENS} output tokens takes {whole / 1e9:.3g} s, and has"
        f" {tokens * link.bytes_per_token / 1e6:,.0f} MB of keys and values per GPU at its end. One"
        f" switch over the profile's link ({named(link.rate)} per GPU) takes"
        f" {percentage(share, 2)} of its inference time. A share of 14 % needs"
        f" {_count(PAPER_SHARE / share)} switches per request, or a link of {named(needed)}."
        f"{fitting}"
    )


def _paid(paid: pd.DataFrame) -> str:
    row = paid.iloc[0]
    return (
        f"In the runs of Figure 5 ({REQUESTS} requests, load {LOAD:g}), LAPS-SD switches a request"
        f" {float(row['switches_per_request']):.2f} times on average and spends"
        f" {percentage(float(row['switching_share']), 3)} of its busy time on switching."
    )


def _why(inputs: Inputs, own: str, share: float, reached: list[str]) -> str:
    if _on_cpu(inputs):
        return (
            "The profile was measured on a CPU, where a KV cache is copied within one memory. The"
            " claim is about transfers between a GPU and its host, which this profile does not"
            " have."
        )
    least, most = percentage(PAPER_SHARE / 2, 0), percentage(2 * PAPER_SHARE, 0)
    others = [way for way in reached if way != own]
    return (
        f"By the profile's own method ({own}) one switch takes {_percent(share)}; the claim"
        f" holds from {least} to {most}. Secondary, without a verdict: such a share is reached"
        f" with {listed(others)} of the other methods."
        + (
            ""
            if own in reached
            else " A share of 14 % needs many switches per request, far slower copies, or another"
            " cost in addition to the copy."
        )
    )


def _table(shares: Mapping[str, float], link: Link | None) -> Table:
    caption = (
        "Time of one swap-out and one swap-in of a whole KV cache, divided by the time of prefill"
        f" and rounds of a request with {PAPER_TOKENS} output tokens (median prompt, mean"
        " acceptance of the trace). `recompute` runs the prefill again over all tokens."
    )
    if link is not None:
        caption += " GB/s: transfers at that rate between each GPU and host memory."
    return Table(
        ["method", "one switch / inference time", "switches for 14 %"],
        [
            [
                f"{way} (the profile's link)" if link and way == named(link.rate) else way,
                _percent(share),
                _count(PAPER_SHARE / share),
            ]
            for way, share in shares.items()
        ],
        caption,
    )


def _percent(share: float) -> str:
    return percentage(share, 2 if share >= 1e-3 else 3)


def _count(switches: float) -> str:
    return f"{switches:,.0f}" if switches >= 10 else f"{switches:.1f}"


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 2."""
    rows, link = tables["switching"], link_of(evidence.inputs.profile)
    if link is not None:
        shown = {RECOMPUTE, *(named(rate) for rate in link.rates if rate in (link.rate, *DRAWN))}
        rows = rows[rows["way"].isin(shown)]
    lines = (
        "one line per rate of the link between GPU and host memory (the profile's:"
        f" {named(link.rate)})"
        if link
        else "one line per method"
    )
    caption = (
        "Time of one swap-out and one swap-in of a whole KV cache (target and draft model), in"
        " percent of the time of prefill and rounds (vertical axis, logarithmic), by output length"
        f" in tokens (horizontal axis), {lines}; `recompute` runs the prefill again. Requests have"
        " the trace's median prompt and mean acceptance. Star: the paper shows about 14 % at"
        f" {PAPER_TOKENS} tokens. {evidence.inputs.costs}"
    )
    return [
        Figure(
            2,
            "The time of one switch relative to a request's inference time",
            caption,
            lambda: plot_switching(rows, (PAPER_TOKENS, PAPER_SHARE), "paper"),
        )
    ]


QUESTION = Question("figure 2 and the claim on switching", find, say, draw, latency.needs)
