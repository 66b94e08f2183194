"""Order and length together: what does each decision buy alone, and both?"""

import pandas as pd

from lapsd.papers.differences import columns, interval_of, percent, product
from lapsd.papers.draft_length.fixed import (
    CONFIDENT,
    FIXED,
    ORACLE,
    RULES,
    batches,
    best_fixed,
    draft_sweep,
    latencies,
    seeds,
)
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import PREDICTOR
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Claim, Figure, Table, judged
from lapsd.papers.words import change, signed
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep

ORDERS = ("fcfs", "lp-srpt", "laps-sd", "kernel-gittins")
ADAPTIVE = ("goodput", "gated", CONFIDENT, ORACLE)
LOADS = ("0.8", "1.1")
BEST = "best fixed"
LARGEST_FOR_GITTINS = 64  # its rank takes long in large batches
GAINS = -1.0  # percent: an order or a length that gains less does not count as a gain


def orders(batch: int) -> list[str]:
    """Return the orders that are compared at a batch size."""
    return [o for o in ORDERS if o != "kernel-gittins" or batch <= LARGEST_FOR_GITTINS]


def pairs(batch: int) -> list[tuple[str, str]]:
    """Return the orders with draft policies that run at a batch size.

    The fixed lengths are candidates for the best one.
    """
    fixed = FIXED[:4] if batch > 16 else FIXED[2:]
    return [(order, drafts) for order in orders(batch) for drafts in (*fixed, *ADAPTIVE)]


def count(size: Size, batch: int) -> int:
    """Return the number of seeds at a batch size."""
    return seeds(size.stability, batch)


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep for each batch size."""
    return {
        f"joint-{b}": draft_sweep(inputs, pairs(b), b, count(size, b), load=list(LOADS))
        for b in batches(inputs)
    }


def find(evidence: Evidence) -> Tables:
    """Compare each order with each draft policy, by batch size and load.

    One row per batch size, load, order and drafts: `together` (above FCFS with its best fixed
    length); `order_alone` (the order with its best fixed length above the same), `length_alone`
    (FCFS with the draft policy above the same), `within` (above the same order with its best fixed
    length), `over_length` (above FCFS with the same draft policy), and `more` (how far both
    together are above the product of both alone). In percent,
    with `_low` and `_high`.
    """
    rows = []
    for batch in batches(evidence.inputs):
        for load, some in evidence.records[f"joint-{batch}"].groupby("load"):
            latency = latencies(some, evidence.inputs, pairs(batch))
            base = best_fixed(latency)
            for order in orders(batch):
                fixed = best_fixed(latency, order)
                for drafts in (BEST, *ADAPTIVE):
                    both = fixed if drafts == BEST else (order, drafts)
                    length = base if drafts == BEST else ("fcfs", drafts)
                    rows.append(
                        {
                            "batch": batch,
                            "load": load,
                            "order": order,
                            "drafts": drafts,
                            **columns("together", percent(latency, both, base)),
                            **columns("order_alone", percent(latency, fixed, base)),
                            **columns("length_alone", percent(latency, length, base)),
                            **columns("within", percent(latency, both, fixed)),
                            **columns("over_length", percent(latency, both, length)),
                            **columns("more", product(latency, both, base, fixed, length)),
                            "seeds": len(latency),
                        }
                    )
    return {"joint": pd.DataFrame(rows), "laps_sd_over_lp_srpt": over_lp_srpt(evidence)}


def over_lp_srpt(evidence: Evidence) -> pd.DataFrame:
    """Return LAPS-SD's mean latency above LP-SRPT's in percent, by batch size, load and drafts."""
    rows = []
    for batch in batches(evidence.inputs):
        for load, some in evidence.records[f"joint-{batch}"].groupby("load"):
            latency = latencies(some, evidence.inputs, pairs(batch))
            for drafts in (BEST, *ADAPTIVE):
                own, other = (
                    best_fixed(latency, order) if drafts == BEST else (order, drafts)
                    for order in ("laps-sd", "lp-srpt")
                )
                value, low, high = percent(latency, own, other)
                rows.append((batch, load, drafts, value, low, high))
    names = ["batch", "load", "drafts", "percent", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim where both an order and survival with confidence gain at least 1 % alone.

    It holds if both together are significantly below each alone in all such cells, and in part if
    they are in at least half of them.
    """
    rows = tables["joint"]
    own = rows[(rows["drafts"] == CONFIDENT) & (rows["order"] != "fcfs")]
    gain = own[(own["order_alone"] < GAINS) & (own["length_alone"] < GAINS)]
    wins = gain[(gain["within_high"] < 0) & (gain["over_length_high"] < 0)]
    waits = rows[(rows["drafts"] == BEST) & (rows["order"] == "lp-srpt")]
    findings = [
        (
            f"Against FCFS with its best fixed length; predicted lengths {PREDICTOR}. The order"
            " alone, LP-SRPT with its own best fixed length: "
            + "; ".join(
                f"b = {r['batch']}, load {r['load']:g}: {change(interval_of(r, 'together'))}"
                for r in waits.to_dict("records")
            )
            + "."
        ),
        (
            "Both together against the product of what each gains alone (0: the gains multiply),"
            " survival with confidence: "
            + "; ".join(
                f"{NAMES[r['order']]}, b = {r['batch']}, load {r['load']:g}:"
                f" {change(interval_of(r, 'more'))}"
                for r in gain.to_dict("records")
            )
            + "."
            if len(gain)
            else "In no cell do an order and survival with confidence both gain 1 % alone."
        ),
        _laps_sd(tables["laps_sd_over_lp_srpt"]),
    ]
    return Claim(
        "Order and draft length together are faster than either alone",
        "Our own question.",
        f"in {len(wins)} of {len(gain)} cells in which both gain alone",
        findings,
        judged(len(wins), len(gain)),
        "Both together are significantly faster than the order alone, and than the length alone,"
        f" in {len(wins)} of the {len(gain)} cells (orders, batch sizes and loads) in which each"
        f" gains at least {-GAINS:g} % alone.",
        _table(rows),
    )


def _laps_sd(rows: pd.DataFrame) -> str:
    """Return LAPS-SD against LP-SRPT in a sentence, with fixed and with adaptive lengths."""
    parts = []
    for drafts, some in rows.groupby("drafts", sort=False):
        parts.append(
            f"{RULES.get(str(drafts), str(drafts))}: {signed(some['percent'].min())} to"
            f" {signed(some['percent'].max())} %, faster in {int((some['high'] < 0).sum())} of"
            f" {len(some)} cells, slower in {int((some['low'] > 0).sum())}"
        )
    return f"LAPS-SD's mean latency above LP-SRPT's. {'; '.join(parts)}."


def _table(rows: pd.DataFrame) -> Table:
    body = []
    for (batch, load, order), some in rows.groupby(["batch", "load", "order"], sort=False):
        by = some.set_index("drafts").to_dict("index")
        body.append(
            [
                str(batch),
                f"{load:g}",
                NAMES[str(order)],
                *(
                    f"{signed(r['together'])} ± {r['together_high'] - r['together']:.1f}"
                    for r in (by[d] for d in (BEST, *ADAPTIVE))
                ),
            ]
        )
    names = [RULES.get(drafts, drafts) for drafts in (BEST, *ADAPTIVE)]
    return Table(
        ["batch", "load", "order", *names],
        body,
        "Mean latency above that of FCFS with its best fixed length, %, ± half of its 95 %"
        " interval. Column “best fixed”: each order with its own best fixed length.",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 2."""
    rows = tables["joint"]
    shown = rows.assign(
        panel=[f"{NAMES[o]}, load {x:g}" for o, x in zip(rows["order"], rows["load"], strict=True)],
        line=rows["drafts"].map(lambda d: RULES.get(d, d)),
        x=rows["batch"],
        value=rows["together"],
        high=rows["together_high"],
    ).sort_values(
        ["load", "order"], key=lambda c: c.map(list(ORDERS).index) if c.name == "order" else c
    )
    caption = (
        "Simulated: mean latency above that of FCFS with its best fixed length, in percent"
        " (vertical axis), by batch size (horizontal axis, logarithmic), one panel per order and"
        " load, one line per draft policy; below 0 the combination is faster. Predicted lengths"
        f" {PREDICTOR}; max(100, 15 b) requests; 95 % intervals. {evidence.inputs.where}"
    )
    return [
        Figure(
            2,
            "Order and draft length together",
            caption,
            lambda: plot_panels(
                shown, "batch size", "mean latency vs. FCFS, best fixed, %", log=True
            ),
        )
    ]


QUESTION = Question("order and length", find, say, draw, needs)
