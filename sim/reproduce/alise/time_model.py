"""The execution breakdown by prompt and output length, and the time model's error (the paper's Figure 5)."""

import numpy as np
import pandas as pd

from policies.time_model import FORMS
from sim.experiment.stage import Stage
from sim.figures.sweep import plot_lines
from sim.reproduce.question import Evidence, Question, Tables
from sim.reproduce.report import Figure, Section, Table
from sim.reproduce.words import percentage

PROMPTS = (1, 128, 256, 512, 768, 1024, 1536, 2048)


def find(evidence: Evidence) -> Tables:
    """Prefill and a decoding step by prompt length; errors of both forms on requests that no fit has seen."""
    inputs = evidence.inputs
    stage = Stage.of(inputs.trace, inputs.profile)
    time, priced = stage.outlook.time, stage.halves.future
    assert time is not None
    cost = inputs.profile.round_cost()
    breakdown = pd.DataFrame({
        "prompt_tokens": PROMPTS,
        "prefill_ms": [time.prefill_ns(s, "exact") / 1e6 for s in PROMPTS],
        "fitted_ms": [time.prefill_ns(s) / 1e6 for s in PROMPTS],
        "step_ms": [(cost.base_ns(0) + cost.per_token_ns(0) * s) / 1e6 for s in PROMPTS],
    })  # fmt: skip
    rows = []
    lengths = list(zip(priced.trace.prompt_tokens.tolist(), priced.trace.output_tokens.tolist(), strict=True))
    for form in FORMS:
        for part, true, foreseen in (
            ("prefill", priced.prefill_ns, [time.prefill_ns(s, form) for s, _ in lengths]),
            ("decoding", priced.decode_ns, [time.decode_ns(s, n, form=form) for s, n in lengths]),
            ("whole", priced.size_ns,
             [time.prefill_ns(s, form) + time.decode_ns(s, n, form=form) for s, n in lengths]),
        ):  # fmt: skip
            own = true > 0
            error = np.array(foreseen, float)[own] / true[own] - 1
            rows.append({
                "form": form, "part": part, "median_error": float(np.median(np.abs(error))),
                "p90_error": float(np.percentile(np.abs(error), 90)), "bias": float(error.mean()),
                "requests": int(own.sum()),
            })  # fmt: skip
    return {"breakdown": breakdown, "errors": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Section:
    """The errors of both forms."""
    body = [
        [
            f"{r['form']}, {r['part']}",
            percentage(r["median_error"]),
            percentage(r["p90_error"]),
            percentage(r["bias"]),
        ]
        for r in tables["errors"].to_dict("records")
    ]
    text = [
        "The published T_gen(s, n) = s T_0 + n (α s + β) has a prefill through the origin and a context that does "
        "not grow. Given a request's true lengths, these are the errors against what it takes alone. The exact form "
        "is exact by construction where nothing is drafted: costs are linear in the context here.",
    ]
    table = Table(["form, part", "median error", "p90", "mean error"], body,
                  f"{int(tables['errors']['requests'].max()):,} requests that the fit has not seen.")  # fmt: skip
    return Section("The time model", text, [table])


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Prefill, as it is and as fitted, by prompt length; a decoding step beside."""
    rows = tables["breakdown"]
    series = {"prefill_ms": "prefill", "fitted_ms": "prefill as s · T_0", "step_ms": "a decoding step"}
    points = pd.concat(
        pd.DataFrame({
            "line": label, "label": label, "x": rows["prompt_tokens"], "value": rows[name], "low": rows[name],
            "high": rows[name],
        }) for name, label in series.items()
    )  # fmt: skip
    title = "Prefill and a decoding step by prompt length, one request"
    none = pd.DataFrame(columns=["policy", "value"])
    return [Figure(
        5, title, f"{title}. {evidence.inputs.costs}",
        lambda: plot_lines(points, none, policies=False, x="prompt tokens", y="ms", title=title),
    )]  # fmt: skip


QUESTION = Question("the time model", find, say, draw)
