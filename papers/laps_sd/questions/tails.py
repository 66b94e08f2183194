"""The tail of latency and slowdown by policy."""

from lapsd.papers.laps_sd.claims import latency
from lapsd.papers.laps_sd.fixed import LOAD, REQUESTS
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Section, Table
from lapsd.sim.figures.style import NAMES

METRICS = ["mean_latency_s", "p99_latency_s", "mean_slowdown", "max_slowdown", "preemptions"]


def find(evidence: Evidence) -> Tables:
    """Return p99 latency, slowdowns and preemptions by policy, means over seeds, all data sets."""
    records = evidence.records["latency"]
    some = records[
        records["dataset"].isna() & ~records["all_at_once"] & (records["requests"] == REQUESTS)
    ]
    return {"tails": some.groupby("policy")[METRICS].mean().reset_index()}


def say(evidence: Evidence, tables: Tables) -> Section:
    """Compare the slowest requests and the worst slowdown of LAPS-SD and FCFS."""
    by_policy = tables["tails"].set_index("policy").loc[list(latency.POLICIES)]
    table = Table(
        [
            "policy",
            "mean latency, s",
            "p99 latency, s",
            "mean slowdown",
            "worst slowdown",
            "preemptions per run",
        ],
        [
            [
                NAMES[str(p)],
                f"{r['mean_latency_s']:.3f}",
                f"{r['p99_latency_s']:.2f}",
                f"{r['mean_slowdown']:.2f}",
                f"{r['max_slowdown']:.1f}",
                f"{r['preemptions']:.1f}",
            ]
            for p, r in by_policy.iterrows()
        ],
        f"{REQUESTS} requests at load {LOAD:g}, all data sets: means over runs. The p99 of"
        f" {REQUESTS} latencies is close to their maximum. Slowdown: latency divided by the time"
        " that the request takes alone.",
    )
    sd, fcfs = by_policy.loc["laps-sd"], by_policy.loc["fcfs"]
    text = [
        "The p99 latency of LAPS-SD is"
        f" {sd['p99_latency_s'] / fcfs['p99_latency_s']:.2f} times that of FCFS"
        f" ({sd['p99_latency_s']:.2f} s and {fcfs['p99_latency_s']:.2f} s). The worst slowdown of a"
        f" run is {sd['max_slowdown']:.1f} under LAPS-SD and {fcfs['max_slowdown']:.1f} under FCFS."
    ]
    return Section("Tail latency and slowdown", text, [table])


QUESTION = Question("tail latency and slowdown", find, say, needs=latency.needs)
