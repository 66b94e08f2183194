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
    """Return a decorator that gives a verb one option per field of `Scenario`.

    The verb's argument `scenario` receives the given values by field.

    Parameters
    ----------
    only : fields that get an option.
    lists : whether options take texts (a value, a list or a range) and may be repeated.
    defaults : the verb's own defaults, where they differ from the scenario's.
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
            scenario = {
                name: _value(SCENARIO_FIELDS[name], v)
                for name, v in values.items()
                if v not in (None, [])
            }
            return command(scenario={**own_defaults, **scenario}, **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        signature = own.replace(parameters=[*parameters[:at], *options, *parameters[at + 1 :]])
        run.__signature__ = signature  # type: ignore[attr-defined]
        return run

    return decorate


def _value(scenario_field: ScenarioField, given: Any) -> Any:
    return scenario_field.parse(given) if scenario_field.texts and isinstance(given, str) else given


def _option(scenario_field: ScenarioField, lists: bool, default: Any) -> inspect.Parameter:
    """The option of a field; None where it is not given, so that the scenario's default holds."""
    said = "" if default in (None, False) else f" [default: {default}]"
    more: dict[str, Any] = {"show_default": False, "help": scenario_field.help + said}
    if lists:
        more["metavar"] = "VALUES"
    kind: Any = list[str] | None if lists else scenario_field.column_kind | None
    annotation = Annotated[kind, typer.Option(scenario_field.option, **more)]
    return inspect.Parameter(
        scenario_field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
