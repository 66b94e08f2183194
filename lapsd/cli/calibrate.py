"""The verb `calibrate`: hands its arguments to `calibrate_pair` or, with `--engine vllm`, to
`calibrate_vllm`.
"""

import typer

from lapsd.cli.needs_models import models_installed
from lapsd.cli.options import verb

app = verb()


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def calibrate(context: typer.Context) -> int:
    """Run a real model pair and record what it accepts and costs (needs the extra 'calibrate')."""
    with models_installed("calibrate"):
        if "--engine vllm" in " ".join(context.args).replace("=", " "):
            from lapsd.cli.calibrate_vllm import main
        else:
            from lapsd.cli.calibrate_pair import main
    return main(context.args)
