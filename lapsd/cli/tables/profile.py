"""Tables of a profile: costs, errors of their fits, and hardware floors."""

from collections.abc import Iterable, Iterator

from rich.markup import escape
from rich.table import Table

from lapsd.cli.tables.cells import facts_table, table_of
from lapsd.cli.tables.operator_tables import (
    memory_facts,
    operators_table,
    shares_table,
    tables_facts,
)
from lapsd.cli.tables.speculation import recorded_table
from lapsd.cli.tables.trace import lengths_table
from lapsd.sim.experiment.numbers import number
from lapsd.traces import Linear, Profile
from lapsd.traces.costs import Piecewise
from lapsd.traces.provenance import FitError, Fits, Floors, RoundError

WIDTHS = {1, 2, 3, 5, 9, 17}  # of the verify passes that are shown where there are many
MOST_WIDTHS, MOST_BATCHES = 6, 10
PROMPTS = (128, 512, 2_048)  # tokens


def profile_tables(profile: Profile, *, verbose: bool = False) -> list[Table]:
    """Return tables of cost terms with their fits, hardware floors, and provenance.

    Parameters
    ----------
    verbose : whether to add all widths and batch sizes, all operators, and the remaining notes of
        the file.
    """
    shown = [_terms_table(profile, verbose)]
    if isinstance(profile.costs.prefill, Piecewise):
        shown.append(_prefill_table(profile.costs.prefill))
    if profile.fits.whole is not None:
        shown.append(_errors_table(profile.fits))
    if len(profile.costs.rounds) > 1:
        shown.append(_batch_table(profile, verbose))
    if profile.costs.swap_ways:
        shown.append(_swap_table(profile))
    if profile.floors is not None:
        shown.append(_floor_table(profile, profile.floors))
    if profile.speculation is not None:
        shown.append(recorded_table(profile.speculation))
    facts = {"kind": profile.kind, "weights": profile.weights}
    known, tables = profile.provenance, profile.operator_tables
    if tables is not None:
        shown += [shares_table(tables), *([operators_table(tables)] if verbose else [])]
        facts |= tables_facts(tables)
    if known.length_predictor is not None and verbose:
        shown.append(lengths_table(known.length_predictor, verbose=True))
    return [
        *shown,
        facts_table(facts | memory_facts(profile) | known.facts),
        *([facts_table(known.details | profile.fits.details)] if verbose else []),
    ]


def _errors_table(fits: Fits) -> Table:
    """Return the errors of whole passes on samples that no fit has seen."""
    rows = list(_passes(fits))
    extremes = any(fit.worst_error is not None for _, fit in rows)
    signed = any(isinstance(fit, RoundError) for _, fit in rows)
    headings = ["error on unseen passes", "median", "p90", *(["mean", "worst"] * extremes)]
    headings += ["samples"]
    headings += ["rounds of\na request", "all rounds", "none\naccepted", "all\naccepted"] * signed
    table = table_of(*headings)
    for label, fit in rows:
        sums = (
            (fit.closure, fit.total_error, fit.none_accepted, fit.all_accepted)
            if isinstance(fit, RoundError)
            else (None,) * 4
        )
        errors: list[float | None] = [fit.median_error, fit.p90_error]
        errors += [fit.mean_error, fit.worst_error] if extremes else []
        table.add_row(
            label,
            *("-" if e is None else f"{e:.1%}" for e in errors),
            str(fit.samples),
            *(("-" if s is None else f"{s:+.1%}" for s in sums) if signed else ()),
        )
    return table


def _passes(fits: Fits) -> Iterator[tuple[str, FitError]]:
    """Yield the errors of rounds, prompts and requests, with their names."""
    found = {
        "real rounds": fits.round,
        "rounds of the grid": fits.grid,
        "verify passes of the grid": fits.grid and fits.grid.verify,
        "one prompt": fits.terms.get("prefill"),
        "batched prompts": fits.terms.get("prefill_batched"),
        "steps with prompts": fits.terms.get("step"),
        "requests": fits.request,
    }
    yield from ((label, fit) for label, fit in found.items() if fit is not None)


def _terms_table(profile: Profile, verbose: bool) -> Table:
    table = table_of(
        "cost", "base ms", "µs / token", "fit error\nmedian", "fit error\np90", "samples"
    )
    costs, one = profile.costs, profile.costs.rounds[1]
    widths = sorted(one.verify_base_ns)
    terms = [("draft step", "draft_step", one.draft_step)]
    terms += [
        (f"verify, width {w}", f"verify_{w}", one.verify(w))
        for w in (widths if verbose else _some_widths(widths))
    ]
    terms += [("host, per round", "host", Linear(one.host_ns, 0))]
    terms += [
        (name.replace("_", "-"), name, term)
        for name in ("prefill", "swap_out", "swap_in")
        if isinstance(term := getattr(costs, name), Linear)
    ]
    for label, key, term in terms:
        fit = profile.fits.terms.get(key)
        shown = (
            ("-",) * 3
            if fit is None
            else (f"{fit.median_error:.1%}", f"{fit.p90_error:.1%}", str(fit.samples))
        )
        table.add_row(label, number(term.base_ns / 1e6), number(term.per_token_ns / 1e3), *shown)
    return table


def _some_widths(widths: Iterable[int]) -> list[int]:
    """Return at most `MOST_WIDTHS` widths: all, or those of `WIDTHS` and the widest."""
    known = sorted(widths)
    if len(known) <= MOST_WIDTHS:
        return known
    chosen = [w for w in known[:-1] if w in WIDTHS] or known
    return [*chosen[: MOST_WIDTHS - 1], known[-1]]


def _some_batches(batches: Iterable[int]) -> list[int]:
    """Return all batch sizes or, of many, the powers of two and the largest."""
    known = sorted(batches)
    if len(known) <= MOST_BATCHES:
        return known
    return [b for b in known if not b & (b - 1) or b == known[-1]]


def _prefill_table(prefill: Piecewise) -> Table:
    table = table_of("prefill, tokens of a prompt", *(f"{t:,}" for t in PROMPTS))
    ns = [prefill(tokens) for tokens in PROMPTS]
    table.add_row("ms", *(number(value / 1e6) for value in ns))
    per_token = (value / 1e3 / t for value, t in zip(ns, PROMPTS, strict=True))
    table.add_row("µs / token", *map(number, per_token))
    return table


def _batch_table(profile: Profile, verbose: bool) -> Table:
    """Return the cost of rounds by batch size: at no context, and per token of context."""
    rounds = profile.costs.rounds
    widths = _some_widths({w for terms in rounds.values() for w in terms.verify_base_ns})
    ends = [widths[0], widths[-1]] if len(widths) > 1 else widths
    slopes = (f"µs / token\n{part}" for part in ("draft", *(f"verify {w}" for w in ends)))
    table = table_of("batch", "draft step\nms", *(f"verify {w}\nms" for w in widths), *slopes)
    for batch in rounds if verbose else _some_batches(rounds):
        terms = rounds[batch]
        passes = (number(terms.verify(w).base_ns / 1e6) for w in widths)
        lines = (terms.draft_step, *(terms.verify(w) for w in ends))
        per_token = (number(line.per_token_ns / 1e3) for line in lines)
        table.add_row(str(batch), number(terms.draft_step.base_ns / 1e6), *passes, *per_token)
    return table


def _swap_table(profile: Profile) -> Table:
    table = table_of(
        "KV swap", "out, base ms", "µs / token", "in, base ms", "µs / token", "bytes / token"
    )
    fits, capacity = profile.fits.swap_ways, profile.kv_capacity
    for way, swap in profile.costs.swap_ways.items():
        values = (
            swap.out.base_ns / 1e6,
            swap.out.per_token_ns / 1e3,
            swap.back.base_ns / 1e6,
            swap.back.per_token_ns / 1e3,
        )
        table.add_row(
            escape(way),
            *map(number, values),
            number(
                fits[way].bytes_per_token if way in fits else capacity and capacity.bytes_per_token
            ),
        )
    return table


def _floor_table(profile: Profile, floors: Floors) -> Table:
    """Return the verify pass with the floors of its memory traffic and its matrix products."""
    width = (profile.provenance.draft_tokens or (4,))[0] + 1
    verify, products = profile.costs.rounds[1].verify(width), floors.verify_products_alone_ns
    table = table_of(
        f"context (verify {width})",
        "ms",
        "memory floor ms",
        "over it",
        "products alone ms",
        "over them",
    )
    for context, floor in floors.verify_memory_floor_ns.items():
        ns = verify(context)
        alone = (number(products / 1e6), f"{ns / products:.2f}") if products else ("-", "-")
        over = f"{ns / floor:.2f}" if floor else "-"
        table.add_row(str(context), number(ns / 1e6), number(floor / 1e6), over, *alone)
    return table
