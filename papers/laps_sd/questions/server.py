"""What does each choice change that the paper leaves open of the server: lengths, load, memory,
moves?
"""

from typing import Any, NamedTuple

import pandas as pd

from lapsd.papers.differences import against_all, percent_of
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.claims.switching import paper_scale
from lapsd.papers.laps_sd.fixed import BASELINES, DEPLOYABLE, LOAD, PREDICTOR, sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Section, Table
from lapsd.papers.words import change, listed, percentage
from lapsd.sim.experiment.metrics import over_seeds
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep

AGAINST = (*BASELINES, "lp-srpt")


class Choice(NamedTuple):
    """What is varied: in words, and the setting."""

    label: str
    scenario: str


CHOICES = {
    "predictors": Choice("length predictor", "length_predictor"),
    "loads": Choice("load", "load"),
    "memory": Choice("KV slots", "kv_slots"),
    "moves": Choice("moves", "swap_scale"),
    "recompute": Choice("eviction", "evict"),
}


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """A sweep a choice; those of moves only where a profile says what moves cost."""
    regressed = (
        "regressed:0.9",
        "regressed:0.6",
        "regressed:0.3",
    )  # predictors that shrink, as learnt ones do
    learned = [] if inputs.trace.predicted_tokens is None else ["learned"]
    values: dict[str, list[Any]] = {
        "predictors": ["oracle", PREDICTOR, "noisy:1", *regressed, *learned],
        "loads": ["0.5", "0.65", "0.8", "0.95"],
        "memory": [1, 0],
    }
    if inputs.switching:
        values |= {
            "moves": ["0", "1", f"{paper_scale(inputs):g}"],
            "recompute": ["swap", "recompute"],
        }
    return {
        name: sweep(DEPLOYABLE, size.others, None, **{CHOICES[name].scenario: given})
        for name, given in values.items()
    }


def find(evidence: Evidence) -> Tables:
    """LAPS-SD against every other policy, for each value of a choice; a table a choice."""
    by_choice = {}
    for name, (_, scenario) in CHOICES.items():
        if name not in evidence.records:
            continue
        rows = []
        for value, group in evidence.records[name].groupby(scenario, dropna=False, sort=False):
            share = over_seeds(group[group["policy"] == "laps-sd"], "switching_share").value
            against = against_all(group, "laps-sd", policy_over_others=True).drop(columns="seeds")
            against.insert(0, scenario, [value] * len(against))
            rows.append(against.assign(switching_share=share, seeds=group["seed"].nunique()))
        by_choice[name] = pd.concat(rows, ignore_index=True)
    return by_choice


def say(evidence: Evidence, tables: Tables) -> Section:
    """One table of all choices; which policy is best with which predictor, and what dear moves
    do.
    """
    body = []
    for name, rows in tables.items():
        label, scenario = CHOICES[name]
        for value, some in rows.groupby(scenario, sort=False, dropna=False):
            by_policy = some.set_index("policy")
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            body.append(
                [
                    label,
                    shown,
                    *(change(percent_of(by_policy.loc[p])) for p in AGAINST),
                    percentage(float(some["switching_share"].iloc[0]), 2),
                ]
            )
    table = Table(
        ["choice", "value", *(f"against {NAMES[p]}" for p in AGAINST), "switching share"],
        body,
        "LAPS-SD's mean latency against the others as one choice varies; the rest as in the"
        f" settings (load {LOAD:g}, lengths {PREDICTOR}, one KV slot, moves as measured). Moves x"
        " 0: free switching; KV slots 0: no limit.",
    )
    text = _predictors(tables["predictors"])
    if "moves" in tables:
        text.append(_expensive_transfers(tables["moves"]))
    return Section("What the paper leaves open of the server", text, [table])


def _predictors(rows: pd.DataFrame) -> list[str]:
    """Which of the five is best with which predictor; what the one does that was learnt on the
    trace.
    """
    best: dict[str, list[str]] = {}
    for predictor, some in rows.groupby("length_predictor", sort=False):
        top = some.sort_values("percent").iloc[-1]
        best.setdefault(NAMES[str(top["policy"])] if top["percent"] > 0 else "LAPS-SD", []).append(
            str(predictor)
        )
    text = [
        "Best of the five, by length predictor: "
        + "; ".join(f"{name} with {listed(predictors)}" for name, predictors in best.items())
        + ". (`regressed:R`: calibrated predictions of correlation R with the truth, which shrink"
        " towards the mean.)"
    ]
    if "learned" in set(rows["length_predictor"]):
        own = rows[rows["length_predictor"] == "learned"].set_index("policy")
        against = listed([f"{change(percent_of(own.loc[p]))} against {NAMES[p]}" for p in AGAINST])
        ahead = [NAMES[p] for p in AGAINST if percent_of(own.loc[p]).low > 0]
        text.append(
            f"With the length predictor that was really learnt on this trace, LAPS-SD is {against};"
            f" {listed(ahead) if ahead else 'nothing'} did better."
        )
    return text


def _expensive_transfers(rows: pd.DataFrame) -> str:
    most_expensive = rows["swap_scale"].max()
    dear = rows[rows["swap_scale"] == most_expensive].set_index("policy")
    return (
        f"If one switch cost the paper's 14 % at 500 tokens (moves x {most_expensive:g}), LAPS-SD would"
        f" spend {percentage(float(dear['switching_share'].iloc[0]), 0)} of the busy time on"
        f" switching and be {change(percent_of(dear.loc['fcfs']))} against FCFS and"
        f" {change(percent_of(dear.loc['lp-sjf']))} against LP-SJF, which never preempts."
    )


QUESTION = Question("what the paper leaves open of the server", find, say, needs=needs)
