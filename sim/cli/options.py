"""Options of the command line: one for each field of `Setting`, and those that verbs share."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sim.experiment.knob import Knob
from sim.experiment.setting import KNOBS

FIGURES = (".png", ".pdf", ".svg")

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to stdout.")]
Workers = Annotated[int | None, typer.Option(help="Processes [default: one a core].")]


def verb(**more: Any) -> typer.Typer:
    """The application of a verb's module: what all have in common."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **more)


def with_setting(
    only: Sequence[str] = tuple(KNOBS), *, lists: bool = False, defaults: Mapping[str, Any] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb an option for each field of `Setting`; its argument `setting` holds those given, by name.

    Parameters
    ----------
    only : the fields to give options for.
    lists : options take texts, each a value, a list or a range, and may be repeated.
    defaults : the verb's own, where they are not the setting's.
    """
    own_defaults = defaults or {}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command, eval_str=True)
        options = [_option(KNOBS[name], lists, own_defaults.get(name, KNOBS[name].default)) for name in only]
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own.parameters.values()]
        at = [p.name for p in parameters].index("setting")

        def run(**given: Any) -> Any:
            values = {name: given.pop(name) for name in only}
            setting = {name: v for name, v in values.items() if v not in (None, [])}
            return command(setting={**own_defaults, **setting}, **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = own.replace(parameters=[*parameters[:at], *options, *parameters[at + 1 :]])  # type: ignore[attr-defined]
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
    return inspect.Parameter(knob.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def check_file(option: str, path: Path | None, endings: Sequence[str]) -> None:
    """See that a file that was asked for could be written, before any work.

    Raises
    ------
    ValueError
        Naming the option and the file, for an ending that is none of those or a folder that is not there.
    """
    if path is None:
        return
    if path.suffix not in endings:
        wanted = endings[0] if len(endings) == 1 else f"one of {', '.join(endings)}"
        raise ValueError(f"{option} {path}: the file's ending must be {wanted}")
    if not path.parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.parent}")
