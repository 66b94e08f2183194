"""The verb `calibrate`, which lives in `calibrate.cli`, for vLLM in `serve.calibration.cli`; both need torch."""

import sys

import typer

from sim.cli.options import verb
from traces.errors import BAD_INPUT

app = verb()


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def calibrate(context: typer.Context) -> int:
    """Run a real model pair and record what it accepts and costs (needs the extra 'calibrate')."""
    words = " ".join(context.args).replace("=", " ")
    try:
        if "--engine vllm" in words:
            from serve.calibration.cli import main
        else:
            from calibrate.cli import main
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "transformers", "tokenizers", "safetensors"):
            raise
        print(f"lapsd calibrate: needs {error.name}: pip install 'lapsd[calibrate]'", file=sys.stderr)
        return BAD_INPUT
    return int(main(context.args))
