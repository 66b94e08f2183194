"""The verb `validate`, which lives in `serve.cli`."""

import typer

from sim.cli.models import hand_over
from sim.cli.options import verb

app = verb()


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def validate(context: typer.Context) -> int:
    """Serve requests with real models and hold the simulator to what happens (needs the extra 'calibrate')."""
    return hand_over("validate", "serve.cli", context.args)
