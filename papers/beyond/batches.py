"""The paper's first open question: does the order of requests matter on a server with batches?"""

from typing import Any

import numpy as np
import pandas as pd

from lapsd.papers.differences import percent, percent_of
from lapsd.papers.inputs import ALL, Inputs, Size
from lapsd.papers.laps_sd.fixed import PREDICTOR, sweep
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.words import change, listed, signed
from lapsd.policies import FCFS
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import run
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep

SIZES = (1, 2, 4, 8, 16, 32)
LOADS = (0.5, 0.8, 0.9, 0.95)
POLICIES = ("fcfs", "lp-srpt", "laps-sd", "kernel-gittins", "srpt")
REQUESTS = 100
TIGHT = 0.5  # share of the KV memory that a full batch of median requests takes
QUEUE_SEEDS = 10


def sizes(inputs: Inputs) -> list[int]:
    """Return the batch sizes that the profile covers."""
    known = inputs.profile.costs.rounds
    return [b for b in SIZES if min(known) <= b <= max(known)]


def tight_tokens(inputs: Inputs, batch: int) -> int:
    """Return the KV tokens of the tight memory, in which the largest request fits at least."""
    trace = inputs.trace
    contexts = trace.prompt_tokens + trace.output_tokens
    largest = int(contexts.max() + trace.drafted.max() + 1)
    return max(largest, round(TIGHT * batch * float(np.median(contexts))))


def equal_rate(inputs: Inputs) -> float:
    """Return the arrival rate in requests/s that is a load of 0.9 at batch size 1."""
    return 0.9 * 1e9 / inputs.split().share_ns


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return sweeps at equal load, with tight memory, at an equal rate, and by data set."""
    shared: dict[str, Any] = {"requests": REQUESTS, "length_predictor": PREDICTOR}
    loads, sweeps = [f"{x:g}" for x in LOADS], {}
    for batch in sizes(inputs):
        own = shared | {"batch": batch}
        sweeps[f"batch-{batch}"] = sweep(
            POLICIES, size.others, **own, load=loads, kv_slots="unlimited"
        )
        sweeps[f"batch-{batch}-tight"] = sweep(
            POLICIES,
            size.others,
            **own,
            load="0.9",
            kv_slots="unlimited",
            kv_tokens=tight_tokens(inputs, batch),
        )
        sweeps[f"batch-{batch}-rate"] = sweep(
            POLICIES, size.others, **own, rate=f"{equal_rate(inputs):.4g}", kv_slots="unlimited"
        )
    if len(inputs.datasets) > 1:
        sweeps["batch-datasets"] = sweep(
            POLICIES,
            size.others,
            **shared,
            batch=sizes(inputs),
            load="0.9",
            kv_slots="unlimited",
            dataset=inputs.datasets,
        )
    return sweeps


def find(evidence: Evidence) -> Tables:
    """Compare each policy with FCFS by batch size, load, memory and data set.

    `batches`: `kind` (load, tight or rate), `batch`, `load`, `dataset`, `cv` (of requests' times
    alone), `policy`, `percent`, `low`, `high`. `queues_in_front`: `batch`, `load`, and `waiting`,
    the mean number of requests that have not begun under FCFS.
    """
    inputs = evidence.inputs
    if len(sizes(inputs)) < 2:
        raise Unanswerable("the profile covers only one batch size")
    rows = []
    for name in needs(inputs, evidence.size):
        records = evidence.records[name].fillna({"dataset": ALL, "load": np.nan})
        for (batch, load, dataset), group in records.groupby(
            ["batch", "load", "dataset"], dropna=False, sort=False
        ):
            table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
            kind = name.rpartition("-")[2] if name.endswith(("tight", "rate")) else "load"
            for policy in POLICIES[1:]:
                value, low, high = percent(table, policy, "fcfs")
                rows.append(
                    (
                        kind,
                        batch,
                        load,
                        dataset,
                        cv_of(inputs, str(dataset)),
                        policy,
                        value,
                        low,
                        high,
                        len(table),
                    )
                )
    names = ["kind", "batch", "load", "dataset", "cv", "policy", "percent", "low", "high", "seeds"]
    return {
        "batches": pd.DataFrame(rows, columns=names),
        "queues_in_front": queues(inputs, evidence.size),
    }


def cv_of(inputs: Inputs, dataset: str) -> float:
    """Return the standard deviation over the mean of the times that requests take alone."""
    sizes_ns = inputs.split(None if dataset == ALL else dataset).test.size_ns
    return float(sizes_ns.std() / sizes_ns.mean())


def queues(inputs: Inputs, size: Size) -> pd.DataFrame:
    """Return the mean number of requests that have arrived and not begun, under FCFS.

    By Little's law it is the sum of the waiting times before prefill over the time of arrivals.
    """
    rows = []
    for batch in sizes(inputs):
        for load in LOADS:
            prepared = PreparedScenario.of(
                inputs.trace,
                inputs.profile,
                batch=batch,
                load=load,
                requests=REQUESTS,
                kv_slots="unlimited",
            )
            waits = []
            for seed in range(min(QUEUE_SEEDS, size.others)):
                ran = run(prepared, FCFS(), seed)
                waits.append(
                    float(
                        (ran.first_service_ns - ran.arrival_ns).sum() / max(1, ran.arrival_ns[-1])
                    )
                )
            rows.append((batch, load, float(np.mean(waits))))
    return pd.DataFrame(rows, columns=["batch", "load", "waiting"])


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by LAPS-SD's difference to FCFS at a load of 0.9.

    It holds if LAPS-SD is significantly faster at every batch size, and in part if that is so for
    at least half of those above 1.
    """
    rows, front = (
        tables["batches"],
        tables["queues_in_front"].set_index(["batch", "load"])["waiting"],
    )
    at = rows[(rows["kind"] == "load") & (rows["load"] == 0.9) & (rows["dataset"] == ALL)]
    own = at[at["policy"] == "laps-sd"].set_index("batch")
    best = at[at["policy"] == "srpt"].set_index("batch")
    gains = [int(b) for b in own.index if own.loc[b, "high"] < 0]
    findings = [
        "Mean latency compared with FCFS at an equal load of 0.9, by batch size b: "
        + "; ".join(
            f"b = {b}: LAPS-SD {change(percent_of(own.loc[b]))}, SRPT"
            f" {change(percent_of(best.loc[b]))}, {front[b, 0.9]:.1f} waiting"
            for b in own.index
        )
        + f" ({REQUESTS} requests, {int(at['seeds'].max())} seeds; waiting: mean number of requests"
        " that have not begun, under FCFS).",
        "SRPT's mean latency compared with FCFS at an equal arrival rate, which is a load of 0.9 at"
        " b = 1: "
        + "; ".join(
            f"b = {int(r['batch'])}: {change(percent_of(r))}"
            for r in rows[(rows["kind"] == "rate") & (rows["policy"] == "srpt")].to_dict("records")
        )
        + ". A policy can reorder only requests that wait for a batch slot, and with larger batches"
        " fewer requests wait.",
    ]
    table = Table(
        ["batch", "memory", "load", *(NAMES[p] for p in POLICIES[1:])],
        [
            [
                str(batch),
                "tight" if kind == "tight" else "unlimited",
                f"{load:g}",
                *(change(percent_of(some.set_index("policy").loc[p])) for p in POLICIES[1:]),
            ]
            for (batch, kind, load), some in rows[
                (rows["dataset"] == ALL) & (rows["kind"] != "rate")
            ].groupby(["batch", "kind", "load"], sort=True)
        ],
        "Difference in mean latency to FCFS at the same load, with 95 % intervals; predicted"
        f" lengths {PREDICTOR}. Tight memory: {100 * TIGHT:.0f} % of the KV memory that a full"
        " batch of median requests takes, and at least room for the largest request.",
    )
    larger = [b for b in own.index if b > 1]
    many = [b for b in gains if b > 1]
    return Claim(
        "LAPS-SD extends to batches",
        "The authors state that LAPS-SD extends to batches, and give no results.",
        f"faster than FCFS at load 0.9 at b = {listed([str(b) for b in gains])}",
        findings,
        NOT if 2 * len(many) < len(larger) else HOLDS if len(gains) == len(own) else PART,
        "At a load of 0.9 LAPS-SD is significantly faster than FCFS at b ="
        f" {listed([str(b) for b in gains])}, of batch sizes"
        f" {listed([str(int(b)) for b in own.index])}. The difference of SRPT, which knows true"
        f" times, is {signed(float(best['percent'].iloc[0]))} % at b = {int(best.index[0])} and"
        f" {signed(float(best['percent'].iloc[-1]))} % at b = {int(best.index[-1])}.",
        table,
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 5."""
    rows = tables["batches"]
    by_load = rows[(rows["kind"] == "load") & (rows["dataset"] == ALL)]
    panels = [
        by_load[by_load["load"] == load].assign(panel=f"load {load:g}, CV {cv:.2f}")
        for load, cv in by_load.groupby("load")["cv"].first().items()
    ]
    for dataset, some in rows[rows["dataset"] != ALL].groupby("dataset", sort=False):
        panels.append(some.assign(panel=f"{dataset}, load 0.9, CV {some['cv'].iloc[0]:.2f}"))
    shown = pd.concat(panels).assign(
        line=lambda t: t["policy"].map(NAMES),
        colour=lambda t: t["policy"],
        x=lambda t: t["batch"],
        value=lambda t: t["percent"],
    )
    caption = (
        "Simulated: difference in mean latency to FCFS in percent (vertical axis) by batch size"
        " (horizontal axis, logarithmic), one line per policy; below 0 the policy is faster. The"
        " lines approach 0 as fewer requests wait. One panel per load over all data sets, and one"
        " per data set. CV: standard deviation over mean of the times that requests take alone."
        f" {REQUESTS} requests, predicted lengths {PREDICTOR}, unlimited KV memory;"
        f" {evidence.size.others:,} seeds, 95 % intervals. SRPT knows true times."
        f" {evidence.inputs.where}"
    )
    axes = ("batch size", "mean latency vs. FCFS, %")
    return [
        Figure(
            5,
            "The effect of the order of requests in batches",
            caption,
            lambda: plot_panels(shown, *axes, log=True),
        )
    ]


QUESTION = Question("batches", find, say, draw, needs)
