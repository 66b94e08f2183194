"""Frozen dataclasses as JSON objects: a field's type says what is read, and keys that no field has
are kept.

What is at its default is not written, and `null` and `{}` read as the default: not known. Keys
without a field, of a newer version or somebody's own, go into `notes` and come out again where they
were.
"""

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from lapsd.traces.errors import FormatError

PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), bool: (bool,), int: (int,), float: (int, float)}


@dataclass(frozen=True, kw_only=True)
class Record:
    """A JSON object of known fields, and `notes`: its other keys."""

    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Any, name: str) -> Self:
        """Read a JSON object.

        Raises
        ------
        FormatError
            Naming the field, from `name` on, that is missing or of another type.
        """
        if not isinstance(document, Mapping):
            raise FormatError(f"field {name!r}: not a JSON object")
        hints, values = get_type_hints(cls), {}
        known = {f.name: f for f in fields(cls) if f.name != "notes"}
        for key, parameter in known.items():
            if document.get(key) not in (None, {}):
                values[key] = _read(document[key], hints[key], f"{name}.{key}")
            elif parameter.default is MISSING and parameter.default_factory is MISSING:
                raise FormatError(f"field '{name}.{key}': missing")
        return cls(**values, notes={k: v for k, v in document.items() if k not in known})

    def to_json(self) -> dict[str, Any]:
        """The JSON object that reads back as this."""
        own = [
            f for f in fields(self) if f.name != "notes" and getattr(self, f.name) != _default(f)
        ]
        return {f.name: _written(getattr(self, f.name)) for f in own} | dict(self.notes)

    @property
    def details(self) -> dict[str, str]:
        """The notes, a value each, in words, by the keys that lead to it."""
        return dict(_leaves(self.notes, ""))

    def noting(self, **notes: Any) -> Self:
        """With more notes."""
        return replace(self, notes={**self.notes, **notes})


def _default(parameter: "Field[Any]") -> Any:
    return (
        parameter.default_factory()
        if parameter.default_factory is not MISSING
        else parameter.default
    )


def _read(value: Any, kind: Any, name: str) -> Any:
    """A JSON value as the type says."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):  # X | None; null has been read as the default
        return (
            None
            if value is None
            else _read(value, next(p for p in parts if p is not types.NoneType), name)
        )
    if origin is tuple:
        # a single one was once written bare
        many = value if isinstance(value, list | tuple) else [value]
        return tuple(_read(v, parts[0], name) for v in many)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise FormatError(f"field {name!r}: not a JSON object")
        return {
            _key(k, parts[0], name): _read(v, parts[1], f"{name}.{k}") for k, v in value.items()
        }
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.from_json(value, name)
    if not isinstance(value, PLAIN[kind]) or (isinstance(value, bool) and kind is not bool):
        raise FormatError(f"field {name!r}: {str(value)[:40]!r} is no {kind.__name__}")
    try:
        return kind(value)
    except OverflowError as error:
        raise FormatError(f"field {name!r}: {str(value)[:40]}... is too large") from error


def _key(key: str, kind: type, name: str) -> Any:
    if kind is int and not (
        isinstance(key, int) or (key.isascii() and key.isdecimal() and len(key) < 10)
    ):
        raise FormatError(f"field {name!r}: key {key[:20]!r} is no integer")
    return kind(key)


def _written(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, tuple):
        return [_written(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _written(v) for k, v in value.items()}
    return value


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """The values in a JSON document that are no containers, lists of them in one, by the keys that
    lead there.
    """
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{name} / {key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(
        isinstance(v, Mapping | list | tuple) for v in value
    ):
        yield from _leaves(dict(enumerate(value)), name)
    else:
        many = value if isinstance(value, list | tuple) else [value]
        yield name, ", ".join("-" if v in (None, {}) else str(v) for v in many) or "none"
