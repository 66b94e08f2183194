"""The verb `validate`: passes its arguments to `validate_live`, which needs torch."""

import typer

from lapsd.cli.needs_models import models_installed
from lapsd.cli.options import verb

app = verb()


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def validate(context: typer.Context) -> int:
    """Serve requests with real models and compare with the simulator (extra 'calibrate')."""
    with models_installed("validate"):
        from lapsd.cli.validate_live import main
    return main(context.args)
