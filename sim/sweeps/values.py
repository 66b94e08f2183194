"""Read the values of a sweep from texts (options, TOML), and write values as texts.

Knows nothing of combinations and runs.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field
from decimal import Decimal
from numbers import Real
from pathlib import PurePath
from typing import Any

from lapsd.policies.text_values import number_from_text, text_from_value, value_from_text
from lapsd.sim.experiment.scenario_field import ScenarioField, Value
from lapsd.traces import LengthPredictor

MOST_VALUES = 100_000
# the text for None, by setting; other settings use "none"
NONE = {"dataset": "all", "draft_tokens": "recorded"}


def setting_values(given: Any, field: ScenarioField) -> tuple[Value, ...]:
    """Return the values of a setting.

    Parameters
    ----------
    given : a value or several; texts such as "2:8" are read.
    field : the field of `Scenario`.

    Raises
    ------
    ValueError
        Naming the setting and a text that cannot be read. `Scenario` checks the bounds.
    """
    values: list[Value] = []
    for value in _each(given, field.name):
        if value is None or not (isinstance(value, str) or field.kind is str):
            values.append(value)
        elif isinstance(value, str | PurePath | Real | LengthPredictor):
            values += [field.parse(text) for text in values_of(str(value), field.name)]
        else:
            raise ValueError(f"{field.name}: needs a text, not a {type(value).__name__}")
    return tuple(values)


def parameter_values(
    given: Any, name: str, field: Field[Any] | None, policy: str = ""
) -> tuple[Any, ...]:
    """Return the values of a policy's parameter.

    Parameters
    ----------
    given : a value or several; texts such as "2:8" are read.
    name : the parameter's name.
    field : the parameter of the policy's class; None: no policy has it, and texts stay texts.
    policy : the policy's name, for messages.

    Raises
    ------
    ValueError
        Naming the parameter and a value of another type. The policy checks the bounds.
    """
    values: list[Any] = []
    for value in _each(given, name):
        values += values_of(value, name) if isinstance(value, str) else [value]
    return tuple(values if field is None else [parameter_value(v, field, policy) for v in values])


def _each(given: Any, name: str) -> Iterator[Any]:
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)
    for value in given if several else [given]:
        if isinstance(value, bytes | Mapping | list | tuple):
            raise ValueError(f"{name}: needs a value or a list of values, not {value!r}")
        yield value


def parameter_value(value: Any, parameter: Field[Any], policy: str) -> Any:
    """Return the value of a policy's parameter: the value itself if it is of the parameter's type,
    else what its text stands for.

    Raises
    ------
    ValueError
        If the text stands for no value of the parameter's type.
    """
    if type(value).__name__ in _types(parameter) and not isinstance(value, str):
        return value
    text, default = text_from_value(value), parameter.default
    has_example = default is not MISSING and not isinstance(default, bool | None)
    example = f"{parameter.name}={text_from_value(default)}" if has_example else ""
    place = f"{policy}: {parameter.name}={text}"
    return value_from_text(text, parameter.type, place, example=example)


def kind_of(parameter: Field[Any]) -> type:
    """Return the type of a policy's parameter: `int` for an annotation such as `int | None`."""
    types = _types(parameter)
    return next((kind for kind in (bool, str, float, int) if kind.__name__ in types), float)


def _types(parameter: Field[Any]) -> list[str]:
    """Return the names in the annotation of a parameter."""
    annotation = parameter.type
    return re.findall(
        r"\w+", annotation.__name__ if isinstance(annotation, type) else str(annotation)
    )


def text_of(value: Any, none: str = "auto") -> str:
    """Return the text from which `setting_values` or `parameter_values` read the value again."""
    return none if value is None else text_from_value(value)


def values_of(text: str, name: str) -> Sequence[str]:
    """Return the texts of the values in `1.5,2,4` (a list), `2:8` (both ends, by 1),
    `0.1:0.5:0.2` (by 0.2), or of a mix.

    Raises
    ------
    ValueError
        Naming the parameter and the text.
    """
    values: list[str] = []
    for part in text.split(","):
        ends = part.strip().split(":")
        if len(ends) == 1 or not _is_number(ends[0]):
            values.append(part.strip())
            continue
        try:
            if not all(map(_is_number, ends)):
                raise ValueError
            low, high, *rest = (Decimal(end) for end in ends)
            step = rest[0] if rest else Decimal(1)
            if len(rest) > 1 or step <= 0 or low > high or not (high - low) / step < MOST_VALUES:
                raise ValueError
        except (ArithmeticError, ValueError):
            raise ValueError(
                f"{name} {part!r}: a range is low:high or low:high:step, of at most {MOST_VALUES}"
                " values"
            ) from None
        values += [str(low + step * i) for i in range(int((high - low) / step) + 1)]
    if not all(values):
        raise ValueError(f"{name} {text!r}: a value is empty")
    return values


def share_of(value: Any) -> float:
    """Return the share that `2%`, `0.02` or a number means.

    Raises
    ------
    ValueError
        If the value is something else.
    """
    if isinstance(value, str):
        number = number_from_text(value.removesuffix("%"), float)
        if number is not None:
            return number / 100 if value.endswith("%") else number
    elif isinstance(value, int | float) and -1 <= value <= 1:
        return float(value)
    raise ValueError(f"until_ci {value!r}: needs a share, as in 2% or 0.02")


def _is_number(text: str) -> bool:
    number = number_from_text(text, float)
    return number is not None and math.isfinite(number)
