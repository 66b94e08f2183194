"""The command line: a thin skin over the library, a module a verb, loaded when the verb is typed.

So `lapsd compare` never loads what only `lapsd reproduce` needs, and everything but `calibrate` and
`validate` works without torch.
"""

import importlib
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from lapsd.traces.errors import run_command

if TYPE_CHECKING:
    from collections.abc import Mapping

VERBS: "Mapping[str, str]" = {
    "compare": "compare",
    "show": "show",
    "bench": "bench",
    "sweep": "sweep",
    "best": "best",
    "generate": "generate",
    "import": "importing",
    "capacity": "capacity",
    "predict": "predict",
    "reproduce": "reproduce",
    "calibrate": "calibrate",
    "validate": "validate",
}


class Verbs(TyperGroup):
    """The verbs; the module of each holds an `app` of its own."""

    def list_commands(self, context: Any) -> list[str]:
        """Their names."""
        return list(VERBS)

    def get_command(self, context: Any, name: str) -> Any:
        """The verb's command, from its module."""
        if name not in VERBS:
            return None
        command = get_command(importlib.import_module(f"lapsd.cli.{VERBS[name]}").app)
        command.name = name
        return command


app = typer.Typer(
    cls=Verbs,
    help=(
        "Calibrate speculative decoding on real models, then simulate how a scheduler would"
        " serve it."
    ),
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"lapsd {version('lapsd')}")
        raise typer.Exit


@app.callback()
def _lapsd(
    asked: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console command `lapsd`."""
    sys.exit(run_command("lapsd", lambda: app(standalone_mode=False)))
