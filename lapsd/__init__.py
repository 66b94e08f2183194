"""lapsd: calibrate speculative decoding on real models, then simulate how a scheduler serves it.

`__init__.pyi` lists the public names. Each is imported when it is first used, so that importing
lapsd takes milliseconds and needs only the libraries of the names in use.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_IMPORTS = [node for node in _STUB.body if isinstance(node, ast.ImportFrom)]
_MODULE_OF = {
    alias.name: node.module for node in _IMPORTS for alias in node.names
}  # None: a package of lapsd

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'lapsd' has no attribute {name!r}")
    module = _MODULE_OF[name]
    found = (
        import_module(f"lapsd.{name}")
        if module is None
        else getattr(import_module(f"lapsd.{module}"), name)
    )
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
