"""Descriptions of policies, draft policies and routers, from the docstrings of their classes.

`lapsd policies` and docs/policies.md show it, so that each is described in one place.
"""

import inspect
import re
from dataclasses import MISSING, dataclass

from lapsd.policies.contract import Kind, parameters_of
from lapsd.policies.text_values import text_from_value

_HEADING = re.compile(r"^(\w+)\n-+\n", re.MULTILINE)


@dataclass(frozen=True)
class Parameter:
    """A parameter: its name, its default as text, and its meaning."""

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Description:
    """The description of a class.

    Attributes
    ----------
    name : str
        What users type.
    summary, details : str
        First paragraph of the docstring, and the further ones before its sections.
    use : str
        When to use it: the section Notes.
    source : str
        Where it comes from: the section References.
    parameters : tuple of Parameter
    clairvoyant : bool
        Whether it knows what no real server knows.
    """

    name: str
    summary: str
    details: str
    use: str
    source: str
    parameters: tuple[Parameter, ...]
    clairvoyant: bool


def description_of(kind: Kind) -> Description:
    """Return the description of a class; texts that its docstring lacks are empty."""
    sections = _sections(kind)
    summary, _, details = sections[""].partition("\n\n")
    return Description(
        name=kind.name,
        summary=_joined(summary),
        details=_joined(details),
        use=_joined(sections.get("Notes", "")),
        source=_joined(sections.get("References", "")),
        parameters=tuple(
            Parameter(
                field.name,
                "" if field.default is MISSING else text_from_value(field.default),
                _meaning(kind, field.name),
            )
            for field in parameters_of(kind)
        ),
        clairvoyant=bool(kind.clairvoyant),
    )


def _sections(kind: type) -> dict[str, str]:
    """Return the sections of a docstring by their headings; the text before them under ''."""
    own = vars(kind).get("__doc__") or ""
    made_by_dataclass = own.startswith(f"{kind.__name__}(")
    first, *rest = _HEADING.split("" if made_by_dataclass else inspect.cleandoc(own))
    return {"": first, **dict(zip(rest[::2], rest[1::2], strict=True))}


def _meaning(kind: type, name: str) -> str:
    """Return what the docstring of a class, or of a base class, says of a parameter."""
    for one in kind.__mro__:
        entries = re.split(r"^(?=\S)", _sections(one).get("Parameters", ""), flags=re.MULTILINE)
        for entry in entries:
            heading, _, text = entry.partition("\n")
            if name in re.split(r",\s*", heading.partition(" : ")[0].strip()):
                return _joined(inspect.cleandoc(text))
    return ""


def _joined(text: str) -> str:
    """Return a text on one line, without the marks of emphasis."""
    return re.sub(r"\*(\w[^*]*)\*", r"\1", " ".join(text.split()))
