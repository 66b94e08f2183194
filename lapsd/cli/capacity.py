"""The command `lapsd capacity`: the highest arrival rate at which a constraint holds, or the fewest
servers with which it does.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape

from lapsd.cli.literal import refuse_ignored
from lapsd.cli.options import AsJson, DraftPolicies, crossed, verb
from lapsd.cli.scenario_options import with_scenario
from lapsd.cli.tables.cells import table_of
from lapsd.cli.tables.sweep import FEW
from lapsd.cli.terminal import console, watch
from lapsd.policies import parse_policy, spec_of
from lapsd.policies.spec import by_spec
from lapsd.sim.experiment.no_effect import refuse_without_effect
from lapsd.sim.experiment.numbers import number
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS
from lapsd.sim.experiment.statistics import Interval
from lapsd.sim.sweeps.fewest_servers import fewest_by_seed, with_servers
from lapsd.sim.sweeps.highest_rate import TOLERANCE, Constraint, capacity

app = verb()
ARRIVAL_FIELDS = ("load", "all_at_once", "clients", "think")
SETTINGS = tuple(name for name in SCENARIO_FIELDS if name not in ARRIVAL_FIELDS)


@app.command("capacity")
@with_scenario(only=SETTINGS)
def show_capacity(
    scenario: Mapping[str, Any],
    constraint: Annotated[
        str, typer.Option(help="METRIC<=BOUND, for any metric of a run.")
    ] = "mean_normalized_latency_s<=0.2",
    policy: Annotated[
        list[str] | None, typer.Option(help="Repeat for several [default: fcfs].")
    ] = None,
    draft_policy: DraftPolicies = None,
    seeds: Annotated[int, typer.Option(help="Number of workloads; their seeds are 0, 1, ...")] = 10,
    tolerance: Annotated[float, typer.Option(help="Relative accuracy of the rate.")] = TOLERANCE,
    as_json: AsJson = False,
) -> None:
    """Find the highest arrival rate at which a constraint holds; with --rate, the fewest servers
    with which it holds at that rate. By bisection for each seed.
    """
    if scenario.get("rate") is not None:
        refuse_ignored("with --rate", "servers", "tolerance")
        asked = {**scenario, "servers": len((scenario.get("server_profiles") or "").split("+"))}
        _show_fewest(asked, constraint, crossed(policy or ["fcfs"], draft_policy), seeds, as_json)
        return
    wanted, prepared = Constraint.parse(constraint), PreparedScenario.of(**scenario)
    policies = list(by_spec(map(parse_policy, crossed(policy or ["fcfs"], draft_policy))).values())
    refuse_without_effect([prepared], policies)
    rates: dict[str, tuple[Interval, list[float]]] = {}
    done = 0
    with watch(quiet=as_json) as shown:

        def count_seed() -> None:
            nonlocal done
            done += 1
            shown("bisecting", done, seeds * len(policies))

        for one in policies:
            rates[spec_of(one)] = capacity(
                prepared, one, wanted, seeds, tolerance=tolerance, progress=count_seed
            )
    counted = prepared.scenario.requests - prepared.scenario.warmup
    unreliable = wanted.metric.is_unreliable(counted)
    if as_json:
        records = [{**_record(*row), "unreliable": unreliable} for row in rates.items()]
        print(json.dumps(records, indent=2, allow_nan=False))
        return
    table = table_of(
        "policy",
        "arrivals\n/ s" + "*" * unreliable,
        "95 %\nlow",
        "95 %\nhigh",
        "lowest\nseed",
        "highest\nseed",
    )
    for spec, (rate, of_seeds) in rates.items():
        table.add_row(escape(spec), *map(number, (*rate, min(of_seeds), max(of_seeds))))
    stdout = console()
    stdout.print(table, "")
    stdout.print(
        escape(
            f"{wanted}, {seeds} seeds; {prepared.scenario.requests} requests; "
            f"{prepared.trace.provenance.source or 'a trace'}; a dash means no limit"
        ),
        style="dim",
    )
    if unreliable:
        stdout.print(escape(FEW), style="dim")


def _show_fewest(
    scenario: Mapping[str, Any], constraint: str, specs: Sequence[str], seeds: int, as_json: bool
) -> None:
    """Find the fewest servers under each policy."""
    wanted, prepared = Constraint.parse(constraint), PreparedScenario.of(**scenario)
    policies = list(by_spec(map(parse_policy, specs)).values())
    refuse_without_effect([with_servers(prepared, prepared.scenario.servers + 1)], policies)
    found: dict[str, list[float]] = {}
    with watch(quiet=as_json) as shown:

        def count_seed() -> None:
            shown("bisecting", sum(map(len, found.values())), seeds * len(policies))

        for one in policies:
            found[spec_of(one)] = fewest_by_seed(prepared, one, wanted, seeds, progress=count_seed)
    counted = prepared.scenario.requests - prepared.scenario.warmup
    unreliable = wanted.metric.is_unreliable(counted)
    if as_json:
        records = [
            {
                "policy": spec,
                "rate_per_s": prepared.scenario.rate,
                "servers": [None if math.isinf(n) else int(n) for n in by_seed],
                "unreliable": unreliable,
            }
            for spec, by_seed in found.items()
        ]
        print(json.dumps(records, indent=2, allow_nan=False))
        return
    mark = "*" * unreliable
    table = table_of("policy", f"servers, mean{mark}", "fewest\nseed", "most\nseed")
    for spec, by_seed in found.items():
        mean = sum(by_seed) / len(by_seed)
        table.add_row(escape(spec), *map(number, (mean, min(by_seed), max(by_seed))))
    stdout = console()
    stdout.print(table, "")
    stdout.print(
        escape(
            f"{wanted} at {prepared.scenario.rate:g} arrivals/s, {seeds} seeds;"
            f" {prepared.scenario.requests} requests; router {prepared.scenario.router};"
            f" {prepared.trace.provenance.source or 'a trace'}; a dash means that no number of"
            " servers is enough"
        ),
        style="dim",
    )
    if unreliable:
        stdout.print(escape(FEW), style="dim")


def _record(spec: str, highest: tuple[Interval, list[float]]) -> dict[str, Any]:
    """Return one policy's rates as a JSON document; null means no limit."""
    rate, of_seeds = ([x if math.isfinite(x) else None for x in values] for values in highest)
    return {
        "policy": spec,
        **dict(zip(("rate_per_s", "low", "high"), rate, strict=True)),
        "seeds": of_seeds,
    }
