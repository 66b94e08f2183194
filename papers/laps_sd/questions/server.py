"""How does LAPS-SD compare under other length predictors, loads, memory and KV transfer costs?"""

from typing import Any, NamedTuple

import pandas as pd

from lapsd.papers.differences import against_all, percent_of
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import BASELINES, DEPLOYABLE, LOAD, PREDICTOR, sweep
from lapsd.papers.laps_sd.switch_times import paper_scale
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Section, Table
from lapsd.papers.words import change, listed, percentage
from lapsd.sim.experiment.metrics import over_seeds
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep

AGAINST = (*BASELINES, "lp-srpt")


class Choice(NamedTuple):
    """A varied parameter of the server: its label, and the scenario field."""

    label: str
    scenario: str


CHOICES = {
    "predictors": Choice("length predictor", "length_predictor"),
    "loads": Choice("load", "load"),
    "memory": Choice("KV slots", "kv_slots"),
    "kv_transfers": Choice("factor on KV transfer times", "swap_scale"),
    "recompute": Choice("eviction", "evict"),
}


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return one sweep per choice; those on KV transfers need a profile with swap costs."""
    # these predictions shrink towards the mean, as learned ones do
    regressed = ("regressed:0.9", "regressed:0.6", "regressed:0.3")
    learned = [] if inputs.trace.predicted_tokens is None else ["learned"]
    values: dict[str, list[Any]] = {
        "predictors": ["oracle", PREDICTOR, "noisy:1", *regressed, *learned],
        "loads": ["0.5", "0.65", "0.8", "0.95"],
        "memory": ["1", "unlimited"],
    }
    if inputs.switching:
        values |= {
            "kv_transfers": ["0", "1", f"{paper_scale(inputs):g}"],
            "recompute": ["swap", "recompute"],
        }
    return {
        name: sweep(DEPLOYABLE, size.others, None, **{CHOICES[name].scenario: given})
        for name, given in values.items()
    }


def find(evidence: Evidence) -> Tables:
    """Compare LAPS-SD with every other policy for each value of a choice, one table per choice."""
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
    """Return one table of all choices, and text on length predictors and on KV transfers."""
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
        ["varied", "value", *(f"vs. {NAMES[p]}" for p in AGAINST), "switching share"],
        body,
        "Difference in mean latency of LAPS-SD to other policies, with 95 % intervals, as one"
        " parameter of the server varies; below 0 LAPS-SD is faster. All other parameters are as in"
        f" the settings (load {LOAD:g}, predicted lengths {PREDICTOR}, one KV slot, KV transfers by"
        " the profile). KV slots: requests whose KV caches fit in memory. Switching share: share of"
        " LAPS-SD's busy time.",
    )
    text = _predictors(tables["predictors"])
    if "kv_transfers" in tables:
        text.append(_expensive_transfers(tables["kv_transfers"]))
    return Section("The effect of the server, which the paper leaves open", text, [table])


def _predictors(rows: pd.DataFrame) -> list[str]:
    """Return which policy is best with which predictor, and results with the learned predictor."""
    best: dict[str, list[str]] = {}
    for predictor, some in rows.groupby("length_predictor", sort=False):
        top = some.sort_values("percent").iloc[-1]
        best.setdefault(NAMES[str(top["policy"])] if top["percent"] > 0 else "LAPS-SD", []).append(
            str(predictor)
        )
    text = [
        f"The lowest mean of {listed([NAMES[p] for p in DEPLOYABLE])}, by length predictor: "
        + "; ".join(f"{name} with {listed(predictors)}" for name, predictors in best.items())
        + ". Predictions by `regressed:R` have correlation R with the true lengths, are calibrated,"
        " and shrink towards the mean."
    ]
    if "learned" in set(rows["length_predictor"]):
        own = rows[rows["length_predictor"] == "learned"].set_index("policy")
        against = listed([f"{change(percent_of(own.loc[p]))} vs. {NAMES[p]}" for p in AGAINST])
        faster = [NAMES[p] for p in AGAINST if percent_of(own.loc[p]).low > 0]
        text.append(
            "With the length predictor that was learned on this trace, the mean latency of LAPS-SD"
            f" is {against}. Significantly faster than LAPS-SD: {listed(faster)}."
        )
    return text


def _expensive_transfers(rows: pd.DataFrame) -> str:
    most_expensive = rows["swap_scale"].max()
    expensive = rows[rows["swap_scale"] == most_expensive].set_index("policy")
    return (
        "If one switch took the paper's 14 % of inference time at 500 tokens (KV transfer times x"
        f" {most_expensive:g}), LAPS-SD would spend"
        f" {percentage(float(expensive['switching_share'].iloc[0]), 0)} of its busy time on"
        f" switching. Its mean latency would be {change(percent_of(expensive.loc['fcfs']))} vs."
        f" FCFS and {change(percent_of(expensive.loc['lp-sjf']))} vs. LP-SJF, which never preempts."
    )


QUESTION = Question("the effect of the server", find, say, needs=needs)
