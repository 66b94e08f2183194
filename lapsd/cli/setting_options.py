"""Options of the command line for the fields of `Setting`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from lapsd.sim.experiment.knob import Knob
from lapsd.sim.experiment.setting import KNOBS


def with_setting(
    only: Sequence[str] = tuple(KNOBS),
    *,
    lists: bool = False,
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb an option for each field of `Setting`; its argument `setting` holds those given,
    by name.

    Parameters
    ----------
    only : the fields to give options for.
    lists : options take texts, each a value, a list or a range, and may be repeated.
    defaults : the verb's own, where they are not the setting's.
    """
    own_defaults = defaults or {}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command, eval_str=True)
        options = [
            _option(KNOBS[name], lists, own_defaults.get(name, KNOBS[name].default))
            for name in only
        ]
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own.parameters.values()]
        at = [p.name for p in parameters].index("setting")

        def run(**given: Any) -> Any:
            values = {name: given.pop(name) for name in only}
            setting = {name: v for name, v in values.items() if v not in (None, [])}
            return command(setting={**own_defaults, **setting}, **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = own.replace(
            parameters=[*parameters[:at], *options, *parameters[at + 1 :]]
        )  # type: ignore[attr-defined]
        return run

    return decorate


def _option(knob: Knob, lists: bool, default: Any) -> inspect.Parameter:
    """One that is None where it is not given, so that defaults are the setting's."""
    said = "" if default in (None, False) else f" [default: {default}]"
    more: dict[str, Any] = {"show_default": False, "help": knob.help + said}
    if lists:
        more["metavar"] = "VALUES"
    kind: Any = list[str] | None if lists else knob.kind | None
    annotation = Annotated[kind, typer.Option(knob.option, **more)]
    return inspect.Parameter(
        knob.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
