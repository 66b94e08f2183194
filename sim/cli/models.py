"""Verbs that run real models live in packages of their own, which need torch: how they are called."""

import importlib
import sys
from collections.abc import Sequence

from traces.errors import BAD_INPUT

NEEDED = ("torch", "transformers", "tokenizers", "safetensors")


def hand_over(verb: str, module: str, arguments: Sequence[str]) -> int:
    """Run a module's `main` and return its exit code; one line where what it needs is not installed."""
    try:
        main = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        print(f"lapsd {verb}: needs {error.name}: pip install 'lapsd[calibrate]'", file=sys.stderr)
        return BAD_INPUT
    return int(main(list(arguments)))
