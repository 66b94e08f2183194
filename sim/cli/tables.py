"""Tables for a terminal. Names come from users' files, so they are escaped."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from sim.bench import FIGURES
from sim.experiment.comparison import Comparison
from sim.experiment.metrics import FIRM, Metric, Ratio, by_group, compared, metric_named, observations
from sim.experiment.setting import KNOBS
from sim.experiment.stability import quantiles, stable_rounds
from sim.sweeps.best import Verdict
from traces import Linear, Profile, Trace, to_frame
from traces.describe import describe, shuffled
from traces.profile import fit_warnings


def number(value: Any, digits: int = 3) -> str:
    """Three significant digits, without an exponent where people would not write one."""
    if value is None or not math.isfinite(value):
        return "-"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"


def comparison_table(comparison: Comparison) -> Table:
    """The comparison as people read it; the JSON output has every key."""
    shown = compared()
    headings = [metric.heading + "*" * metric.few(comparison.observations) for metric in shown]
    table = _table("policy", headings[0], "± 95 %", *headings[1:], "minus FCFS, s\n[95 %]")
    for row in comparison.records:
        interval = comparison.latency(row["policy"])
        spread = number((interval.high - interval.low) / 2, 2)
        difference = number(row["diff_to_fcfs_s"])
        if row["diff_low_s"] is not None and row["policy"] != "fcfs":
            difference += f" [{number(row['diff_low_s'])}, {number(row['diff_high_s'])}]"
        mark = " †" if row["policy"] in comparison.clairvoyant else ""
        values = [measure(metric, row[metric.name]) for metric in shown]
        table.add_row(escape(row["policy"]) + mark, values[0], spread, *values[1:], escape(difference))
    return table


def measure(metric: Metric, value: float | None) -> str:
    """A metric's value as people read it: shares in percent, ratios with three decimals."""
    if value is None:
        return "-"
    if metric.unit == "share":
        return number(100 * value, 2)
    if metric.whole:
        return str(value)
    return f"{value:.3f}" if isinstance(metric.over_seeds, Ratio) else number(value)


def slowdown_table(comparison: Comparison) -> Table:
    """Mean slowdown by quarter of output length: whom a policy makes wait."""
    table = _table("mean slowdown of the", "shortest quarter", "second", "third", "longest quarter")
    for policy, row in comparison.slowdown_by_length.iterrows():
        table.add_row(escape(str(policy)), *(number(value) for value in row))
    return table


def bench_table(found: Mapping[str, float]) -> Table:
    """The bench as people read it: each figure, what it should be, and what it means."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", no_wrap=True)
    table.add_column("here", justify="right", no_wrap=True)
    table.add_column("should be", justify="right", no_wrap=True)
    table.add_column("")
    for figure in FIGURES:
        value = found[figure.key]
        held = value <= figure.bound if figure.at_most else value >= figure.bound
        wanted = f"{'at most' if figure.at_most else 'at least'} {figure.bound:g}"
        table.add_row(figure.key, number(value), wanted, figure.meaning + ("" if held else "  [bold]MISSED[/bold]"))
    return table


MOST_ROWS = 20


def sweep_table(records: pd.DataFrame, name: str, varying: Sequence[str]) -> Table:
    """What varied in a sweep, and the configurations with the lowest value of a metric."""
    metric = metric_named(name)
    names = [n for n in varying if n != "policy_name"] or ["policy"]
    shown = ["policy", *(n for n in names if n in KNOBS)] if "policy" in names else names
    rows = by_group(records, shown, metric).sort_values("value")
    title = f"{len(records):,} runs, {records['seed'].nunique()} seeds; lowest {name} first"
    mark = "*" * metric.few(int(observations(records).min()))
    if mark:
        title += f"\n* of each run's own requests: fewer than {FIRM} of them are expected above it"
    table = _table(*shown, name + mark, "sd", "runs", left=len(shown))
    table.title, table.title_justify = title, "left"
    for row in rows.head(MOST_ROWS).to_dict("records"):
        values = [number_or_text(None if row[n] != row[n] else row[n]) for n in shown]
        table.add_row(*map(escape, values), number(row["value"], 4), number(row["sd"], 2), str(row["runs"]))
    if len(rows) > MOST_ROWS:
        table.add_row(f"... and {len(rows) - MOST_ROWS:,} more")
    return table


def number_or_text(value: Any) -> str:
    """A parameter's value; a dash where a policy lacks the parameter."""
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


MOST_ALIKE = 12


def best_tables(verdicts: Sequence[Verdict]) -> list[Table | str]:
    """What is best in each group, what is not worse, and which values win."""
    shown: list[Table | str] = []
    for verdict in verdicts:
        where = ", ".join(f"{name} {value}" for name, value in verdict.group.items())
        value, low, high = (number(v) for v in verdict.value)
        shown.append(
            f"[bold]{escape(where) or 'all settings'}[/bold]: best is {escape(verdict.best)}, {verdict.metric} "
            f"{value} {escape(f'[{low}, {high}]')} on fresh seeds ({number(verdict.selected_value)} on those that "
            f"selected it). {len(verdict.alike)} of {verdict.configurations} configurations are not worse beyond "
            f"chance, {verdict.seeds} seeds."
        )
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("not worse")
        for heading in ("fresh seeds", "minus best", "wins %"):
            table.add_column(heading, justify="right")
        for row in verdict.alike.head(MOST_ALIKE).to_dict("records"):
            table.add_row(escape(row["policy"]), number(row["value"]), number(row["difference"], 2),
                          number(100 * row["wins"], 2))  # fmt: skip
        if len(verdict.alike) > MOST_ALIKE:
            table.add_row(f"... and {len(verdict.alike) - MOST_ALIKE} more (--json has all)")
        shown.append(table)
        for parameter, rows in verdict.wins.groupby("parameter", sort=False):
            won = ", ".join(f"{number_or_text(r['value'])} {100 * r['wins']:.0f} %" for r in rows.to_dict("records"))
            shown.append(f"{escape(str(parameter))} wins: {escape(won)}")
        shown.append("")
    return shown


def notes(comparison: Comparison) -> list[str]:
    """What a reader of the table must know: marks, and where the numbers come from."""
    lines = [comparison.caption]
    if any(metric.few(comparison.observations) for metric in compared()):
        lines.append(f"* fewer than {FIRM} latencies are expected above this percentile: more seeds make it firm.")
    if comparison.seeds == 1:
        lines.append("One seed gives no interval: --seeds 2 or more do.")
    if comparison.clairvoyant:
        lines.append("† knows the true sizes: a yardstick, not a policy one could deploy.")
    return lines


def versus_table(comparison: Comparison, policy: str) -> Table:
    """One policy's mean latency against each other's."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=None)
    table.add_column(escape(f"mean latency of {policy} against"), no_wrap=True)
    table.add_column("difference", justify="right")
    table.add_column("95 % interval", justify="right")
    for row in comparison.versus(policy).to_dict("records"):
        table.add_row(escape(row["policy"]), f"{row['percent']:+.1f} %", f"{row['low']:+.1f} to {row['high']:+.1f} %")
    return table


def trace_tables(trace: Trace, *, verbose: bool = False) -> list[Table]:
    """Per data set: requests, lengths, acceptance and how it develops; `verbose`: and all that it says of itself."""
    frame = to_frame(trace)
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("dataset", "requests", "prompt\nmedian", "output\nmedian", "output\np10", "output\np90", "output\nmax",
               "rounds\nmedian", "tokens\n/ round", "acceptance\nmean", "acceptance\nsd")  # fmt: skip
    for i, heading in enumerate(columns):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    groups = [(name, frame[frame["dataset"] == name]) for name in trace.datasets]
    for name, rows in [*groups, ("all", frame)] if len(groups) > 1 else groups:
        p10, p50, p90 = rows["output_tokens"].quantile([0.1, 0.5, 0.9])
        table.add_row(
            escape(str(name)), str(len(rows)), number(rows["prompt_tokens"].median()), number(p50), number(p10),
            number(p90), str(rows["output_tokens"].max()), number(rows["rounds"].median()),
            f"{rows['output_tokens'].sum() / rows['rounds'].sum():.2f}", f"{rows['acceptance'].mean():.3f}",
            f"{rows['acceptance'].std():.3f}",
        )  # fmt: skip
    return [table, _dynamics_table(trace), _origin(trace.metadata, verbose)]


def _dynamics_table(trace: Trace) -> Table:
    """How acceptance develops in a request, and when it becomes perceptible at LAPS-SD's defaults."""
    table = _table(
        "dataset", "within a request\nsd", "correlation with\nlog length", "autocorrelation\nlag 1, 2, 3, 5",
        "accepted at place\n1, 2, 3, 4", "perceptible at round\np10, 50, 90 (share)", "the same,\nrounds shuffled",
    )  # fmt: skip
    stable = stable_rounds(trace)
    mixed = stable_rounds(shuffled(trace, np.random.default_rng(0)))
    datasets = np.array(trace.dataset, dtype=object)
    for row in describe(trace).to_dict("records"):
        of = np.ones(len(trace), bool) if row["dataset"] == "all" else datasets == row["dataset"]
        rounds = []
        for found in (stable[of], mixed[of]):
            *marks, share = quantiles(found)
            rounds.append(f"{' '.join(number(m) for m in marks)} ({share:.0%})")
        lags = " ".join(f"{row['autocorrelation'][lag - 1]:+.2f}" for lag in (1, 2, 3, 5))
        places = " ".join(f"{p:.2f}" for p in row["draft_position"][:4])
        sizes = f"{row['within_sd']:.3f}", f"{row['length_correlation']:+.2f}"
        table.add_row(escape(str(row["dataset"])), *sizes, lags, places, *rounds)
    return table


def profile_tables(profile: Profile, *, verbose: bool = False) -> list[Table]:
    """The cost terms with their fits, what the hardware would allow, and where the profile comes from."""
    found = [_terms_table(profile)]
    if len(profile.costs.rounds) > 1:
        found.append(_batch_table(profile))
    if profile.costs.swap_ways:
        found.append(_swap_table(profile))
    if profile.stamp.get("floors"):
        found.append(_floor_table(profile))
    if profile.stamp.get("speculation"):
        found.append(_speculation_table(profile))
    fits = {k: v for k, v in profile.fits.items() if k in ("round", "grid", "request")}
    stamp = {k: v for k, v in profile.stamp.items() if k not in ("floors", "speculation")}
    return [*found, _origin({"kind": profile.kind, "weights": profile.weights, **fits, **stamp}, verbose)]


def profile_warnings(profile: Profile) -> list[str]:
    """Why not to trust it: a line each."""
    told = fit_warnings(profile.fits)
    if profile.stamp.get("unstable"):
        told.append(f"unstable: the machine's speed drifted by {profile.stamp.get('drift', float('nan')):+.0%}")
    if profile.stamp.get("incomplete"):
        told.append("incomplete: its calibration was interrupted")
    if profile.stamp.get("quick"):
        told.append("made with --quick: few samples a term")
    return told


def _table(*headings: str, left: int = 1) -> Table:
    """A table whose first columns are words, and the rest numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i < left else "right", no_wrap=True)
    return table


def _terms_table(profile: Profile) -> Table:
    table = _table("cost", "base ms", "µs / token", "fit error\nmedian", "fit error\np90", "samples")
    costs, one = profile.costs, profile.costs.rounds[1]
    terms = [("draft step", "draft_step", one.draft_step)]
    terms += [(f"verify, width {w}", f"verify_{w}", one.verify(w)) for w in sorted(one.verify_base_ns)]
    terms += [("host, a round", "host", Linear(one.host_ns, 0))]
    terms += [(name.replace("_", "-"), name, getattr(costs, name)) for name in ("prefill", "swap_out", "swap_in")]
    for label, key, term in terms:
        fit = profile.fits.get(key, {})
        errors = (fit.get("median_error"), fit.get("p90_error"))
        shown = ["-" if e is None else f"{e:.1%}" for e in errors]
        per_token = number(term.per_token_ns / 1e3)
        table.add_row(label, number(term.base_ns / 1e6), per_token, *shown, str(fit.get("samples", "-")))
    return table


def _batch_table(profile: Profile) -> Table:
    """Rounds by batch size, at no context; what a token of context adds beside it."""
    rounds = profile.costs.rounds
    widths = sorted({w for terms in rounds.values() for w in terms.verify_base_ns})
    slopes = (f"µs / token\n{part}" for part in ("draft", f"verify {widths[0]}", f"verify {widths[-1]}"))
    table = _table("batch", "draft step\nms", *(f"verify {w}\nms" for w in widths), *slopes)
    for batch, terms in rounds.items():
        passes = (number(terms.verify(w).base_ns / 1e6) for w in widths)
        ends = (terms.draft_step, terms.verify(widths[0]), terms.verify(widths[-1]))
        per_token = (number(term.per_token_ns / 1e3) for term in ends)
        table.add_row(str(batch), number(terms.draft_step.base_ns / 1e6), *passes, *per_token)
    return table


def _swap_table(profile: Profile) -> Table:
    table = _table("KV swap", "out, base ms", "µs / token", "in, base ms", "µs / token", "bytes / token")
    fits = profile.fits.get("swap_ways", {})
    for way, swap in profile.costs.swap_ways.items():
        values = (swap.out.base_ns / 1e6, swap.out.per_token_ns / 1e3, swap.back.base_ns / 1e6,
                  swap.back.per_token_ns / 1e3)  # fmt: skip
        table.add_row(
            escape(way), *map(number, values), number(fits.get(way, {}).get("bytes_per_token", float("nan")))
        )
    return table


def _floor_table(profile: Profile) -> Table:
    """The verify pass beside the time that its bytes alone would take, and its matrix products alone."""
    floors, terms = profile.stamp["floors"], profile.costs.rounds[1]
    width = profile.stamp.get("draft_tokens", [4])[0] + 1
    products = floors.get("verify_products_alone_ns")
    table = _table(f"context (verify {width})", "ms", "memory floor ms", "over it", "products alone ms", "over them")
    for context, floor in floors["verify_memory_floor_ns"].items():
        ns = terms.verify(width)(int(context))
        alone = ("-", "-") if products is None else (number(products / 1e6), f"{ns / products:.2f}")
        table.add_row(context, number(ns / 1e6), number(floor / 1e6), f"{ns / floor:.2f}", *alone)
    return table


def _speculation_table(profile: Profile) -> Table:
    rows = profile.stamp["speculation"]["table"]
    table = _table("batch", "plain\ntokens / s", "best n", "tokens / s", "over plain", "break-even A")
    for batch in dict.fromkeys(r["batch"] for r in rows):
        of_batch = [r for r in rows if r["batch"] == batch]
        best = max(of_batch, key=lambda r: r["tokens_per_s"])
        even = "-" if best["break_even"] is None else f"{best['break_even']:.3f}"
        plain = next(r for r in of_batch if r["draft_tokens"] == 0)
        values = (number(plain["tokens_per_s"]), str(best["draft_tokens"]), number(best["tokens_per_s"]))
        table.add_row(str(batch), *values, f"{best['over_plain']:.2f}", even)
    return table


def _origin(metadata: Mapping[str, Any], verbose: bool) -> Table:
    """What a file says of where it comes from; what is no plain value only if it is asked for."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in metadata.items():
        if verbose or not isinstance(value, dict | list):
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            table.add_row(escape(str(key)), escape(text))
    return table
