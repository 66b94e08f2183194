"""Tables of a profile: costs, errors of their fits, and hardware floors."""

from rich.markup import escape
from rich.table import Table

from lapsd.cli.tables.cells import facts_table, table_of
from lapsd.cli.tables.trace import lengths_table
from lapsd.sim.experiment.numbers import number
from lapsd.traces import Linear, Profile
from lapsd.traces.provenance import Fits, Floors, RoundError, Speculation


def profile_tables(profile: Profile, *, verbose: bool = False) -> list[Table]:
    """Return tables of cost terms with their fits, hardware floors, and provenance.

    Parameters
    ----------
    verbose : whether to add the remaining notes of the file.
    """
    shown = [_terms_table(profile)]
    if profile.fits.whole is not None:
        shown.append(_whole_table(profile.fits))
    if len(profile.costs.rounds) > 1:
        shown.append(_batch_table(profile))
    if profile.costs.swap_ways:
        shown.append(_swap_table(profile))
    if profile.floors is not None:
        shown.append(_floor_table(profile, profile.floors))
    if profile.speculation is not None:
        shown.append(_speculation_table(profile.speculation))
    known = profile.provenance
    if known.length_predictor is not None and verbose:
        shown.append(lengths_table(known.length_predictor, verbose=True))
    facts = {"kind": profile.kind, "weights": profile.weights, **known.facts}
    return [
        *shown,
        facts_table(facts),
        *([facts_table(known.details | profile.fits.details)] if verbose else []),
    ]


def _whole_table(fits: Fits) -> Table:
    """Return the errors of all terms together on samples that no fit has seen."""
    table = table_of(
        "all terms together",
        "error\nmedian",
        "error\np90",
        "samples",
        "rounds of\na request",
        "all rounds",
        "none\naccepted",
        "all\naccepted",
    )
    for label, fit in (
        ("real rounds", fits.round),
        ("rounds of the grid", fits.grid),
        ("requests", fits.request),
    ):
        if fit is not None:
            sums = (
                (fit.closure, fit.total_error, fit.none_accepted, fit.all_accepted)
                if isinstance(fit, RoundError)
                else (None,) * 4
            )
            table.add_row(
                label,
                f"{fit.median_error:.1%}",
                f"{fit.p90_error:.1%}",
                str(fit.samples),
                *("-" if s is None else f"{s:+.1%}" for s in sums),
            )
    return table


def _terms_table(profile: Profile) -> Table:
    table = table_of(
        "cost", "base ms", "µs / token", "fit error\nmedian", "fit error\np90", "samples"
    )
    costs, one = profile.costs, profile.costs.rounds[1]
    terms = [("draft step", "draft_step", one.draft_step)]
    terms += [
        (f"verify, width {w}", f"verify_{w}", one.verify(w)) for w in sorted(one.verify_base_ns)
    ]
    terms += [("host, per round", "host", Linear(one.host_ns, 0))]
    terms += [
        (name.replace("_", "-"), name, getattr(costs, name))
        for name in ("prefill", "swap_out", "swap_in")
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


def _batch_table(profile: Profile) -> Table:
    """Return the cost of rounds by batch size: at no context, and per token of context."""
    rounds = profile.costs.rounds
    widths = sorted({w for terms in rounds.values() for w in terms.verify_base_ns})
    slopes = (
        f"µs / token\n{part}" for part in ("draft", f"verify {widths[0]}", f"verify {widths[-1]}")
    )
    table = table_of("batch", "draft step\nms", *(f"verify {w}\nms" for w in widths), *slopes)
    for batch, terms in rounds.items():
        passes = (number(terms.verify(w).base_ns / 1e6) for w in widths)
        ends = (terms.draft_step, terms.verify(widths[0]), terms.verify(widths[-1]))
        per_token = (number(term.per_token_ns / 1e3) for term in ends)
        table.add_row(str(batch), number(terms.draft_step.base_ns / 1e6), *passes, *per_token)
    return table


def _swap_table(profile: Profile) -> Table:
    table = table_of(
        "KV swap", "out, base ms", "µs / token", "in, base ms", "µs / token", "bytes / token"
    )
    fits = profile.fits.swap_ways
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
            number(fits[way].bytes_per_token if way in fits else None),
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


def _speculation_table(speculation: Speculation) -> Table:
    table = table_of(
        "batch", "plain\ntokens / s", "best n", "tokens / s", "over plain", "break-even A"
    )
    for batch in speculation.batches:
        best, plain = speculation.best(batch), speculation.plain(batch)
        even = "-" if best.break_even is None else f"{best.break_even:.3f}"
        values = (
            number(plain and plain.tokens_per_s),
            str(best.draft_tokens),
            number(best.tokens_per_s),
        )
        table.add_row(str(batch), *values, f"{best.over_plain:.2f}", even)
    return table
