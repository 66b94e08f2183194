"""The verb `policies`: the bundled policies, draft policies and routers, and what each is for."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from lapsd.cli.options import AsJson, verb
from lapsd.cli.tables.policies import details_table, policies_table
from lapsd.cli.terminal import console
from lapsd.policies import POLICIES
from lapsd.policies.contract import BASES, Kind, title_of
from lapsd.policies.descriptions import Description, description_of
from lapsd.policies.drafts.spec import DRAFT_POLICIES
from lapsd.policies.own import class_named
from lapsd.policies.routers.spec import ROUTERS

KINDS: Mapping[str, Mapping[str, Kind]] = {
    "policy": POLICIES,
    "draft policy": DRAFT_POLICIES,
    "router": ROUTERS,
}
"""The bundled classes by name, by what they are called."""

BASE_CLASSES = tuple(base for base, _, _ in BASES)

app = verb()


@app.command()
def policies(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names, of which all parameters are printed, or your own class as module.Class"
            " [default: a table of all]."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the policies, draft policies and routers: what each does, and when to use it."""
    found = {
        title: [description_of(one) for one in kinds.values()] for title, kinds in KINDS.items()
    }
    if name:
        found = _chosen(name)
    if as_json:
        records = [
            {"kind": title, **asdict(one)} for title, every in found.items() for one in every
        ]
        print(json.dumps(records, indent=2))
        return
    stdout = console()
    for title, every in found.items():
        for table in map(details_table, every) if name else [policies_table(title, every)]:
            stdout.print(table, "")
    if any(one.clairvoyant for one in _all(found)):
        stdout.print("† knows what no real server does: for comparison only.", style="dim")


def _all(found: Mapping[str, Iterable[Description]]) -> list[Description]:
    """Return the descriptions of every kind."""
    return [one for every in found.values() for one in every]


def _chosen(names: Iterable[str]) -> dict[str, list[Description]]:
    """Return the descriptions of some names, by what they are called.

    Raises
    ------
    ValueError
        If there is no such class, naming all known ones.
    """
    found: dict[str, list[Description]] = {}
    for name in names:
        title = next((title for title, kinds in KINDS.items() if name in kinds), None)
        if title is None and "." not in name:
            known = ", ".join(one for kinds in KINDS.values() for one in kinds)
            raise ValueError(
                f"unknown name {name!r}: known are {known}, or your own class as module.Class"
            )
        kind = KINDS[title][name] if title else class_named(name, BASE_CLASSES, "class")
        found.setdefault(title or title_of(kind), []).append(description_of(kind))
    return found
