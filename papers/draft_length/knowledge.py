"""What part of the oracle's lead do confidences give?

The lead is the mean latency of the best fixed length less that of the oracle, which knows what will
be accepted.
"""

import pandas as pd

from lapsd.papers.differences import columns, interval_of
from lapsd.papers.draft_length import lengths
from lapsd.papers.draft_length.fixed import (
    CONFIDENT,
    ORACLE,
    PRICED,
    RULES,
    SURVIVAL,
    batches,
    best_fixed,
    latencies,
)
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.words import percentage
from lapsd.sim.experiment.statistics import Interval, ratio_of_means
from lapsd.sim.figures.panels import plot_panels
from lapsd.traces.derived.confidence import reliability

KNOWING = ("gated", SURVIVAL, CONFIDENT, PRICED)
GIVES = "confidence"  # what confidences add to survival


def find(evidence: Evidence) -> Tables:
    """Return the reliability of confidences, and shares of the oracle's lead.

    `lead`: one row per batch size and load: for each policy of `KNOWING`, and for `confidence`
    (survival with confidence over survival without), the share in percent with `_low` and `_high`;
    `lead_percent`, the oracle's lead.
    """
    known = reliability(evidence.inputs.trace)
    if known is None:
        raise Unanswerable("the trace has no column draft_prob")
    rows = []
    for batch in batches(evidence.inputs):
        for load, some in evidence.records[lengths.name(batch)].groupby("load"):
            latency = latencies(some, evidence.inputs, lengths.PAIRS)
            base = latency[best_fixed(latency)]
            own = {drafts: latency["fcfs", drafts] for drafts in (*KNOWING, ORACLE)}
            lead = base - own[ORACLE]
            row = {"batch": batch, "load": load, "lead_percent": 100 * lead.mean() / base.mean()}
            for drafts in KNOWING:
                row |= columns(drafts, _share(base - own[drafts], lead))
            row |= columns(GIVES, _share(own[SURVIVAL] - own[CONFIDENT], lead))
            rows.append(row)
    return {"lead": pd.DataFrame(rows), "reliability": known.bins.assign(auc=known.auc)}


def _share(part: "pd.Series[float]", whole: "pd.Series[float]") -> Interval:
    value, low, high = ratio_of_means(part, whole)
    return Interval(100 * value, 100 * low, 100 * high)


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by what confidences add to survival, as a share of the oracle's lead.

    It holds if that is significantly above 0 in every cell, and in part if it is in at least half
    of them and significantly below 0 in none.
    """
    rows, bins = tables["lead"], tables["reliability"]
    more = rows[rows[f"{GIVES}_low"] > 0]
    less = rows[rows[f"{GIVES}_high"] < 0]
    span = f"{rows[CONFIDENT].min():.0f} to {rows[CONFIDENT].max():.0f} %"
    findings = [
        (
            f"The trace holds {int(bins['proposals'].sum()):,} proposals with the draft model's own"
            f" probability. The area under the ROC curve is {bins['auc'].iloc[0]:.3f}. Of proposals"
            f" with a probability below {bins['high'].iloc[0]:.1f},"
            f" {percentage(bins['accepted'].iloc[0], 0)} are accepted; above"
            f" {bins['low'].iloc[-1]:.1f}, {percentage(bins['accepted'].iloc[-1], 0)}. Policies use"
            " the share of accepted proposals of similar probability in the training half."
        ),
        (
            f"The oracle is {rows['lead_percent'].min():.0f} to {rows['lead_percent'].max():.0f} %"
            " below the best fixed length. Of this lead, "
            + "; ".join(
                f"“{RULES[drafts]}” gives {rows[drafts].min():.0f} to {rows[drafts].max():.0f} %"
                f" (median {rows[drafts].median():.0f} %)"
                for drafts in KNOWING
            )
            + "."
        ),
        (
            f"Confidences add {rows[GIVES].min():.0f} to {rows[GIVES].max():.0f} % of the lead"
            f" (median {rows[GIVES].median():.0f} %) to survival without them."
        ),
    ]
    names = [*KNOWING, GIVES]
    table = Table(
        ["batch", "load", "oracle's lead", *(RULES[d] for d in KNOWING), "confidences add"],
        [
            [
                str(r["batch"]),
                f"{r['load']:g}",
                f"{r['lead_percent']:.1f} %",
                *(_short(interval_of(r, name)) for name in names),
            ]
            for r in rows.to_dict("records")
        ],
        "Share of the oracle's lead over the best fixed length, %, ± half of its 95 % interval.",
    )
    return Claim(
        "Confidences give a part of the oracle's lead",
        "Our own question: an oracle differs from draft policies by what it knows of each draft.",
        f"survival with confidence gives {span} of the lead",
        findings,
        HOLDS
        if len(more) == len(rows)
        else PART
        if 2 * len(more) >= len(rows) and less.empty
        else NOT,
        f"Confidences add significantly to survival in {len(more)} of {len(rows)} cells, and take"
        f" significantly away in {len(less)}.",
        table,
    )


def _short(share: Interval) -> str:
    return f"{share.value:.0f} ± {share.high - share.value:.0f}"


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figures 3 and 4."""
    rows, bins = tables["lead"], tables["reliability"]
    curve = bins.assign(x=bins["draft_prob"], value=bins["accepted"], high=bins["accepted"])
    same = curve.assign(value=curve["x"], high=curve["x"])
    both = pd.concat([curve.assign(line="accepted"), same.assign(line="as the draft model says")])
    shown = pd.concat(
        [
            rows.assign(line=RULES[drafts], value=rows[drafts], high=rows[f"{drafts}_high"])
            for drafts in KNOWING
        ]
    )
    shown = shown.assign(panel=[f"b = {b}" for b in shown["batch"]], x=shown["load"])
    return [
        Figure(
            3,
            "Acceptance by the draft model's own probability",
            "Share of proposals that the target model accepts, by the probability that the draft"
            " model gave to them (means of ten bins). The map of policies is learnt on one half."
            f" {evidence.inputs.source}",
            lambda: plot_panels(
                both.assign(panel="", x=both["x"].round(2)), "draft probability", "accepted share"
            ),
        ),
        Figure(
            4,
            "Share of the oracle's lead",
            "Simulated: share of the oracle's lead over the best fixed length that draft policies"
            " give, by load, one panel per batch size b. FCFS, 95 % intervals."
            f" {evidence.inputs.where}",
            lambda: plot_panels(shown, "load", "share of the oracle's lead, %"),
        ),
    ]


QUESTION = Question("knowledge", find, say, draw, lengths.needs)
