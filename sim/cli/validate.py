"""The verb `validate`, which lives in `serve.cli` and needs torch."""

import sys

import typer

from sim.cli.options import verb
from traces.errors import BAD_INPUT

app = verb()


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def validate(context: typer.Context) -> int:
    """Serve requests with real models and hold the simulator to what happens (needs the extra 'calibrate')."""
    try:
        from serve.cli import main
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "transformers", "tokenizers", "safetensors"):
            raise
        print(f"lapsd validate: needs {error.name}: pip install 'lapsd[calibrate]'", file=sys.stderr)
        return BAD_INPUT
    return int(main(context.args))
