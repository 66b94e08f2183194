"""Values as text: turn the text of an option or parameter into a value of its type, and back.

Imports only the standard library, so that every package may use it.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

AUTO = "auto"  # the text for None

# as a person writes numbers; Python also takes 1_0, " 10 " and digits of other scripts
_NUMBER = {
    int: re.compile(r"-?[0-9]{1,1000}"),
    float: re.compile(r"-?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|inf|nan)"),
}
_NEEDED = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
_BY_NAME: dict[str, type] = {kind.__name__: kind for kind in (*_NEEDED, NoneType)} | {
    "None": NoneType
}


def number_from_text(text: str, kind: type[int] | type[float]) -> int | float | None:
    """Return the number that a text stands for, or None if it is no number of this kind.

    Digits are ASCII; a sign is a minus; an integer has no point and no exponent. `inf` and `nan`
    are numbers, which bounds refuse. Minus zero is zero.

    Examples
    --------
    >>> [number_from_text(text, float) for text in ("2", "-.5", "1e3", "-0", "1_0", "+1", " 1")]
    [2.0, -0.5, 1000.0, 0.0, None, None, None]
    """
    return (kind(text) or kind(0)) if _NUMBER[kind].fullmatch(text) else None


def value_from_text(
    text: str, annotation: Any, place: str, *, example: str = "", none: Collection[str] = (AUTO,)
) -> Any:
    """Return the value that a text stands for, by a type annotation.

    Parameters
    ----------
    text : str
        The text, such as `2.5`, `true` or `auto`.
    annotation : type, union of types, or str
        int, float, bool or str, or a union of them, which may include None: `float | None`. May
        also be the source text of an annotation. The types of a union are tried in its order.
    place : str
        What the message begins with: where the text was given, and the text, such as
        `laps-sd: gamma=2.5`.
    example : str
        A correct text, added to the message as `, as in {example}`.
    none : collection of str
        The texts that stand for None, if the annotation includes None.

    Raises
    ------
    ValueError
        `{place}: needs an integer, as in {example}`, if the text is not of the type; also if the
        annotation contains any other type.

    Examples
    --------
    >>> value_from_text("4", int, "las: K=4")
    4
    >>> value_from_text("auto", "float | None", "las: age_s=auto") is None
    True
    >>> value_from_text("2.5", int, "las: K=2.5", example="K=4")
    Traceback (most recent call last):
        ...
    ValueError: las: K=2.5: needs an integer, as in K=4
    """
    kinds = types_of(annotation, place)
    may_be_none = NoneType in kinds
    if may_be_none and text in none:
        return None
    kinds = [kind for kind in kinds if kind is not NoneType]
    for kind in kinds:
        if kind is str:
            return text
        if kind is bool:
            if text in ("true", "false"):
                return text == "true"
            continue
        number = number_from_text(text, kind)
        if number is not None:
            return number
    needed = " or ".join([_NEEDED[kind] for kind in kinds] + [*none] * may_be_none)
    raise ValueError(f"{place}: needs {needed}{f', as in {example}' if example else ''}")


def text_from_value(value: Any) -> str:
    """Return the shortest text that `value_from_text` turns into the value.

    Examples
    --------
    >>> [text_from_value(value) for value in (3.0, 0.05, True, None, "range")]
    ['3', '0.05', 'true', 'auto', 'range']
    """
    if value is None:
        return AUTO
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    return str(value)


def parse_parameters(
    kind: str,
    name: str,
    parameters: Sequence[Field[Any]],
    text: str | None,
    renamed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the values that `parameter=value,...` gives to the fields of a dataclass.

    Parameters
    ----------
    kind, name : of the dataclass, for messages, as in `policy` and `las`.
    text : what follows the colon; None without one.
    renamed : new names of parameters, by their old ones.

    Raises
    ------
    ValueError
        For an unknown parameter, listing the known ones, a parameter that is given twice, or a text
        that is no value of the field's type.
    """
    known = {f.name: f for f in parameters}
    values: dict[str, Any] = {}
    for part in () if text is None else text.split(","):
        key, equals, value = part.partition("=")
        if key not in known:
            if (new := (renamed or {}).get(key)) in known:
                raise ValueError(f"{kind} {name}: parameter {key!r} is now called {new!r}")
            listed = f"its parameters are {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{kind} {name} has no parameter {key!r}: {listed}")
        if key in values:
            raise ValueError(f"{kind} {name}: parameter {key!r} is given twice")
        default = known[key].default
        has_example = default is not MISSING and not isinstance(default, bool | None)
        values[key] = value_from_text(
            value,
            known[key].type,
            f"{name}: {part}" if equals else f"{name}: {key}",
            example=f"{key}={text_from_value(default)}" if has_example else "",
        )
    return values


def types_of(annotation: Any, place: str) -> list[type]:
    """Return the types of an annotation.

    Raises
    ------
    ValueError
        If it contains a type whose values have no text.
    """
    if isinstance(annotation, str):
        parts: list[Any] = [_BY_NAME.get(part.strip(), part) for part in annotation.split("|")]
    elif get_origin(annotation) in (Union, UnionType):
        parts = list(get_args(annotation))
    else:
        parts = [annotation]
    for part in parts:
        if part is not NoneType and part not in _NEEDED:
            raise ValueError(f"{place}: a value of type {annotation} cannot be given as text")
    return parts
