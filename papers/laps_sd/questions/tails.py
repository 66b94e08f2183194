"""What does the mean hide?"""

from lapsd.papers.laps_sd.claims import latency
from lapsd.papers.laps_sd.fixed import LOAD, REQUESTS
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Section, Table
from lapsd.sim.figures.style import NAMES

METRICS = ["mean_latency_s", "p99_latency_s", "mean_slowdown", "max_slowdown", "preemptions"]


def find(evidence: Evidence) -> Tables:
    """Over all data sets: p99 of a run and the worst slowdown, means over seeds, by policy."""
    records = evidence.records["latency"]
    some = records[
        records["dataset"].isna() & ~records["all_at_once"] & (records["requests"] == REQUESTS)
    ]
    return {"tails": some.groupby("policy")[METRICS].mean().reset_index()}


def say(evidence: Evidence, tables: Tables) -> Section:
    """The slowest requests, and the worst slowdown."""
    by_policy = tables["tails"].set_index("policy").loc[list(latency.POLICIES)]
    table = Table(
        [
            "policy",
            "mean latency, s",
            "p99, s",
            "mean slowdown",
            "worst slowdown",
            "preemptions a run",
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
        f"{REQUESTS} requests at load {LOAD:g}, all data sets: means over seeds of each run's"
        " figure (the p99 of 30 latencies is close to their maximum). Slowdown: latency over the"
        " time alone.",
    )
    sd, fcfs = by_policy.loc["laps-sd"], by_policy.loc["fcfs"]
    text = [
        f"The slowest of LAPS-SD's {REQUESTS} requests take"
        f" {sd['p99_latency_s'] / fcfs['p99_latency_s']:.2f} times as long as the slowest of FCFS's"
        f" ({sd['p99_latency_s']:.2f} s against {fcfs['p99_latency_s']:.2f} s); the worst slowdown"
        f" is {sd['max_slowdown']:.1f} against {fcfs['max_slowdown']:.1f}."
    ]
    return Section("What the mean hides", text, [table])


QUESTION = Question("what the mean hides", find, say, needs=latency.needs)
