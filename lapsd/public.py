"""The public names of lapsd, and the modules that define them, as `__init__.pyi` lists them."""

import ast
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

_STUB = ast.parse(Path(__file__).with_name("__init__.pyi").read_text(encoding="utf-8"))
_IMPORTS = [node for node in _STUB.body if isinstance(node, ast.ImportFrom)]
MODULE_OF: Mapping[str, str | None] = {
    alias.name: node.module for node in _IMPORTS for alias in node.names
}
"""The module of each public name; None: the name is itself a package of lapsd."""


def load(name: str) -> Any:
    """Return the object of a public name.

    Raises
    ------
    AttributeError
        If there is no such name.
    """
    if name == "__all__":
        return sorted(MODULE_OF)
    if name not in MODULE_OF:
        raise AttributeError(f"module 'lapsd' has no attribute {name!r}")
    module = MODULE_OF[name]
    if module is None:
        return import_module(f"lapsd.{name}")
    return getattr(import_module(f"lapsd.{module}"), name)
