"""The verb `calibrate`, which lives in `calibrate.cli`, for vLLM in `serve.calibration.cli`."""

import typer

from sim.cli.models import hand_over
from sim.cli.options import verb

app = verb()


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def calibrate(context: typer.Context) -> int:
    """Run a real model pair and record what it accepts and costs (needs the extra 'calibrate')."""
    in_vllm = "--engine vllm" in " ".join(context.args).replace("=", " ")
    return hand_over("calibrate", "serve.calibration.cli" if in_vllm else "calibrate.cli", context.args)
