"""The public names of lapsd, read from the `__init__` of each package, with their documentation.

The pages of the reference and the tests of the examples use the same list. Knows nothing of Sphinx.
"""

import ast
import inspect
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import lapsd

NEEDS_VLLM = {
    "lapsd.serve.vllm"
}  # cannot be imported without vLLM; docs/guides/vllm.md is its page
FOLDERS = ("traces", "policies", "predict", "sim", "calibrate", "serve", "papers")


class PublicName(NamedTuple):
    """A public name.

    Attributes
    ----------
    package : str
        The package that lists it; of several packages, the one with the shortest name.
    name : str
    also : tuple of str
        The other packages that list it.
    kind : str
        "class", "function" or "data".
    """

    package: str
    name: str
    also: tuple[str, ...]
    kind: str

    @property
    def path(self) -> str:
        """The name with its package."""
        return f"{self.package}.{self.name}"

    @property
    def value(self) -> Any:
        """The object."""
        return getattr(import_module(self.package), self.name)

    @property
    def document(self) -> str:
        """The docstring; of data, the string that follows the assignment."""
        text = _data_document(self.package, self.name) if self.kind == "data" else None
        return inspect.cleandoc(text or (self.value.__doc__ or "") * (self.kind != "data"))


@cache
def packages() -> dict[str, list[str]]:
    """Return the public names of every package that has some, by package, shortest name first."""
    found = {"lapsd": sorted(set(lapsd.__all__) - set(FOLDERS))}  # type: ignore[attr-defined]
    root = Path(__file__).parents[2]
    for file in sorted(path for folder in FOLDERS for path in (root / folder).rglob("__init__.py")):
        package = ".".join(("lapsd", *file.parent.relative_to(root).parts))
        if package not in NEEDS_VLLM and "__all__" in file.read_text(encoding="utf-8"):
            found[package] = list(import_module(package).__all__)
    return dict(sorted(found.items(), key=lambda pair: (pair[0].count("."), pair[0])))


@cache
def public_names() -> list[PublicName]:
    """Return every public name once."""
    listed: dict[tuple[str, str], list[str]] = {}
    for package, names in packages().items():
        for name in names:
            listed.setdefault((_origin(package, name), name), []).append(package)
    return [
        PublicName(first, name, tuple(also), _kind(first, name))
        for (_, name), (first, *also) in listed.items()
    ]


def _kind(package: str, name: str) -> str:
    value = getattr(import_module(package), name)
    if inspect.isclass(value):
        return "class"
    return "function" if inspect.isroutine(value) else "data"


def _origin(package: str, name: str) -> str:
    """Return the module that defines a public name."""
    module = import_module(package)
    if package == "lapsd":
        within = import_module("lapsd.public").MODULE_OF[name]
        return _origin(f"lapsd.{within}", name)
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and any(a.name == name for a in node.names):
            return _origin(str(node.module), name)
    return package


@cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))


def _data_document(package: str, name: str) -> str | None:
    """Return the string after the assignment of a module's variable."""
    body = _tree(import_module(_origin(package, name))).body
    for node, after in pairwise(body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets) and (
            isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        ):
            return str(after.value.value)
    return None
