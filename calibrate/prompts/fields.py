"""Python functions with one statement for each of 1 to 12 fields, generated from our own templates.

The question is the head of a function, that is its signature and its docstring. The docstring names
the fields and states their number. The answer is the body. The bodies serve to train the reference
pair; prompts contain only the heads.
"""

import random
from collections.abc import Callable

from lapsd.calibrate.prompts.problems import Problem, Template, drawn

FIELDS = (
    "name",
    "size",
    "path",
    "colour",
    "weight",
    "owner",
    "price",
    "title",
    "width",
    "height",
    "depth",
    "label",
    "count",
    "limit",
    "start",
    "stop",
    "step",
    "host",
    "port",
    "user",
    "group",
    "mode",
    "level",
    "score",
    "rank",
    "source",
    "target",
    "offset",
    "length",
    "format",
    "encoding",
    "timeout",
    "status",
    "version",
    "author",
    "city",
)
THINGS = (
    "order",
    "record",
    "client",
    "ticket",
    "device",
    "parcel",
    "account",
    "message",
    "report",
    "session",
)
MOST_FIELDS = 12


def _drawn(rng: random.Random) -> tuple[list[str], str, str]:
    """Draw fields, their description ("3 fields: name, size, path"), and their owner."""
    names = rng.sample(FIELDS, rng.randint(1, MOST_FIELDS))
    described = f"{len(names)} field{'s' if len(names) > 1 else ''}: {', '.join(names)}"
    return names, described, rng.choice(THINGS)


def _function(head: str, doc: str, lines: list[str], size: int) -> Problem:
    return Problem(f'{head}\n    """{doc}"""', "\n".join(f"    {line}" for line in lines), size)


def _each(names: list[str], line: Callable[[str], str]) -> list[str]:
    return [part for name in names for part in line(name).split("\n")]


def initialise(rng: random.Random) -> Problem:
    """An `__init__` that stores its arguments."""
    names, described, thing = _drawn(rng)
    head = f"def __init__(self, {', '.join(names)}):"
    return _function(
        head, f"A {thing} of {described}.", _each(names, lambda n: f"self.{n} = {n}"), len(names)
    )


def as_dict(rng: random.Random) -> Problem:
    """A dictionary of attributes."""
    names, described, thing = _drawn(rng)
    lines = ["return {", *_each(names, lambda n: f'    "{n}": self.{n},'), "}"]
    return _function(
        f"def {thing}_as_dict(self):",
        f"Return the {thing} as a dictionary of {described}.",
        lines,
        len(names),
    )


def check(rng: random.Random) -> Problem:
    """An error for each missing value."""
    names, described, thing = _drawn(rng)
    lines = _each(
        names, lambda n: f'if {thing}.{n} is None:\n    raise ValueError("the {thing} has no {n}")'
    )
    return _function(
        f"def check_{thing}({thing}):",
        f"Raise ValueError if one is missing of {described}.",
        lines,
        len(names),
    )


def show(rng: random.Random) -> Problem:
    """A printed line for each attribute."""
    names, described, thing = _drawn(rng)
    lines = _each(names, lambda n: f'print("{n}:", {thing}.{n})')
    return _function(
        f"def print_{thing}({thing}):", f"Print the {thing}, {described}.", lines, len(names)
    )


def options(rng: random.Random) -> Problem:
    """A command-line option for each field."""
    names, described, thing = _drawn(rng)
    lines = _each(
        names,
        lambda n: f'parser.add_argument("--{n}", required=True, help="the {n} of the {thing}")',
    )
    head = f"def add_{thing}_options(parser):"
    return _function(head, f"Add an option for each of {described}.", lines, len(names))


def unpack(rng: random.Random) -> Problem:
    """A new object from the columns of a row."""
    names, described, thing = _drawn(rng)
    lines = [
        f"{thing} = {thing.title()}()",
        *[f"{thing}.{n} = row[{i}]" for i, n in enumerate(names)],
        f"return {thing}",
    ]
    return _function(
        f"def {thing}_from_row(row):",
        f"Make a {thing} from a row of {described}.",
        lines,
        len(names),
    )


def compare(rng: random.Random) -> Problem:
    """A list of the fields that differ."""
    names, described, thing = _drawn(rng)
    differing = _each(names, lambda n: f'if old.{n} != new.{n}:\n    changed.append("{n}")')
    lines = ["changed = []", *differing, "return changed"]
    return _function(
        f"def changed_{thing}(old, new):", f"Return what changed of {described}.", lines, len(names)
    )


def defaults(rng: random.Random) -> Problem:
    """A default for each missing setting."""
    names, described, thing = _drawn(rng)
    lines = _each(names, lambda n: f'self.{n} = settings.get("{n}", {rng.randint(0, 9)})')
    return _function(
        f"def read_{thing}(self, settings):",
        f"Read the {thing} from settings of {described}.",
        lines,
        len(names),
    )


def tests(rng: random.Random) -> Problem:
    """An assertion for each attribute."""
    names, described, thing = _drawn(rng)
    lines = [
        f"{thing} = self.make_{thing}()",
        *_each(names, lambda n: f"self.assertEqual({thing}.{n}, {rng.randint(0, 99)})"),
    ]
    return _function(
        f"def test_{thing}(self):", f"Test a new {thing}, {described}.", lines, len(names)
    )


def merge(rng: random.Random) -> Problem:
    """A copy of each attribute that is set."""
    names, described, thing = _drawn(rng)
    lines = _each(names, lambda n: f"if other.{n}:\n    self.{n} = other.{n}")
    return _function(
        f"def merge_{thing}(self, other):",
        f"Take over from the other {thing} {described}.",
        lines,
        len(names),
    )


TEMPLATES: tuple[Template, ...] = (
    initialise,
    as_dict,
    check,
    show,
    options,
    unpack,
    compare,
    defaults,
    tests,
    merge,
)


def problem(rng: random.Random) -> Problem:
    """Return a function from a random template."""
    return drawn(TEMPLATES, rng)
