"""What the runs say: differences with intervals, paired by seed. Tables in, tables out; no words, no drawing."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from policies import LapsSD, parse_policy
from sim.experiment.metrics import over_seeds
from sim.experiment.stability import quantiles, stable_rounds, transition_errors
from sim.experiment.stage import Stage
from sim.experiment.statistics import Interval, mean_interval, ratio_of_means
from sim.reproduce.plan import ALL, BASELINES, DEPLOYABLE, RECORDED, SHUFFLED, Inputs
from sim.sweeps.best import RESAMPLES, share_of_wins
from traces import LengthPredictor, PricedTrace, Trace

ERROR_SEEDS = 20  # draws of the length error, when T̃ is held against the truth


def seeds_by_policy(records: pd.DataFrame, metric: str = "mean_latency_s", **where: Any) -> pd.DataFrame:
    """One column a policy, one row a seed, of the records that fulfil all of `where` (None: a missing value)."""
    chosen = np.ones(len(records), dtype=bool)
    for name, value in where.items():
        column = records[name]
        chosen &= (column.isna() if value is None else column == value).to_numpy()
    return records[chosen].pivot(index="seed", columns="policy", values=metric)


def percent(table: pd.DataFrame, policy: Any, baseline: Any) -> Interval:
    """By how much the policy's mean is above the baseline's, in percent, paired by seed."""
    value, low, high = ratio_of_means(table[policy], table[baseline])
    return Interval(100 * (value - 1), 100 * (low - 1), 100 * (high - 1))


class Chosen(NamedTuple):
    """One of several, selected on half of the seeds, and its difference on the other half."""

    policy: str
    against: Interval


def selected(table: pd.DataFrame, policies: list[str], baseline: str) -> Chosen:
    """The best of some policies by every second seed, and its difference to the baseline on the seeds between."""
    best = str(table[policies].iloc[0::2].mean().idxmin())
    return Chosen(best, percent(table.iloc[1::2], best, baseline))


def latency(records: pd.DataFrame) -> pd.DataFrame:
    """Mean latency and the bound, and LAPS-SD against each policy, by data set, arrivals and number of requests."""
    rows = []
    keys = ["dataset", "all_at_once", "requests"]
    for key, group in records.groupby(keys, dropna=False):
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        bound = group.drop_duplicates("seed")["bound_s"]
        told = dict(zip(keys, key, strict=True))
        told["dataset"] = told["dataset"] if isinstance(told["dataset"], str) else ALL
        for policy in table.columns:
            mean = mean_interval(table[policy])
            against = percent(table, "laps-sd", policy)
            rows.append({
                **told, "policy": policy, "mean_s": mean.value, "low_s": mean.low, "high_s": mean.high,
                "bound_s": float(bound.mean()), "percent": against.value, "percent_low": against.low,
                "percent_high": against.high, "seeds": len(table),
            })  # fmt: skip
    return pd.DataFrame(rows)


def preemption(records: pd.DataFrame, places: Mapping[str, PricedTrace], column: str) -> pd.DataFrame:
    """What preemption buys and what learning costs, by a column of the records, 30 requests at the default load.

    `cv`: standard deviation of a request's time over its mean. `both`: LAPS-SD against LP-SJF, the product of
    `preemption`, LP-SRPT against LP-SJF, and `learning`, LAPS-SD against LP-SRPT; percent.

    Parameters
    ----------
    places : priced traces that workloads were drawn from, by value of the column
    """
    rows = []
    for value, group in records.groupby(column, sort=False):
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        size = places[str(value)].size_ns
        rows.append({
            column: str(value), "cv": float(size.std() / size.mean()),
            **_named("preemption", percent(table, "lp-srpt", "lp-sjf")),
            **_named("learning", percent(table, "laps-sd", "lp-srpt")),
            **_named("both", percent(table, "laps-sd", "lp-sjf")), "seeds": len(table),
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values("cv", ignore_index=True)


def tails(records: pd.DataFrame, requests: int = 30) -> pd.DataFrame:
    """What a mean hides, over all data sets: p99 of a run and the worst slowdown, means over seeds, by policy."""
    some = records[records["dataset"].isna() & ~records["all_at_once"] & (records["requests"] == requests)]
    columns = ["mean_latency_s", "p99_latency_s", "mean_slowdown", "max_slowdown", "preemptions"]
    means = some.groupby("policy")[columns].mean()
    means["switching_share"] = [over_seeds(group, "switching_share").value for _, group in some.groupby("policy")]
    return means.reset_index()


def queues(records: pd.DataFrame) -> pd.DataFrame:
    """By rule for Sup_1, requests and K: latency against K = 4, percent, and in what share of resamples it wins."""
    rows = []
    for (fixed, requests), group in records.groupby([records["sup_1_s"].notna(), "requests"]):
        table = group.pivot(index="seed", columns="K", values="mean_latency_s")
        values = table.to_numpy(dtype=float)
        wins = share_of_wins(values.T)
        for column, k in enumerate(table.columns):
            against = percent(table, k, 4)
            rows.append({
                "sup_1": "fixed" if fixed else "scaled", "requests": requests, "K": int(k), "percent": against.value,
                "low": against.low, "high": against.high, "best": float(wins[column]),
                "mean_s": float(values[:, column].mean()), "seeds": len(values),
            })  # fmt: skip
    return pd.DataFrame(rows)


def falling_best(records: pd.DataFrame, few: int, many: int) -> float:
    """In what share of resamples the best K at `few` requests is above that at `many`, Sup_1 scaled."""
    rng = np.random.default_rng(1)
    scaled = records[records["sup_1_s"].isna()]
    tables = [
        scaled[scaled["requests"] == n].pivot(index="seed", columns="K", values="mean_latency_s") for n in (few, many)
    ]
    count = len(tables[0])
    weights = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    best = [np.argmin(weights @ t.to_numpy(dtype=float), axis=1) for t in tables]
    return float((best[0] > best[1]).mean())


def estimate_errors(inputs: Inputs) -> pd.DataFrame:
    """By length predictor and data set, at the transition: mean relative errors of T̃ and of its parts.

    Columns `total`, `length`, `acceptance`, `cost` with `_low` and `_high` over requests; `rate`, the error of ā;
    `perceptible`, the share of requests that become so; `round`, the median round of it.
    """
    rows = []
    for dataset in [*inputs.datasets, ALL]:
        only = None if dataset == ALL else dataset
        priced, outlook, _ = Stage.of(inputs.trace, inputs.profile, dataset=only).halves
        everyone = np.arange(len(priced.trace))
        for name in inputs.error_predictors:
            predictor = LengthPredictor.parse(name)
            draws = range(ERROR_SEEDS if predictor.kind in ("noisy", "regressed") else 1)
            told = [transition_errors(priced, outlook, predictor.predict(everyone, priced, s)) for s in draws]
            # a request's error is its mean over draws: requests are what the interval is over
            parts = ["total", "length", "acceptance", "cost", "rate"]
            errors: pd.DataFrame = pd.concat([t[parts].abs() for t in told]).groupby(level=0).mean()
            row: dict[str, Any] = {"dataset": dataset, "predictor": name, "requests": len(errors)}
            for part in ("total", "length", "acceptance", "cost"):
                value, low, high = mean_interval(errors[part]) if len(errors) else Interval(*[np.nan] * 3)
                row |= {part: value, f"{part}_low": low, f"{part}_high": high}
            row["rate"] = float(errors["rate"].mean())
            row["perceptible"] = len(errors) / len(everyone)
            row["round"] = float(told[0]["round"].median()) if len(errors) else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


def readings(records: pd.DataFrame) -> pd.DataFrame:
    """Each configuration against LAPS-SD as we read it, in percent of its mean latency."""
    table = seeds_by_policy(records)
    rows = []
    for policy in table.columns:
        if policy == "laps-sd":
            continue
        against = percent(table, policy, "laps-sd")
        rows.append({"policy": policy, "percent": against.value, "low": against.low, "high": against.high,
                     "seeds": len(table)})  # fmt: skip
    return pd.DataFrame(rows)


def gains(records: pd.DataFrame, by: str) -> pd.DataFrame:
    """LAPS-SD against every other policy, for each value of a setting."""
    rows = []
    for value, group in records.groupby(by, dropna=False, sort=False):
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        share = over_seeds(group[group["policy"] == "laps-sd"], "switching_share").value
        for policy in table.columns.drop("laps-sd"):
            against = percent(table, "laps-sd", policy)
            rows.append({by: value, "policy": policy, "percent": against.value, "low": against.low,
                         "high": against.high, "switching_share": share, "seeds": len(table)})  # fmt: skip
    return pd.DataFrame(rows)


KINDS = {"range": "γ, δ (the paper's)", "count": "a fixed number of rounds", "window": "windowed mean",
         "posterior": "posterior's width"}  # fmt: skip


def kind_of_test(spec: str) -> str:
    """What a LAPS-SD spec takes for stability: a key of `KINDS`."""
    policy = parse_policy(spec)
    assert isinstance(policy, LapsSD)
    return "count" if policy.count else policy.stability


def parameters(spec: str) -> str:
    """γ and δ, or the count, of a LAPS-SD spec, in words."""
    policy = parse_policy(spec)
    assert isinstance(policy, LapsSD)
    if policy.count:
        return f"{policy.count} round{'s' if policy.count > 1 else ''}"
    window = "" if policy.stability == "posterior" else f"γ = {policy.gamma}, "
    return f"{window}δ = {policy.delta:g}"


def stability(records: pd.DataFrame, inputs: Inputs, mixed: Trace) -> pd.DataFrame:
    """Every stability test, by data set and trace: the median round, the share, latency against FCFS."""
    rows = []
    traces = {RECORDED: inputs.trace, SHUFFLED: mixed}
    for (dataset, name), group in records.groupby(["dataset", "trace"], dropna=False):
        dataset = dataset if isinstance(dataset, str) else ALL
        whole = traces[str(name)]
        some = whole if dataset == ALL else whole.only(dataset)
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        for spec in table.columns:
            if spec in DEPLOYABLE and spec != "laps-sd":
                continue
            policy = parse_policy(spec)
            assert isinstance(policy, LapsSD)
            _, median, _, share = quantiles(stable_rounds(some, policy))
            against = percent(table, spec, "fcfs")
            rows.append({
                "dataset": dataset, "trace": name, "policy": spec, "kind": kind_of_test(spec), "round": median,
                "share": share, "percent": against.value, "low": against.low, "high": against.high,
                "seeds": len(table),
            })  # fmt: skip
    return pd.DataFrame(rows)


def controls(records: pd.DataFrame, inputs: Inputs) -> pd.DataFrame:
    """The referee's questions, by data set.

    `shuffling`: how much shuffled rounds change LAPS-SD's latency against FCFS, in points, at its defaults. For each
    kind of test the best by half of the seeds, and on the other half, in percent, against LAPS-SD's defaults and
    (`_to_count`) against the best fixed count.
    """
    rows = []
    for dataset in [*inputs.datasets, ALL]:
        only = None if dataset == ALL else dataset
        table = seeds_by_policy(records, trace=RECORDED, dataset=only)
        mixed = seeds_by_policy(records, trace=SHUFFLED, dataset=only)
        row: dict[str, Any] = {"dataset": dataset, **_named("shuffling", _points(mixed, table))}
        tests = [p for p in table.columns if p.startswith("laps-sd")]
        fresh, best = table.iloc[1::2], {}
        for kind in KINDS:
            chosen = selected(table, [p for p in tests if kind_of_test(p) == kind], "laps-sd")
            best[kind] = chosen.policy
            row |= {f"{kind}_best": parameters(chosen.policy), **_named(kind, chosen.against)}
        for kind in KINDS:
            row |= _named(f"{kind}_to_count", percent(fresh, best[kind], best["count"]))
        rows.append(row)
    return pd.DataFrame(rows)


def _points(table: pd.DataFrame, before: pd.DataFrame) -> Interval:
    """By how many points LAPS-SD's latency in percent of FCFS's is above what it was before, paired by seed.

    The delta method, as in `ratio_of_means`, for a difference of two ratios.
    """
    ratios = [float(some["laps-sd"].mean() / some["fcfs"].mean()) for some in (table, before)]
    after, first = (
        (some["laps-sd"] - ratio * some["fcfs"]) / some["fcfs"].mean()
        for some, ratio in zip((table, before), ratios, strict=True)
    )
    change = 100 * (ratios[0] - ratios[1])
    around = mean_interval(100 * (after - first))
    return Interval(change, change + around.low, change + around.high)


def _named(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def map_of_winners(records: pd.DataFrame, spreads: Mapping[Any, float]) -> pd.DataFrame:
    """Each cell of the map: the best policy that could be deployed, by how much, and how far from the bound.

    `best`, `second`, `margin` (how much worse the second is, percent, with `_low` and `_high`), `over_bound` (of the
    best), and `laps_sd` against the best of the others (percent, with `_low`, `_high`).
    """
    rows = []
    keys = ["trace", "length_predictor", "load", "swap_scale"]
    for key, group in records.groupby(keys):
        told = dict(zip(keys, key, strict=True))
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        order = table[list(DEPLOYABLE)].mean().sort_values()
        best, second = str(order.index[0]), str(order.index[1])
        other = best if best != "laps-sd" else second
        bound = float(group.drop_duplicates("seed")["bound_s"].mean())
        rows.append({
            "spread": spreads[told["trace"]], "error": float(str(told["length_predictor"]).partition(":")[2]),
            "load": told["load"], "swap_scale": told["swap_scale"], "best": best, "second": second,
            **_named("margin", percent(table, second, best)), "over_bound": float(order.iloc[0]) / bound,
            "other": other, **_named("laps_sd", percent(table, "laps-sd", other)),
            **_named("against_lp_sjf", percent(table, "laps-sd", "lp-sjf")), "seeds": len(table),
        })  # fmt: skip
    return pd.DataFrame(rows)


def value_of_acceptance(records: pd.DataFrame, spreads: Mapping[Any, float]) -> pd.DataFrame:
    """What knowing acceptance buys beyond knowing length, by spread and length error: percent, negative is better.

    `sjf`: LP-SJF that also knows each request's mean acceptance, against LP-SJF; `srpt`: clairvoyant SRPT against
    preemptive shortest predicted remaining length. At moves as measured.
    """
    rows = []
    some = records[records["swap_scale"] == 1]
    for (trace, predictor, load), group in some.groupby(["trace", "length_predictor", "load"]):
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        rows.append({
            "spread": spreads[trace], "error": float(str(predictor).partition(":")[2]), "load": load,
            **_named("sjf", percent(table, "lp-sjf-mean", "lp-sjf")),
            **_named("srpt", percent(table, "srpt", "lp-srpt")),
            "seeds": len(table),
        })  # fmt: skip
    return pd.DataFrame(rows)


def sensitivity(records: pd.DataFrame, inputs: Inputs) -> pd.DataFrame:
    """Too early or too late, by data set: the best γ, δ by half of the seeds, and what others cost on the rest."""
    rows = []
    for dataset in inputs.datasets:
        some = inputs.trace.only(dataset)
        table = seeds_by_policy(records, trace=RECORDED, dataset=dataset)
        grid = [p for p in table.columns if p.startswith("laps-sd") and kind_of_test(p) == "range"]
        chosen, fresh = selected(table, grid, "laps-sd"), table.iloc[1::2]
        early, late = "laps-sd:gamma=3,delta=0.2", "laps-sd:gamma=20,delta=0.01"
        p10, p50, p90, share = quantiles(stable_rounds(some, LapsSD()))
        rows.append({
            "dataset": dataset, "rounds": float(np.median(some.rounds)), "p10": p10, "median": p50, "p90": p90,
            "share": share,
            "best": parameters(chosen.policy), **_named("default", _reverse(chosen.against)),
            **_named("early", percent(fresh, early, chosen.policy)),
            **_named("late", percent(fresh, late, chosen.policy)), "seeds": len(fresh),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _reverse(change: Interval) -> Interval:
    """From a / b − 1 to b / a − 1, in percent."""
    value, low, high = (100 * (100 / (100 + x) - 1) for x in change)
    return Interval(value, high, low)


def enough(rows: pd.DataFrame) -> float:
    """The widest half of an interval among LAPS-SD's differences to the paper's baselines, in percent of them."""
    some = rows[rows["policy"].isin(BASELINES)]
    return float(((some["percent_high"] - some["percent_low"]) / 2).max())
