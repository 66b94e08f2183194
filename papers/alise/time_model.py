"""Execution time by prompt and output length, and the time model's error (the paper's Figure 5)."""

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
    """Return true and modelled times by length, and the errors of both forms of the model.

    Errors are on requests of the test half, which were not used for the fit.
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
        for part, true, predicted in (
            ("prefill", priced.prefill_ns, [time.prefill_ns(s, form) for s, _ in lengths]),
            ("decoding", priced.decode_ns, [time.decode_ns(s, n, form=form) for s, n in lengths]),
            (
                "whole",
                priced.size_ns,
                [time.prefill_ns(s, form) + time.decode_ns(s, n, form=form) for s, n in lengths],
            ),
        ):
            own = true > 0
            error = np.array(predicted, float)[own] / true[own] - 1
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
    """Return a table of the errors of both forms."""
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
        "The published model, T_gen(s, n) = s T_0 + n (α s + β) for a prompt of s tokens and an"
        " output of n tokens, assumes a prefill time proportional to the prompt and a context that"
        " does not grow during decoding. The table gives its errors when a request's true lengths"
        " are known. The exact form lets the context grow. Without drafted tokens it has no error,"
        " because costs are linear in the context here."
    ]
    table = Table(
        ["form, part", "median |error|", "p90 |error|", "mean error"],
        body,
        "Relative errors of the modelled time of a request that runs alone,"
        f" {int(tables['errors']['requests'].max()):,} requests that were not used for the fit.",
    )
    return Section("The time model", text, [table])


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw true and modelled times of prefill and decoding by prompt and output length."""
    parts = dict(list(tables["breakdown"].groupby("part")))
    caption = (
        "Time in seconds (vertical axes) of a request that runs alone: prefill by prompt tokens"
        " (left), decoding by output tokens (right; horizontal axes) after prompts of three"
        " lengths. Solid: by the profile. Dashed: by the published model, s T_0 and n (α s + β)."
        f" {evidence.inputs.costs}"
    )
    title = "Time of prefill and decoding by length"
    return [Figure(5, title, caption, lambda: plot_breakdown(parts["prefill"], parts["decoding"]))]


QUESTION = Question("the time model", find, say, draw)
