"""Is `kernel-gittins` below LP-SRPT and LAPS-SD, or within chance of the better one, in every cell; how near
its ceiling?
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from lapsd.papers.beyond.fixed import IN_BATCHES, REQUESTS, in_words, predictors
from lapsd.papers.differences import columns, interval_of, percent
from lapsd.papers.inputs import RECORDED, Inputs, Size
from lapsd.papers.laps_sd.claims.switching import paper_scale
from lapsd.papers.laps_sd.fixed import sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.words import change, percentage, signed
from lapsd.sim.figures.maps import plot_cells
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep
from lapsd.traces import Trace, generate

BATCHES = (1, 4, 8)
RIVALS = ("lp-srpt", "laps-sd", "laps-sd:count=3")
MOVE_AWARE = ("lp-srpt:switch_penalty=1", "laps-sd:switch_penalty=1")
OTHERS = ("fcfs", "lp-sjf")
OWN, CEILING = "kernel-gittins", "kernel-gittins-oracle"
FREE, MEASURED, DEAR = "free", "as measured", "dear"
NEAR = 3.0  # percent: the aim for the gap to the ceiling
BY_CHANCE = 0.05  # of cells, whose 95 % interval errs
WIDE = "spread 2"  # generated, requests twice as far apart in acceptance as recorded


def _needs(trace: str, inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """A sweep a batch size that the profile covers: with room for all, so that moves are free, and
    for who runs.
    """
    sweeps = {}
    for batch in [b for b in BATCHES if b <= max(inputs.profile.costs.rounds)]:
        settings: dict[str, Any] = {
            "trace": trace,
            "length_predictor": predictors(inputs),
            "load": [f"{x:g}" for x in size.loads],
            "batch": batch,
            "requests": REQUESTS if batch == 1 else IN_BATCHES,
        }
        seeds = size.map if batch == 1 else size.stability
        sweeps[_name(trace, batch, FREE)] = sweep(
            [*OTHERS, *RIVALS, OWN, CEILING], seeds, **settings, kv_slots=0, swap_scale="1"
        )
        if inputs.switching:
            scales = ["1", f"{paper_scale(inputs):g}"]
            sweeps[_name(trace, batch, DEAR)] = sweep(
                [*OTHERS, *RIVALS, *MOVE_AWARE, OWN, CEILING],
                seeds,
                **settings,
                kv_slots=batch,
                swap_scale=scales,
            )
    return sweeps


def _name(trace: str, batch: int, moves: str) -> str:
    return f"{trace.replace(' ', '-')}-{batch}-{moves}"


def _derives(inputs: Inputs, size: Size) -> Mapping[str, Callable[[], Trace]]:
    return {
        WIDE: lambda: generate(
            inputs.trace, inputs.acceptance_models, requests=size.generated, spread=2
        )
    }


def _find(trace: str, evidence: Evidence) -> Tables:
    """Each cell: `kernel-gittins` against the better of the others and against its ceiling, in percent, and
    FCFS over it.

    `batch`, `moves`, `load`, `predictor`, `rival` (the better one, by these seeds), `percent`,
    `low`, `high`, `gap` with `_low` and `_high` (over the ceiling), `fcfs`, `over_bound` (at b = 1;
    NaN else), `seeds`.
    """
    rows = []
    keys = ["batch", "swap_scale", "load", "length_predictor"]
    for name in _needs(trace, evidence.inputs, evidence.size):
        for (batch, scale, load, predictor), group in evidence.records[name].groupby(
            keys, sort=False
        ):
            table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
            rivals = [rival for rival in (*RIVALS, *MOVE_AWARE) if rival in table]
            rival = str(table[rivals].mean().idxmin())
            value, low, high = percent(table, OWN, rival)
            moves = FREE if name.endswith(FREE) else MEASURED if scale == 1 else DEAR
            bound_s = float(group.drop_duplicates("seed")["bound_s"].mean())
            rows.append(
                {
                    "batch": batch,
                    "moves": moves,
                    "load": load,
                    "predictor": predictor,
                    "rival": rival,
                    "percent": value,
                    "low": low,
                    "high": high,
                    **columns("gap", percent(table, OWN, CEILING)),
                    "fcfs": float(table["fcfs"].mean() / table[OWN].mean()),
                    "over_bound": float(table[OWN].mean()) / bound_s,
                    "seeds": len(table),
                }
            )
    rows.sort(
        key=lambda row: (row["batch"], (FREE, MEASURED, DEAR).index(row["moves"]), row["load"])
    )
    return {f"cells_{trace.replace(' ', '_')}": pd.DataFrame(rows)}


def _say(trace: str, of: str, evidence: Evidence, tables: Tables) -> Claim:
    """Holds if no cell is behind beyond chance; in part if no more are than chance alone would
    make.
    """
    (cells,) = tables.values()
    ahead, behind = cells[cells["high"] < 0], cells[cells["low"] > 0]
    level = len(cells) - len(ahead) - len(behind)
    aware = cells["rival"].isin(MOVE_AWARE).sum()
    findings = [
        (
            f"{len(cells)} cells on {of}: batch sizes"
            f" {', '.join(map(str, sorted(cells['batch'].unique())))}, loads"
            f" {', '.join(f'{x:g}' for x in sorted(cells['load'].unique()))},"
            f" {cells['predictor'].nunique()} length predictors, moves"
            f" {', '.join(dict.fromkeys(cells['moves']))}; {int(cells['seeds'].min())} to"
            f" {int(cells['seeds'].max())} seeds a cell. The rival of a cell is whoever has the"
            " lowest mean there, by the same seeds, of LP-SRPT, LAPS-SD, LAPS-SD that counts three"
            " rounds, and, where caches move, the first two with the same lead for who runs (best"
            f" in {aware} cells)."
        ),
        (
            f"Kernel-Gittins is ahead beyond chance in {len(ahead)} cells, behind beyond chance in"
            f" {len(behind)}, and not to be told from the rival in {level};"
            f" {signed(cells['percent'].median())} % at the median,"
            f" {signed(cells['percent'].min())} to {signed(cells['percent'].max())} %. (Of cells"
            " where two are equal, one in forty is called behind by chance.)"
        ),
        (
            "Over its ceiling, the same policy with the very requests to come for a past, it is"
            f" {signed(cells['gap'].median())} % at the median, and at most {NEAR:g} % in"
            f" {percentage(float((cells['gap'] <= NEAR).mean()), 0)} of the cells;"
            f" {signed(cells['gap'].max())} % at most. (A past of some hundreds, which holds the"
            " very requests, knows more than any distribution could say.)"
        ),
    ]
    if len(behind):
        cells_behind = behind.sort_values("percent").to_dict("records")
        findings.append(f"Behind: {'; '.join(map(_cell, cells_behind))}.")
    verdict = HOLDS if behind.empty else PART if len(behind) <= BY_CHANCE * len(cells) else NOT
    why = (
        "It is behind in no cell beyond chance."
        if behind.empty
        else f"It is behind beyond chance in {len(behind)} of {len(cells)} cells."
    )
    return Claim(
        f"Kernel-Gittins is first, or within chance of it, in every cell: {of}",
        "Our own policy, and our own claim.",
        f"ahead in {len(ahead)} of {len(cells)} cells, behind in {len(behind)}",
        findings,
        verdict,
        why,
        _table(cells),
    )


def _cell(row: Mapping[Any, Any]) -> str:
    return (
        f"b = {row['batch']}, moves {row['moves']}, load {row['load']:g},"
        f" {in_words(str(row['predictor']))}:"
        f" {change(interval_of({'x': row['percent'], 'x_low': row['low'], 'x_high': row['high']}, 'x'))}"
        f" against {row['rival']}"
    )


def _table(cells: pd.DataFrame) -> Table:
    """A line a server, a column a predictor: the difference, its half interval, and the gap to the
    ceiling.
    """
    names = list(dict.fromkeys(cells["predictor"]))
    body = []
    for (batch, moves, load), some in cells.groupby(["batch", "moves", "load"], sort=False):
        by = some.set_index("predictor")
        body.append(
            [
                str(batch),
                str(moves),
                f"{load:g}",
                *(
                    f"{signed(r['percent'])} ± {r['high'] - r['percent']:.1f} ({signed(r['gap'])})"
                    for r in (by.loc[name] for name in names)
                ),
            ]
        )
    return Table(
        ["batch", "moves", "load", *map(in_words, names)],
        body,
        "Kernel-Gittins's mean latency against the best rival of the cell, %, with half its 95 % interval;"
        " in brackets how far it is above its ceiling, %.",
    )


def _draw(trace: str, of: str, number: int, evidence: Evidence, tables: Tables) -> list[Figure]:
    (cells,) = tables.values()
    caption = (
        f"Simulated on {of}: alike's mean latency in percent of the best rival's (LP-SRPT, LAPS-SD,"
        " LAPS-SD by count, and where caches move the first two with a lead for who runs): blue"
        f" where alike leads; bold: beyond chance. {REQUESTS} requests at b = 1, {IN_BATCHES} in"
        f" batches. {evidence.inputs.where}"
    )
    shown = cells.assign(
        row=[f"b = {r.batch}, moves {r.moves}, load {r.load:g}" for r in cells.itertuples()],
        column=cells["predictor"].map(in_words),
    )
    return [
        Figure(
            number, f"{NAMES[OWN]} against the best rival, {of}", caption, lambda: plot_cells(shown)
        )
    ]


def _question(trace: str, of: str, number: int, derived: bool) -> Question:
    return Question(
        f"the cells on {of}",
        partial(_find, trace),
        partial(_say, trace, of),
        partial(_draw, trace, of, number),
        partial(_needs, trace),
        _derives if derived else lambda inputs, size: {},
    )


AS_RECORDED = _question(RECORDED, "the recorded trace", 1, derived=False)
GENERATED = _question(WIDE, "generated requests", 2, derived=True)
