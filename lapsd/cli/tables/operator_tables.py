"""Tables and facts of a profile from operator tables: measured shares, memory and link."""

from rich.markup import escape
from rich.table import Table

from lapsd.cli.tables.cells import table_of
from lapsd.traces import Profile
from lapsd.traces.provenance import OperatorTables
from lapsd.traces.provenance.operator_tables import ESTIMATED, RESHAPED, SOURCES


def shares_table(tables: OperatorTables) -> Table:
    """Return the shares of the time of a round by the source of its operators' times."""
    table = table_of("batch", *(f"{source}\n% of a round" for source in SOURCES))
    for batch in tables.share_not_measured:
        shares = tables.shares(batch)
        table.add_row(str(batch), *(f"{100 * shares[source]:.1f}" for source in SOURCES))
    return table


def operators_table(tables: OperatorTables) -> Table:
    """Return the source of each operator's time."""
    table = table_of("operator", "source of its time", left=2)
    for name, source in tables.operators.items():
        table.add_row(escape(name), escape(source))
    return table


def memory_facts(profile: Profile) -> dict[str, str]:
    """Return facts on memory for KV caches and on the link that they are transferred over."""
    capacity, tables = profile.kv_capacity, profile.operator_tables
    facts: dict[str, str] = {}
    if capacity is None:
        return facts
    per_token = capacity.bytes_per_token
    known = (
        f"{capacity.tokens:,} tokens, {capacity.tokens * per_token / 1e9:.3g} GB"
        if capacity.tokens is not None
        else "tokens not known"
    )
    source = f" ({capacity.source})" if capacity.source else ""
    facts["kv_capacity"] = f"{known}, {per_token:,} bytes per token{source}"
    ns = profile.costs.swap_out.per_token_ns
    if tables is not None and ns and tables.tp > 0:
        facts["link"] = f"{per_token / tables.tp / ns:.3g} GB/s per GPU, each direction"
    return facts


def tables_facts(tables: OperatorTables) -> dict[str, str]:
    """Return the library, GPU and engine of the tables, and the operators not measured."""
    facts = {
        "operator_tables": tables.library,
        "gpu": f"{tables.gpu}, {tables.tp} per model (tp)",
        "engine": f"{tables.engine} {tables.engine_version}",
    }
    for source in (RESHAPED, ESTIMATED):
        names = [name for name, known in tables.operators.items() if known == source]
        facts[f"{source}_operators"] = ", ".join(names) or "none"
    return facts
