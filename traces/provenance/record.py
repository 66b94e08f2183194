"""Frozen dataclasses that are read from and written to JSON objects.

The type of a field determines the JSON values that are accepted. Fields at their default are not
written; `null` and `{}` are read as the default, which means not known. Keys without a field, from
a newer version or added by a user, are kept in `notes` and written again in the same place.
"""

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from lapsd.traces.errors import FormatError

PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), bool: (bool,), int: (int,), float: (int, float)}


@dataclass(frozen=True, kw_only=True)
class Record:
    """A JSON object with known fields; `notes` holds its other keys."""

    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Any, name: str) -> Self:
        """Return the record in a JSON object.

        Parameters
        ----------
        name : name of the object, for messages.

        Raises
        ------
        FormatError
            Naming the field, if it is missing or has another type.
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
        """Return the JSON object from which `from_json` gives an equal record."""
        own = [
            f for f in fields(self) if f.name != "notes" and getattr(self, f.name) != _default(f)
        ]
        return {f.name: _written(getattr(self, f.name)) for f in own} | dict(self.notes)

    @property
    def details(self) -> dict[str, str]:
        """All values in the notes, in words, by the path of keys to each value."""
        return dict(_leaves(self.notes, ""))

    def noting(self, **notes: Any) -> Self:
        """Return the record with more notes."""
        return replace(self, notes={**self.notes, **notes})


def _default(parameter: "Field[Any]") -> Any:
    return (
        parameter.default_factory()
        if parameter.default_factory is not MISSING
        else parameter.default
    )


def _read(value: Any, kind: Any, name: str) -> Any:
    """Return a JSON value converted to the given type."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):  # X | None; null was read as the default before
        return (
            None
            if value is None
            else _read(value, next(p for p in parts if p is not types.NoneType), name)
        )
    if origin is tuple:
        # older files hold a single value without a list
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
        raise FormatError(f"field {name!r}: {str(value)[:40]!r} is not of type {kind.__name__}")
    try:
        return kind(value)
    except OverflowError as error:
        raise FormatError(f"field {name!r}: {str(value)[:40]}... is too large") from error


def _key(key: str, kind: type, name: str) -> Any:
    if kind is int and not (
        isinstance(key, int) or (key.isascii() and key.isdecimal() and len(key) < 10)
    ):
        raise FormatError(f"field {name!r}: key {key[:20]!r} is not an integer")
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
    """Yield the path of keys and the text of each value in a JSON document.

    Objects are not values themselves; a list of plain values is one value.
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
