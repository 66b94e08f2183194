"""When is LAPS-SD better than LP-SJF?"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from lapsd.papers.differences import columns, interval_of, percent
from lapsd.papers.inputs import ALL, Inputs, Size
from lapsd.papers.laps_sd.claims import latency
from lapsd.papers.laps_sd.fixed import DEPLOYABLE, LOAD, PREDICTOR, REQUESTS, sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Figure, Section, Table
from lapsd.papers.words import change, signed
from lapsd.sim.figures.differences import plot_parts_by_spread
from lapsd.sim.sweeps.grid import Sweep
from lapsd.traces import Trace, generate, price

LONGEST_OUTPUT = 8_192  # tokens
PARTS = {
    "preemption": "preemption: LP-SRPT vs. LP-SJF",
    "learning": "learning: LAPS-SD vs. LP-SRPT",
    "both": "both: LAPS-SD vs. LP-SJF",
}


def derives(inputs: Inputs, size: Size) -> dict[str, Callable[[], Trace]]:
    """Return generated traces whose output lengths are stretched about the median."""
    return {_name(s): lambda s=s: _stretched(inputs, s, size.generated) for s in size.stretches}  # type: ignore[misc]


def _name(stretch: float) -> str:
    return f"lengths {stretch:g}"


def _stretched(inputs: Inputs, stretch: float, requests: int) -> Trace:
    """Generate requests whose log output lengths are `stretch` times as far from the median."""
    trace = inputs.trace
    rows = np.random.default_rng([0, 7]).integers(len(trace), size=requests)
    middle = float(np.median(trace.output_tokens))
    outputs = np.rint(middle * (trace.output_tokens[rows] / middle) ** stretch)
    lengths = np.clip(outputs, 1, LONGEST_OUTPUT).astype(np.int64)
    return generate(
        trace,
        inputs.acceptance_models,
        prompt_tokens=trace.prompt_tokens[rows],
        output_tokens=lengths,
    )


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return the sweep of the claim on latency, and a sweep of the generated traces."""
    lengths = sweep(DEPLOYABLE, size.others, trace=[_name(s) for s in size.stretches])
    return latency.needs(inputs, size) | {"lengths": lengths}


def find(evidence: Evidence) -> Tables:
    """Return the effects of preemption and of learning, by data set and by stretch of lengths."""
    inputs, own = evidence.inputs, evidence.records["latency"]
    own = own[~own["all_at_once"] & (own["requests"] == REQUESTS)].fillna({"dataset": ALL})
    recorded = {name: inputs.trace.only(name) for name in inputs.datasets} | {ALL: inputs.trace}
    generated = {name: evidence.trace(name) for name in map(_name, evidence.size.stretches)}
    return {
        "preemption_recorded": _parts(own, recorded, inputs, "dataset"),
        "preemption_generated": _parts(evidence.records["lengths"], generated, inputs, "trace"),
    }


def _parts(
    records: pd.DataFrame, traces: Mapping[str, Trace], inputs: Inputs, column: str
) -> pd.DataFrame:
    """Return each of `PARTS` in percent, one row per trace that workloads were drawn from.

    The column called `column` names the trace. `cv`: standard deviation over mean of the times of
    requests. `both` is the product of the other two ratios.
    """
    rows = []
    for value, group in records.groupby(column, sort=False):
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        size = price(traces[str(value)].split()[1], inputs.profile).size_ns
        rows.append(
            {
                column: str(value),
                "cv": float(size.std() / size.mean()),
                **columns("preemption", percent(table, "lp-srpt", "lp-sjf")),
                **columns("learning", percent(table, "laps-sd", "lp-srpt")),
                **columns("both", percent(table, "laps-sd", "lp-sjf")),
                "seeds": len(table),
            }
        )
    return pd.DataFrame(rows).sort_values("cv", ignore_index=True)


def say(evidence: Evidence, tables: Tables) -> Section:
    """Return the effects of preemption and learning, and at which CV LAPS-SD is faster."""
    recorded, generated = tables["preemption_recorded"], tables["preemption_generated"]
    rows = pd.concat(
        [recorded.assign(of=recorded["dataset"]), generated.assign(of="generated")]
    ).sort_values("cv")
    first, last = generated.iloc[0], generated.iloc[-1]
    better, worse = rows[rows["both_high"] < 0], rows[rows["both_low"] > 0]
    text = [
        (
            "LAPS-SD differs from LP-SJF in two ways: it preempts, and it first learns the"
            " acceptance of each request. LP-SRPT preempts and learns nothing. The ratio of LAPS-SD"
            " to LP-SJF is therefore the product of LP-SRPT to LP-SJF (the effect of preemption)"
            " and LAPS-SD to LP-SRPT (the effect of learning). In addition to the recorded data"
            " sets we generate traces with acceptance from the fitted model and output lengths"
            " stretched about their median. As the CV of requests' times (standard deviation over"
            f" mean) goes from {first['cv']:.2f} to {last['cv']:.2f}, the effect of preemption on"
            f" mean latency goes from {signed(first['preemption'])} to"
            f" {signed(last['preemption'])} %, and the effect of learning from"
            f" {signed(first['learning'])} to {signed(last['learning'])} %."
        ),
        (
            "The smallest CV at which LAPS-SD is significantly faster than LP-SJF is"
            f" {better['cv'].min():.2f}."
            if len(better)
            else "LAPS-SD is significantly faster than LP-SJF in no row of the table."
        )
        + (
            f" The largest CV at which LAPS-SD is significantly slower is {worse['cv'].max():.2f}."
            if len(worse)
            else " It is significantly slower in no row."
        ),
    ]
    table = Table(
        ["data set", "CV of times", *PARTS.values()],
        [
            [str(r["of"]), f"{r['cv']:.2f}", *(change(interval_of(r, part)) for part in PARTS)]
            for r in rows.to_dict("records")
        ],
        "Difference in mean latency, with 95 % intervals; below 0 the first policy is faster."
        f" {REQUESTS} requests at load {LOAD:g}, predicted lengths {PREDICTOR}.",
    )
    return Section("When is LAPS-SD better than LP-SJF?", text, [table])


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 13."""
    size = evidence.size
    caption = (
        "Simulated: difference in mean latency between two policies in percent (vertical axis) by"
        " the CV (standard deviation over mean) of the times that requests take alone (horizontal"
        " axis), with paired 95 % intervals; below 0 the first policy is faster. Lines:"
        f" {size.generated:,} requests generated by the fitted model, with output lengths stretched"
        f" about their median ({size.others:,} seeds). Open dots: each recorded data set, and all"
        f" together ({size.claims:,} seeds). {REQUESTS} requests at load {LOAD:g}, predicted"
        f" lengths {PREDICTOR}. Not in the paper. {evidence.inputs.where}"
    )
    recorded, generated = tables["preemption_recorded"], tables["preemption_generated"]
    return [
        Figure(
            13,
            "The effects of preemption and of learning",
            caption,
            lambda: plot_parts_by_spread(recorded, generated, PARTS),
        )
    ]


QUESTION = Question("figure 13 (on generated requests)", find, say, draw, needs, derives)
