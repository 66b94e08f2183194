"""Synthetic findings, made by arithmetic, so that the text and figures made of them are known."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.questions.interpretations import INTERPRETATIONS, OTHERS
from lapsd.papers.question import Evidence, Tables
from lapsd.traces import Linear, Profile, trace_from_rounds
from lapsd.traces.provenance import Hardware, KVCapacity, OperatorTables, Provenance
from tests.builders import row

DATASETS = ["code", "prose", "sums"]
EVERYTHING = [*DATASETS, "all"]
POLICIES = ["fcfs", "las", "lp-sjf", "lp-srpt", "laps-sd", "srpt"]
SIZE = Size(
    "synthetic", 1_000, 600, 500, 400, 300, (0, 1, 4), (0, 0.5, 1), (0.5, 0.8), (0.5, 1), 2_000
)


def inputs(datasets: int = 3, *, predicted: bool = True, swap_ms: float = 2.0) -> Inputs:
    """Return requests of three data sets, with 1 to 34 rounds each; some become perceptible."""
    rows = []
    for i in range(36):
        request = row(
            f"r{i}",
            prompt=10 + i,
            accepted=[(i + j) % 2 + i % 3 for j in range(1 + 3 * (i % 12))],
            n=4,
        )
        request["dataset"] = DATASETS[i % datasets]
        if predicted:
            request["predicted_tokens"] = request["output_tokens"] + i % 5
        rows.append(request)
    trace = trace_from_rounds(rows, {"source": "synthetic"})
    profile = Profile.constant(draft_ms=1, verify_ms=4, prefill_ms_per_token=0.5, swap_ms=swap_ms)
    return Inputs("synthetic.parquet", "synthetic.json", trace, profile)


def evidence(**varied: object) -> Evidence:
    """Return the inputs above without records, because text and figures need only tables."""
    return Evidence(inputs(**varied), SIZE)  # type: ignore[arg-type]


def on_cpu() -> Evidence:
    """Return the inputs above with a profile that was measured on a CPU."""
    known = evidence()
    provenance = Provenance(hardware=Hardware(device="cpu", cpu="a processor", threads=2))
    profile = replace(known.inputs.profile, provenance=provenance)
    return replace(known, inputs=replace(known.inputs, profile=profile))


def on_gpu(gb_s: float = 64, gpus: int = 2) -> Evidence:
    """Return the inputs above with a profile from operator tables.

    A token has 1,000,000 bytes of keys and values on all GPUs. A transfer takes 2 ms and the time
    of its bytes on each GPU's link.
    """
    known = evidence()
    tables = OperatorTables(
        library="tables 1", gpu="gpu", engine="engine", engine_version="1", tp=gpus
    )
    swap = Linear(2_000_000, round(1_000_000 / gpus / gb_s))
    profile = replace(
        known.inputs.profile,
        kind="operator_tables",
        provenance=Provenance(hardware=Hardware(device="cuda", gpu="gpu x 2")),
        costs=replace(known.inputs.profile.costs, swap_out=swap, swap_in=swap),
        kv_capacity=KVCapacity(bytes_per_token=1_000_000, tokens=10_000),
        operator_tables=tables,
    )
    return replace(known, inputs=replace(known.inputs, profile=profile))


def around(name: str, value: float, half: float = 1.0) -> dict[str, float]:
    """Return three columns: a value and its interval."""
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def percent(value: float, half: float = 1.0) -> dict[str, float]:
    """Return three columns: a difference in percent and its interval."""
    return {"percent": value, "low": value - half, "high": value + half}


def latency(change: Callable[[str, bool, str], float]) -> Tables:
    """Return LAPS-SD's differences `change(dataset, at_once, policy)` in percent, ± 1.

    Mean latencies are 1 to 6 s at 30 requests, and proportional to the number of requests.
    """
    rows = []
    for dataset in EVERYTHING:
        for at_once in (False, True):
            for requests in (10, 30):
                for index, policy in enumerate(POLICIES):
                    mean_s = (index + 1) * requests / 30
                    rows.append(
                        {
                            "dataset": dataset,
                            "all_at_once": at_once,
                            "requests": requests,
                            "policy": policy,
                            "mean_s": mean_s,
                            "low_s": mean_s - 0.1,
                            "high_s": mean_s + 0.1,
                            "bound_s": 0.5,
                            **around("percent", change(dataset, at_once, policy)),
                            "seeds": 1_000,
                        }
                    )
    return {"latency": pd.DataFrame(rows)}


def estimate_errors(total: Callable[[str, str], float], *, learned: bool = True) -> Tables:
    """Return the error of T̃ by data set and predictor, ± 0.01.

    The errors of its parts are a half, a third and a quarter of it.
    """
    rows = []
    for dataset in EVERYTHING:
        for predictor in ("oracle", "noisy:0.5", "regressed:0.6", *["learned"] * learned):
            value = total(dataset, predictor)
            rows.append(
                {
                    "dataset": dataset,
                    "predictor": predictor,
                    "requests": 90,
                    **around("total", value, 0.01),
                    **around("length", value / 2, 0.01),
                    **around("acceptance", value / 3, 0.01),
                    **around("cost", value / 4, 0.01),
                    "rate": 0.2,
                    "perceptible": 0.8,
                    "round": 12.0,
                }
            )
    return {"estimate_errors": pd.DataFrame(rows)}


def switching(**shares: float) -> Tables:
    """Return the share of one switch by method, proportional to tokens and as given at 500."""
    rows = [
        (tokens, way, share * tokens / 500)
        for tokens in (10, 250, 500, 600)
        for way, share in shares.items()
    ]
    paid = pd.DataFrame(
        {"policy": ["laps-sd"], "switching_share": [0.001], "switches_per_request": [0.25]}
    )
    return {
        "switching": pd.DataFrame(rows, columns=["tokens", "way", "share"]),
        "switching_paid": paid,
    }


def host_time(changed: str) -> Tables:
    """Return findings that grow with the added time; `changed` is a verdict from 500 µs on."""
    rows, verdicts = [], []
    for i, host_us in enumerate((0.0, 500.0, 2_000.0)):
        own = {"host_us": host_us, "round_ms": 2.5 + host_us / 1e3}
        rows += [
            {
                "policy": policy,
                **percent(10 * j - 20 + i),
                "seeds": 300,
                **own,
                "error": 0.1 + 0.01 * i,
                "switch_share": 0.02 / (1 + i),
            }
            for j, policy in enumerate(["fcfs", "las", "lp-sjf", "lp-srpt", "srpt"])
        ]
        verdicts += [
            {**own, "claim": "latency", "verdict": "holds in part"},
            {**own, "claim": "switching", "verdict": changed if i else "holds in part"},
        ]
    return {"host_time": pd.DataFrame(rows), "host_time_verdicts": pd.DataFrame(verdicts)}


def queues(best: dict[int, int], falling: float) -> Tables:
    """Return findings in which K = `best[requests]` is best in 80 % of resamples.

    Each step away from it raises mean latency by 1 %.
    """
    rows = [
        {
            "sup_1": rule,
            "requests": requests,
            "K": k,
            **percent(abs(k - top), 0.5),
            "best": 0.8 if k == top else 0.2 / 7,
            "mean_s": 1.0,
            "seeds": 600,
        }
        for rule in ("fixed", "scaled")
        for requests, top in best.items()
        for k in range(1, 9)
    ]
    share = pd.DataFrame({"few": [10], "many": [30], "share": [falling]})
    return {"queues": pd.DataFrame(rows), "queues_falling": share}


def preemption(sign: int = 1) -> Tables:
    """Return findings in which LAPS-SD is 20 % faster than LP-SJF per unit of CV above 0.8.

    With a sign of −1 it is slower.
    """

    def rows(column: str, values: dict[str, float]) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {
                    column: name,
                    "cv": cv,
                    **around("preemption", sign * 25 * (0.5 - cv)),
                    **around("learning", 10 - 5 * cv),
                    **around("both", sign * 20 * (0.8 - cv)),
                    "seeds": 500,
                }
                for name, cv in values.items()
            ]
        )

    recorded = rows("dataset", {"sums": 0.7, "all": 0.9, "code": 1.0, "prose": 1.2})
    return {
        "preemption_recorded": recorded,
        "preemption_generated": rows(
            "trace", {"lengths 0.5": 0.4, "lengths 1": 0.8, "lengths 1.5": 1.6}
        ),
    }


def tails() -> Tables:
    """Return p99 latencies of 1 to 6 s."""
    return {
        "tails": pd.DataFrame(
            [
                {
                    "policy": policy,
                    "mean_latency_s": 0.1 * (i + 1),
                    "p99_latency_s": 1.0 + i,
                    "mean_slowdown": 2.0 + i,
                    "max_slowdown": 20.0 + i,
                    "preemptions": 1.5 * i,
                    "switching_share": 0.001 * i,
                }
                for i, policy in enumerate(POLICIES)
            ]
        )
    }


def interpretations(step: float) -> Tables:
    """Return interpretations from −3 % on, each `step` higher than the one before.

    Other policies are 10 % apart.
    """
    rows = [
        {"policy": f"laps-sd:{parameters}", **percent(-3 + step * i)}
        for i, parameters in enumerate(INTERPRETATIONS)
    ]
    rows += [{"policy": policy, **percent(10.0 * i - 5)} for i, policy in enumerate(OTHERS)]
    return {"interpretations": pd.DataFrame(rows).assign(seeds=1_000)}


def server(ahead: float) -> Tables:
    """Return findings in which LAPS-SD is 10 % faster than FCFS and `ahead` faster than the others.

    Each further value of a choice makes the difference smaller by 5 percentage points.
    """
    choices = {
        "predictors": ("length_predictor", ["oracle", "noisy:0.5", "learned"]),
        "loads": ("load", [0.5, 0.8]),
        "memory": ("kv_slots", ["1", "unlimited"]),
        "kv_transfers": ("swap_scale", [0.0, 1.0, 250.0]),
        "recompute": ("evict", ["swap", "recompute"]),
    }
    return {
        name: pd.DataFrame(
            [
                {
                    scenario: value,
                    "policy": p,
                    **percent((-10 if p == "fcfs" else -ahead) + 5 * i),
                    "switching_share": 0.01 * i,
                    "seeds": 500,
                }
                for i, value in enumerate(values)
                for p in POLICIES
                if p not in ("laps-sd", "srpt")
            ]
        )
        for name, (scenario, values) in choices.items()
    }


def stability(shuffling: float, to_count: float) -> Tables:
    """Return equal controls for all data sets.

    Latency falls with the share of requests that become perceptible.
    """
    kinds = ("range", "count", "window", "posterior")
    tests = [
        {
            "dataset": dataset,
            "trace": trace,
            "policy": f"laps-sd:{kind}",
            "kind": kind,
            "round": 5.0 * i + r,
            "share": 0.9 - 0.1 * i,
            **percent(-40 + 2 * i + r),
            "seeds": 400,
        }
        for dataset in EVERYTHING
        for trace in ("recorded", "shuffled")
        for r, kind in enumerate(kinds)
        for i in (1, 2)
    ]
    controls = []
    for dataset in EVERYTHING:
        found: dict[str, object] = {"dataset": dataset, **around("shuffling", shuffling, 0.3)}
        for i, kind in enumerate(kinds):
            found |= {
                f"{kind}_best": f"δ = 0.{i + 1}",
                **around(kind, -2.0 - i),
                **around(f"{kind}_to_count", to_count),
            }
        controls.append(found)
    sensitivity = [
        {
            "dataset": dataset,
            "rounds": 30.0,
            "p10": 5.0,
            "median": 10.0 + i,
            "p90": 20.0,
            "share": 0.75,
            "best": "γ = 3, δ = 0.1",
            **around("default", 1.0 + i),
            **around("early", 0.5 * i),
            **around("late", 30.0 + i),
            "seeds": 200,
        }
        for i, dataset in enumerate(DATASETS)
    ]
    return {
        "stability": pd.DataFrame(tests),
        "controls": pd.DataFrame(controls),
        "sensitivity": pd.DataFrame(sensitivity),
    }


def cells(wins: bool) -> Tables:
    """Return a map in which LP-SRPT is best in every cell.

    With `wins`, LAPS-SD is best where the spread is 4 and KV transfers are as measured.
    """
    rows = []
    for load in SIZE.loads:
        for scale in (1.0, 250.0):
            for spread in SIZE.spreads:
                for error in SIZE.errors:
                    own = wins and spread == 4 and scale == 1
                    rows.append(
                        {
                            "spread": spread,
                            "error": error,
                            "load": load,
                            "swap_scale": scale,
                            "best": "laps-sd" if own else "lp-srpt",
                            "second": "lp-srpt" if own else "laps-sd",
                            **around("margin", 2 + error),
                            "over_bound": 1 + 0.1 * (1 + error),
                            "other": "lp-srpt",
                            **around("laps_sd", -3 - error if own else 4 + spread),
                            "seeds": 300,
                        }
                    )
    return {"map": pd.DataFrame(rows)}


def value_of_acceptance() -> Tables:
    """Return a gain from knowing acceptance that grows with its spread."""
    return {
        "value_of_acceptance": pd.DataFrame(
            [
                {
                    "spread": spread,
                    "error": error,
                    "load": load,
                    **around("sjf", -spread - error),
                    **around("srpt", -2 * spread - error),
                    "seeds": 300,
                }
                for load in SIZE.loads
                for spread in SIZE.spreads
                for error in SIZE.errors
            ]
        )
    }


MS = 1_000_000


def schedules() -> Tables:
    """Return three requests that arrive 10 ms apart and run in turn for 30 ms, for two policies."""
    spans = [
        {
            "kind": kind,
            "request": r,
            "track": 1,
            "start_ns": (30 * r + start) * MS,
            "end_ns": (30 * r + end) * MS,
            "policy": policy,
        }
        for policy in ("fcfs", "laps-sd")
        for r in range(3)
        for kind, start, end in (("prefill", 0, 5), ("rounds", 5, 30))
    ]
    requests = pd.DataFrame({"seed": 7, "arrival_ns": [0, 10 * MS, 20 * MS]})
    return {"schedules": pd.DataFrame(spans), "schedules_requests": requests}


def queue_runs() -> Tables:
    """Return two requests; while the first runs it goes from queue 1 to 2 and gets perceptible."""
    turns = [
        (10 * MS, 0, 1, False),
        (20 * MS, 0, 2, True),
        (30 * MS, 0, 2, True),
        (40 * MS, 1, 1, False),
    ]
    spans = [("rounds", 0, 1, 0, 30 * MS), ("rounds", 1, 1, 30 * MS, 40 * MS)]
    requests = {"seed": 3, "arrival_ns": [0, 5 * MS], "finish_ns": [30 * MS, 40 * MS]}
    return {
        "queue_turns": pd.DataFrame(turns, columns=["ns", "request", "queue", "perceptible"]),
        "queue_spans": pd.DataFrame(
            spans, columns=["kind", "request", "track", "start_ns", "end_ns"]
        ),
        "queue_requests": pd.DataFrame(requests),
    }


def curves() -> Tables:
    """Return three requests of four rounds."""
    rows = [
        {"request": r, "dataset": DATASETS[r], "stable": r + 1, "round": i, "rate": 0.1 * (r + i)}
        for r in range(3)
        for i in range(1, 5)
    ]
    return {"running_acceptance": pd.DataFrame(rows)}
