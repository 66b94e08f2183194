"""Do verdicts depend on the time that an engine needs besides the models, which tables lack?"""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pandas as pd

from lapsd.papers.differences import percent_of
from lapsd.papers.inputs import ALL, Inputs, Size
from lapsd.papers.laps_sd.claims import estimates, latency, switching
from lapsd.papers.laps_sd.fixed import LOAD, PREDICTOR, REQUESTS, sweep
from lapsd.papers.laps_sd.switch_times import PAPER_TOKENS
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Claim, Section, Table
from lapsd.papers.words import change, listed, percentage
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep

HOST_US = (0, 100, 500, 2_000)  # microseconds added to each round, prefill and step
JUDGED = {"latency": latency.QUESTION, "T̃": estimates.QUESTION, "switching": switching.QUESTION}


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep over the added time, for profiles from operator tables only."""
    if inputs.profile.operator_tables is None:
        return {}
    return {
        "host_time": sweep(
            latency.POLICIES,
            size.map,
            requests=REQUESTS,
            dataset=[*inputs.datasets, ALL],
            all_at_once=["false", "true"],
            host_us=[str(us) for us in HOST_US],
        )
    }


def find(evidence: Evidence) -> Tables:
    """Return the answers to three claims for each added time: findings, and verdicts.

    No table is returned for other profiles, whose costs include the time of their engine.
    """
    if "host_time" not in evidence.records:
        return {}
    differences, judged = [], []
    records = evidence.records["host_time"]
    for host_us in sorted(records["host_us"].unique().tolist()):
        group = records[records["host_us"] == host_us]
        profile = evidence.inputs.profile.with_host(host_us)
        inputs = replace(evidence.inputs, profile=profile)
        at = replace(evidence, inputs=inputs, records={"latency": group})
        tables = {name: question.find(at) for name, question in JUDGED.items()}
        row = {"host_us": host_us, "round_ms": inputs.split().train.mean_round_ns() / 1e6}
        for name, question in JUDGED.items():
            claim = question.say(at, tables[name])
            assert isinstance(claim, Claim)
            judged.append({**row, "claim": name, "verdict": claim.verdict})
        differences.append(
            _differences(tables["latency"]["latency"]).assign(**row, **_other(tables))
        )
    return {
        "host_time": pd.concat(differences, ignore_index=True),
        "host_time_verdicts": pd.DataFrame(judged),
    }


def _differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Return LAPS-SD's differences to other policies, all data sets, Poisson arrivals."""
    some = rows[
        (rows["dataset"] == ALL) & ~rows["all_at_once"] & rows["policy"].isin(latency.OTHERS)
    ]
    names = {"percent_low": "low", "percent_high": "high"}
    return some.rename(columns=names)[["policy", "percent", "low", "high", "seeds"]]


def _other(tables: dict[str, Tables]) -> dict[str, float]:
    """Return the share of one switch at 500 tokens, and the mean error of T̃ with true lengths.

    The switch is the first method of the profile, its own link where it has one.
    """
    errors, shares = tables["T̃"]["estimate_errors"], tables["switching"]["switching"]
    own = errors[(errors["dataset"] == ALL) & (errors["predictor"] == "oracle")]
    at = shares[shares["tokens"] == PAPER_TOKENS]
    return {"error": float(own["total"].iloc[0]), "switch_share": float(at["share"].iloc[0])}


def say(evidence: Evidence, tables: Tables) -> Section | None:
    """Return one table, and the verdicts that change with the added time."""
    if not tables:
        return None
    rows, verdicts = tables["host_time"], tables["host_time_verdicts"]
    body = []
    for host_us, some in rows.groupby("host_us"):
        row: Any = some.iloc[0]
        against = some.set_index("policy")
        body.append(
            [
                f"{host_us:,.0f} µs",
                f"{row['round_ms']:.2f} ms",
                *(change(percent_of(against.loc[p])) for p in latency.OTHERS),
                percentage(row["switch_share"], 2),
                percentage(row["error"]),
            ]
        )
    caption = (
        "Time added to each round, prefill and step with prompts; mean round of the training half;"
        " difference in mean latency of LAPS-SD to other policies, with 95 % intervals over"
        f" {int(rows['seeds'].max()):,} seeds ({REQUESTS} requests, load {LOAD:g}, all data sets,"
        f" predicted lengths {PREDICTOR}); share of one switch at {PAPER_TOKENS} output"
        " tokens; mean error of T̃ with true lengths when a request becomes perceptible. The load"
        " is relative to the longer service times, so it stays the same."
    )
    head = ["host time", "round", *(f"vs. {NAMES[p]}" for p in latency.OTHERS), "switch", "T̃"]
    return Section(
        "The time of an engine besides the models",
        [
            "Operator tables hold the time of kernels. An engine also launches them, schedules and"
            " samples. The table adds such a time to every round.",
            _changes(verdicts),
        ],
        [Table(head, body, caption)],
    )


def _changes(verdicts: pd.DataFrame) -> str:
    """Return where a verdict differs from that with the next smaller added time."""
    changes = []
    for claim, some in verdicts.groupby("claim", sort=False):
        rows = some.to_dict("records")
        changes += [
            f"on {claim} from “{before['verdict']}” to “{row['verdict']}” at"
            f" {row['host_us']:,.0f} µs"
            for before, row in pairwise(rows)
            if row["verdict"] != before["verdict"]
        ]
    names = listed([str(name) for name in verdicts["claim"].unique()])
    found = f"The verdict changes {listed(changes)}." if changes else "No verdict changes."
    return f"The claims on {names} are judged again by the same rules. {found}"


QUESTION = Question("the time of an engine besides the models", find, say, needs=needs)
