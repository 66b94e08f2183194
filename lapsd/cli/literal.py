"""Commands that take their options literally, and options that would have no effect."""

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar, get_args

import typer
from typer.core import TyperCommand

from lapsd.policies.text_values import number_from_text

F = TypeVar("F", bound=Callable[..., Any])

_GIVEN: ContextVar[Mapping[str, str]] = ContextVar("given")
"""The options that the running command was given, as users type them, by parameter."""


class Command(TyperCommand):
    """A command that takes options literally.

    It refuses an option that is given twice where one value would be dropped, an empty value, an
    option in the place of a value, and numbers such as 1_0 and +1, which Python would read.
    """

    def make_parser(self, ctx: Any) -> Any:
        """Return the parser of the command line, which checks what it has read."""
        parser = super().make_parser(ctx)
        parse, numbers = parser.parse_args, self._numbers()

        def parse_and_check(args: list[str]) -> Any:
            values, rest, order = parse(args)
            for parameter in dict.fromkeys(order):
                if order.count(parameter) > 1 and not parameter.multiple:
                    raise ValueError(f"{_shown(parameter)} is given twice")
                given = values[parameter.name]
                for text in given if isinstance(given, list | tuple) else [given]:
                    if isinstance(text, str):
                        _check_text(_shown(parameter), text, numbers.get(parameter.name))
            _GIVEN.set({p.name: _shown(p) for p in order if p.param_type_name == "option"})
            return values, rest, order

        parser.parse_args = parse_and_check  # type: ignore[method-assign]
        return parser

    def _numbers(self) -> Mapping[str, type[int] | type[float]]:
        """Return the kind of each number, by the name of its parameter."""
        assert self.callback is not None
        hints = inspect.signature(self.callback, eval_str=True).parameters
        kinds = {name: _kind_in(parameter.annotation) for name, parameter in hints.items()}
        return {name: kind for name, kind in kinds.items() if kind is not None}


class Verb(typer.Typer):
    """The application of a verb, whose commands take options literally."""

    def command(self, name: str | None = None, **more: Any) -> Callable[[F], F]:
        """Return a decorator that registers a command."""
        return super().command(name, cls=Command, **more)


def _kind_in(annotation: Any) -> type[int] | type[float] | None:
    """Return int or float if an annotation contains it."""
    if annotation in (int, float):
        return annotation  # type: ignore[no-any-return]
    kinds = (_kind_in(part) for part in get_args(annotation) if not isinstance(part, str))
    return next((kind for kind in kinds if kind is not None), None)


def _shown(parameter: Any) -> str:
    """Return a parameter as users type it."""
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    return str(max(parameter.opts, key=len))


def _check_text(option: str, text: str, number: type[int] | type[float] | None) -> None:
    if not text:
        raise ValueError(f"{option} '': is empty")
    if text.startswith("--"):
        raise ValueError(f"{option}: needs a value, and {text!r} is an option")
    if number is not None and number_from_text(text, number) is None:
        needed = "an integer" if number is int else "a number"
        raise ValueError(f"{option} {text!r}: needs {needed}")


def refuse_ignored(reason: str, *names: str) -> None:
    """Refuse options of the command that runs which are given but would have no effect.

    Parameters
    ----------
    reason : why they have none, as in "without --plot".
    names : the command's parameters.

    Raises
    ------
    ValueError
        Naming the first of these options that the command line gives.
    """
    given = _GIVEN.get({})
    for name in names:
        if name in given:
            raise ValueError(f"{given[name]}: has no effect {reason}")
