"""A comparison of the length predictors of a trace: does retrieval beat a plain regression?"""

import numpy as np
import pandas as pd

from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import Section, Table
from lapsd.papers.words import listed


def find(evidence: Evidence) -> Tables:
    """Return the errors of each predictor whose predictions the trace holds, one row each."""
    from scipy.stats import kendalltau, spearmanr

    trace, rows = evidence.inputs.trace, []
    for name, predicted in trace.predictions.items():
        true, varied = trace.output_tokens, len(set(predicted.tolist())) > 1
        logs = np.log(predicted / true)
        rows.append(
            {
                "predictor": name,
                "kendall": float(kendalltau(predicted, true)[0]) if varied else float("nan"),
                "spearman": float(spearmanr(predicted, true)[0]) if varied else float("nan"),
                "mean_absolute_error": float(np.abs(predicted - true).mean()),
                "log_error": float(np.abs(logs).mean()),
                "requests": len(true),
            }
        )
    if not rows:
        raise Unanswerable(
            "the trace holds no predicted lengths (lapsd predict adds them from prompts)"
        )
    return {"predictors": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Section:
    """Return the table, and the predictors ranked by how well they order requests."""
    rows = tables["predictors"].to_dict("records")
    body = [
        [
            r["predictor"],
            *("-" if np.isnan(r[k]) else f"{r[k]:.2f}" for k in ("kendall", "spearman")),
            f"{r['mean_absolute_error']:.0f}",
            f"{r['log_error']:.2f}",
        ]
        for r in rows
    ]
    order = sorted((r for r in rows if not np.isnan(r["kendall"])), key=lambda r: -r["kendall"])
    text = (
        [
            "Predictors by Kendall's tau with the true lengths, best first:"
            f" {listed([str(r['predictor']) for r in order])}."
        ]
        if order
        else []
    )
    head = [
        "predictor",
        "Kendall's tau",
        "Spearman's rho",
        "mean absolute error, tokens",
        "mean |log error|",
    ]
    caption = f"Predicted against true output lengths of {rows[0]['requests']:,} requests."
    return Section("The length predictor", text, [Table(head, body, caption)])


QUESTION = Question("the length predictor", find, say)
