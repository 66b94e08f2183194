"""The execution breakdown by prompt and output length, and the time model's error (the paper's
Figure 5).
"""

import numpy as np
import pandas as pd

from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Figure, Section, Table
from lapsd.papers.words import percentage
from lapsd.policies.time_model import FORMS
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.figures.breakdown import plot_breakdown

PROMPTS = (1, 16, 64, 128, 256, 512, 1024, 2048)
OUTPUTS, AFTER = (1, 256, 512, 1024), (128, 512, 1024)  # tokens, after prompts of so many


def find(evidence: Evidence) -> Tables:
    """Prefill and a decoding step by prompt length; errors of both forms on requests that no fit
    has seen.
    """
    inputs = evidence.inputs
    prepared = PreparedScenario.of(inputs.trace, inputs.profile)
    time, priced = prepared.context.time, prepared.split.test
    assert time is not None
    breakdown = pd.DataFrame(
        [(s, 0, "prefill", *(time.prefill_ns(s, form) / 1e9 for form in FORMS)) for s in PROMPTS]
        + [
            (s, n, "decoding", *(time.decode_ns(s, n, form=form) / 1e9 for form in FORMS))
            for s in AFTER
            for n in OUTPUTS
        ],
        columns=["prompt_tokens", "output_tokens", "part", "model", "true"],
    )
    rows = []
    lengths = list(
        zip(priced.trace.prompt_tokens.tolist(), priced.trace.output_tokens.tolist(), strict=True)
    )
    for form in FORMS:
        for part, true, foreseen in (
            ("prefill", priced.prefill_ns, [time.prefill_ns(s, form) for s, _ in lengths]),
            ("decoding", priced.decode_ns, [time.decode_ns(s, n, form=form) for s, n in lengths]),
            (
                "whole",
                priced.size_ns,
                [time.prefill_ns(s, form) + time.decode_ns(s, n, form=form) for s, n in lengths],
            ),
        ):
            own = true > 0
            error = np.array(foreseen, float)[own] / true[own] - 1
            rows.append(
                {
                    "form": form,
                    "part": part,
                    "median_error": float(np.median(np.abs(error))),
                    "p90_error": float(np.percentile(np.abs(error), 90)),
                    "bias": float(error.mean()),
                    "requests": int(own.sum()),
                }
            )
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
        "The published T_gen(s, n) = s T_0 + n (α s + β) has a prefill through the origin and a"
        " context that does not grow. Given a request's true lengths, these are the errors against"
        " what it takes alone. The exact form is exact by construction where nothing is drafted:"
        " costs are linear in the context here."
    ]
    table = Table(
        ["form, part", "median error", "p90", "mean error"],
        body,
        f"{int(tables['errors']['requests'].max()):,} requests that the fit has not seen.",
    )
    return Section("The time model", text, [table])


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Prefill by prompt length, decoding by output length, as they are and as modelled."""
    parts = dict(list(tables["breakdown"].groupby("part")))
    caption = f"One request alone. Dashed: s T_0, and n (α s + β). {evidence.inputs.costs}"
    title = "What prefill and decoding take by length"
    return [Figure(5, title, caption, lambda: plot_breakdown(parts["prefill"], parts["decoding"]))]


QUESTION = Question("the time model", find, say, draw)
