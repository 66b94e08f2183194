"""Does LAPS-SD's estimate of remaining times mean anything once draft lengths adapt?

T̃ is the mean round time, times rounds so far, times remaining tokens over tokens so far. Its factor
for acceptance helps only if it orders requests better than their remaining tokens alone.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from lapsd.papers.differences import columns, interval_of
from lapsd.papers.draft_length.fixed import CONFIDENT, FIRST_SEED, ORACLE, RULES
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Claim, Table, judged
from lapsd.papers.words import change, percentage
from lapsd.policies import Job, LapsSD
from lapsd.policies.drafts.spec import parse_draft_policy
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import run
from lapsd.sim.experiment.statistics import mean_interval

BATCH, LOAD, REQUESTS = 4, 0.8, 100
DRAFTS = ("fixed:most=4", "goodput", "gated", CONFIDENT, ORACLE)


@dataclass(frozen=True)
class Logged(LapsSD):
    """LAPS-SD that logs each request when it becomes perceptible: index, T̃, remaining tokens, and
    attained service.
    """

    log: dict[int, tuple[int, int, int]] = field(
        default_factory=dict, repr=False, compare=False, metadata={"bound": True}
    )

    def on_round(self, job: Job, now_ns: int) -> None:
        before = job.state.perceptible
        super().on_round(job, now_ns)
        if job.state.perceptible and not before:
            left = job.predicted_tokens - job.tokens
            self.log[job.index] = (self.predicted_remaining_ns(job), left, job.service_ns)


def find(evidence: Evidence) -> Tables:
    """Return how well T̃ orders requests when they become perceptible, by draft policy.

    `perceptible`: share of requests; `error`: mean of |T̃ − T| / T after the factor that is common
    to all requests; `estimate` and `tokens`: rank correlation (Spearman) of T̃, and of the
    remaining tokens, with the true remaining service; `gain`: their difference. With correct
    lengths, and intervals over seeds.
    """
    inputs, rows = evidence.inputs, []
    prepared = PreparedScenario.of(
        inputs.trace,
        inputs.profile,
        batch=BATCH,
        load=LOAD,
        requests=REQUESTS,
        kv_slots="unlimited",
    )
    for drafts in DRAFTS:
        found = [
            _of_run(prepared, drafts, seed)
            for seed in range(FIRST_SEED, FIRST_SEED + evidence.size.queues)
        ]
        table = pd.DataFrame(found)
        row: dict[str, Any] = {"drafts": drafts, "seeds": len(table)}
        for name in table:
            row |= columns(str(name), mean_interval(table[name].dropna()))
        rows.append(row)
    return {"estimate": pd.DataFrame(rows)}


def _of_run(prepared: PreparedScenario, drafts: str, seed: int) -> dict[str, float]:
    policy = replace(Logged(), drafts=parse_draft_policy(drafts))
    done = run(prepared, policy, seed, engine="simpy")
    assert isinstance(done.policy, Logged)
    log = done.policy.log
    index = np.array(sorted(log))
    estimate, left, service = np.array([log[i] for i in index], dtype=float).reshape(-1, 3).T
    work = prepared.workload(seed)
    true = done.service_ns[index] - service - work.priced.prefill_ns[work.rows[index]]
    kept = (true > 0) & (estimate > 0)
    estimate, left, true = estimate[kept], left[kept], true[kept]
    scaled = estimate * np.median(true / estimate)
    by_estimate, by_tokens = spearman(estimate, true), spearman(left, true)
    return {
        "perceptible": len(index) / prepared.scenario.requests,
        "error": float(np.mean(np.abs(scaled - true) / true)),
        "estimate": by_estimate,
        "tokens": by_tokens,
        "gain": by_estimate - by_tokens,
    }


def spearman(a: Any, b: Any) -> float:
    """Return the rank correlation of two arrays."""
    return float(pd.Series(a).rank().corr(pd.Series(b).rank()))


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by the difference of the two rank correlations.

    It holds if T̃ correlates significantly better than the remaining tokens under every draft policy
    that a server could run, and in part if it does under at least half.
    """
    rows = tables["estimate"].to_dict("records")
    real = [r for r in rows if r["drafts"] not in (ORACLE, DRAFTS[0])]
    better = [r for r in real if r["gain_low"] > 0]
    worse = [r for r in real if r["gain_high"] < 0]
    fixed = rows[0]
    findings = [
        (
            f"LAPS-SD at b = {BATCH}, load {LOAD:g}, {REQUESTS} requests, correct lengths,"
            f" {fixed['seeds']} seeds. Rank correlation of T̃ with the true remaining service, less"
            " that of the remaining tokens, when a request becomes perceptible: "
            + "; ".join(
                f"{_name(r['drafts'])} {change(interval_of(r, 'gain'), 3).replace(' %', '')}"
                for r in rows
            )
            + "."
        ),
        "Share of requests that become perceptible: "
        + "; ".join(f"{_name(r['drafts'])} {percentage(r['perceptible'], 0)}" for r in rows)
        + ".",
    ]
    table = Table(
        ["drafts", "perceptible", "error of T̃", "rank correlation of T̃", "of remaining tokens"],
        [
            [
                _name(r["drafts"]),
                percentage(r["perceptible"], 0),
                percentage(r["error"], 0),
                f"{r['estimate']:.3f} [{r['estimate_low']:.3f}, {r['estimate_high']:.3f}]",
                f"{r['tokens']:.3f} [{r['tokens_low']:.3f}, {r['tokens_high']:.3f}]",
            ]
            for r in rows
        ],
        "When a request becomes perceptible; error: mean of |T̃ − T| / T, after the factor that is"
        " common to all requests; 95 % intervals over seeds.",
    )
    return Claim(
        "LAPS-SD's acceptance estimate still orders requests once draft lengths adapt",
        "Our own question. In the paper the draft length is fixed.",
        f"better than remaining tokens under {len(better)} of {len(real)} draft policies, worse"
        f" under {len(worse)}",
        findings,
        judged(len(better), len(real)),
        f"T̃ correlates significantly better with the remaining service than the remaining tokens"
        f" do under {len(better)} of {len(real)} adaptive policies, and significantly worse under"
        f" {len(worse)}; with the fixed length the difference is"
        f" {change(interval_of(fixed, 'gain'), 3).replace(' %', '')}.",
        table,
    )


def _name(drafts: str) -> str:
    return RULES.get(drafts, drafts.replace("fixed:most=", "fixed "))


QUESTION = Question("LAPS-SD's estimate", find, say)
