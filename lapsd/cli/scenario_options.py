"""Options of the command line for the fields of `Scenario`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from lapsd.sim.experiment.scenario import SCENARIO_FIELDS
from lapsd.sim.experiment.scenario_field import ScenarioField


def with_scenario(
    only: Sequence[str] = tuple(SCENARIO_FIELDS),
    *,
    lists: bool = False,
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb an option for each field of `Scenario`; its argument `scenario` holds those given,
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
            _option(
                SCENARIO_FIELDS[name], lists, own_defaults.get(name, SCENARIO_FIELDS[name].default)
            )
            for name in only
        ]
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own.parameters.values()]
        at = [p.name for p in parameters].index("scenario")

        def run(**given: Any) -> Any:
            values = {name: given.pop(name) for name in only}
            scenario = {name: v for name, v in values.items() if v not in (None, [])}
            return command(scenario={**own_defaults, **scenario}, **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        signature = own.replace(parameters=[*parameters[:at], *options, *parameters[at + 1 :]])
        run.__signature__ = signature  # type: ignore[attr-defined]
        return run

    return decorate


def _option(scenario_field: ScenarioField, lists: bool, default: Any) -> inspect.Parameter:
    """One that is None where it is not given, so that defaults are the setting's."""
    said = "" if default in (None, False) else f" [default: {default}]"
    more: dict[str, Any] = {"show_default": False, "help": scenario_field.help + said}
    if lists:
        more["metavar"] = "VALUES"
    kind: Any = list[str] | None if lists else scenario_field.kind | None
    annotation = Annotated[kind, typer.Option(scenario_field.option, **more)]
    return inspect.Parameter(
        scenario_field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
