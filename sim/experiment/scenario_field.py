"""Knobs: what is known of a field of a setting besides its value, and how a text or a value becomes
one.

Knows nothing of which knobs there are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType
from typing import Any, get_args

NOTHING = ("all", "none", "recorded", "auto")  # texts for no value

Value = int | float | bool | str | None


@dataclass(frozen=True)
class ScenarioField:
    """What is known of a field.

    Attributes
    ----------
    name, help, unit : str
    kind : type
        `int`, `float`, `bool` or `str`.
    optional : bool
        Whether it may be None.
    default : its value where nothing is said.
    least, above, most : float or None
        Bounds, `above` not included.
    one_of : tuple of str
        The only values, if there are only some.
    also : str
        Another name that calls may use.
    split : bool
        Whether the halves of the trace, and what is known of them, depend on it.
    words : str or function In a caption: a template, used where the value is not the default; or
        what a setting says, "" for nothing.
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
    also: str = ""
    split: bool = False
    words: str | Callable[[Any], str] = ""

    @classmethod
    def of(cls, name: str, hint: Any, default: Any, **more: Any) -> "ScenarioField":
        """From a field's name, its type (`int | None` is optional) and default, and the other
        attributes.
        """
        kinds = get_args(hint) or (hint,)
        (kind,) = (k for k in kinds if k is not NoneType)
        return cls(name, kind, NoneType in kinds, default, **more)

    def parse(self, text: str) -> Any:
        """The value of a text, as people type it.

        Raises
        ------
        ValueError
            Naming the knob and the text, if it is none of that kind. Bounds are the setting's to
            check.
        """
        if text in NOTHING and self.optional:
            return None
        if self.kind is bool:
            if text not in ("true", "false"):
                raise ValueError(f"{self.name} {text!r}: must be true or false")
            return text == "true"
        try:
            return self.kind(text)
        except ValueError:
            raise ValueError(f"{self.name} {text!r}: needs {self._a_value}") from None

    def checked(self, value: Any) -> Value:
        """The value, as a plain one of its kind.

        Raises
        ------
        ValueError
            Naming the knob, the value and the bound.
        """
        if value is None and self.optional:
            return None
        number = isinstance(value, Integral if self.kind is int else Real) and not isinstance(
            value, bool
        )
        if not (number if self.kind in (int, float) else isinstance(value, self.kind)):
            raise ValueError(f"{self.name} {value!r}: needs {self._a_value}")
        if self.one_of and value not in self.one_of:
            raise ValueError(f"{self.name} {value!r}: must be {' or '.join(self.one_of)}")
        if number:
            inside = (
                math.isfinite(value)
                and (self.least is None or value >= self.least)
                and (self.above is None or value > self.above)
                and (self.most is None or value <= self.most)
            )
            if not inside:
                raise ValueError(f"{self.name} {value}: must be {self.bounds or 'finite'}")
        return self.kind(value)  # type: ignore[no-any-return]

    @property
    def bounds(self) -> str:
        """In words: "at least 1", "above 0 and at most 100"; "" if there are none."""
        ends = [("at least", self.least), ("above", self.above), ("at most", self.most)]
        return " and ".join(f"{word} {bound:g}" for word, bound in ends if bound is not None)

    @property
    def option(self) -> str:
        """As the command line spells it."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def _a_value(self) -> str:
        return {int: "an integer", float: "a number", bool: "true or false"}.get(
            self.kind, "a text"
        )
