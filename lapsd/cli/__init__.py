"""The command line: one module per verb, loaded when the verb is typed.

So `lapsd compare` loads no library that only `lapsd reproduce` needs, and all verbs except
`calibrate` and `validate` work without torch.
"""

import importlib
import sys
import traceback
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
    "policies": "policies",
    "bench": "bench",
    "sweep": "sweep",
    "best": "best",
    "generate": "generate",
    "import": "importing",
    "capacity": "capacity",
    "advise": "advise",
    "predict": "predict",
    "reproduce": "reproduce",
    "calibrate": "calibrate",
    "validate": "validate",
}


class Verbs(TyperGroup):
    """The verbs. The module of each verb holds its `app`."""

    def list_commands(self, context: Any) -> list[str]:
        """Return the names of the verbs."""
        return list(VERBS)

    def get_command(self, context: Any, name: str) -> Any:
        """Return the command of a verb, from its module.

        Raises
        ------
        ValueError
            If there is no such verb.
        """
        if name not in VERBS:
            raise ValueError(f"unknown command {name!r}: known are {', '.join(VERBS)}")
        command = get_command(importlib.import_module(f"lapsd.cli.{VERBS[name]}").app)
        command.name = name
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; with `--debug`, print the traceback of an error before its one line."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except Exception:
            if ctx.params.get("debug"):
                traceback.print_exc()
            raise


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


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"lapsd {version('lapsd')}")
        raise typer.Exit


@app.callback()
def _lapsd(
    wanted: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Also print the traceback of an error.")
    ] = False,
) -> None:
    pass


def run() -> int:
    """Run the command line of this process and return its exit code."""
    return run_command("lapsd", lambda: app(standalone_mode=False))


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(run())
