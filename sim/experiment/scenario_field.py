"""One field of a scenario: its help, unit and bounds, and how a text or a value is checked.

Knows nothing of which fields there are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType
from typing import Any, get_args

import numpy as np

from lapsd.policies.text_values import value_from_text

MOST_SHOWN = 80  # characters of a value in a message
TEXTS_FOR_NONE = ("all", "none", "recorded", "auto")

Value = int | float | bool | str | None


def in_one_line(value: Any) -> str:
    """Return the start of a value's representation, for messages."""
    text = " ".join(repr(value).split())
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def whole(value: Any, name: str) -> int:
    """Return a whole number of Python or NumPy as an int.

    Raises
    ------
    ValueError
        Naming the value, if it is none.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name}={in_one_line(value)}: needs an integer")
    return int(value)


@dataclass(frozen=True)
class ScenarioField:
    """A field of `Scenario`: its type, bounds and wording.

    Attributes
    ----------
    name, help, unit : str
    kind : type
        `int`, `float`, `bool` or `str`.
    optional : bool
        Whether the value may be None.
    default : value of a field that is not given.
    least, above, most : float or None
        Bounds of a number; `above` itself is excluded.
    one_of : tuple of str
        The allowed values, if they are listed.
    texts : tuple of str
        Texts that a number field takes besides numbers, such as `unlimited`.
    also : str
        Another name that keyword arguments may use.
    split : bool
        Whether the split of the trace, or what is priced on it, depends on the field.
    words : str or function
        The field in a caption: a template, used where the value is not the default; or a function
        of the scenario that returns the text, "" for none.
    """

    name: str
    kind: type
    optional: bool
    default: Value
    help: str
    unit: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    one_of: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    also: str = ""
    split: bool = False
    words: str | Callable[[Any], str] = ""

    @classmethod
    def of(cls, name: str, hint: Any, default: Any, **more: Any) -> "ScenarioField":
        """Return the field of a dataclass field's name, type and default, and further attributes.

        `int | None` is an optional int; `int | Literal["auto"]` an int with one further text.
        """
        kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
        (kind,) = (kind for kind in kinds if isinstance(kind, type))
        texts = tuple(text for other in kinds if other is not kind for text in get_args(other))
        return cls(name, kind, NoneType in get_args(hint), default, texts=texts, **more)

    @property
    def column_kind(self) -> type:
        """The type of the field's column in records: text where some values are texts."""
        return str if self.texts else self.kind

    def recorded(self, value: Value) -> Value:
        """Return the value as the column of records holds it."""
        return str(value) if self.texts else value

    def parse(self, text: str) -> Any:
        """Return the value of a text, as users type it. The scenario checks its bounds.

        Raises
        ------
        ValueError
            Naming the field and the text, if the text is no value of the field's kind.
        """
        if text in self.texts:
            return text
        annotation = self.kind | None if self.optional else self.kind
        try:
            return value_from_text(text, annotation, self.name, none=TEXTS_FOR_NONE)
        except ValueError:
            raise ValueError(f"{self.name}={text!r}: needs {self._needed}") from None

    def checked(self, value: Any) -> Value:
        """Return the value as a plain Python value of the field's kind.

        Raises
        ------
        ValueError
            Naming the field, the value and the bound.
        """
        if (value is None and self.optional) or (isinstance(value, str) and value in self.texts):
            return value
        number = isinstance(value, Integral if self.kind is int else Real)
        number = number and not isinstance(value, bool)
        plain = isinstance(value, bool | np.bool_ if self.kind is bool else self.kind)
        if not (number if self.kind in (int, float) else plain):
            raise ValueError(f"{self.name}={in_one_line(value)}: needs {self._needed}")
        if self.one_of and value not in self.one_of:
            raise ValueError(f"{self.name}={value!r}: must be {' or '.join(self.one_of)}")
        if number:
            inside = (
                _is_finite(value)
                and (self.least is None or value >= self.least)
                and (self.above is None or value > self.above)
                and (self.most is None or value <= self.most)
            )
            if not inside:
                texts = f", or {' or '.join(self.texts)}" if self.texts else ""
                raise ValueError(f"{self.name}={value}: must be {self.bounds or 'finite'}{texts}")
        return self.kind(value) or self.kind()  # type: ignore[no-any-return]  # no minus zero

    @property
    def bounds(self) -> str:
        """The bounds in words: "at least 1", "above 0 and at most 100"; "" if there are none."""
        ends = [("at least", self.least), ("above", self.above), ("at most", self.most)]
        return " and ".join(
            f"{word} {f'{bound:g}' if isinstance(bound, float) else bound}"
            for word, bound in ends
            if bound is not None
        )

    @property
    def option(self) -> str:
        """The field's option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def _needed(self) -> str:
        kinds = {int: "an integer", float: "a number", bool: "true or false"}
        return ", ".join(self.texts) + " or " * bool(self.texts) + kinds.get(self.kind, "a text")


def _is_finite(value: Any) -> bool:
    """Return whether a number is finite as a float; a whole number may be too large for one."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
