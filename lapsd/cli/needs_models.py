"""Verbs that run real models need torch and its relatives: what is said where they are not
installed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from lapsd.traces.errors import BAD_INPUT

NEEDED = ("torch", "transformers", "tokenizers", "safetensors")


@contextmanager
def models_installed(verb: str) -> Iterator[None]:
    """Turn a failed import of one of `NEEDED` into one line on stderr and the exit code of bad
    input.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        print(f"lapsd {verb}: needs {error.name}: pip install 'lapsd[calibrate]'", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from error
