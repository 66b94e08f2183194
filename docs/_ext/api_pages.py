"""Pages of the Python API, one for each package with public names, written before each build."""

from importlib import import_module
from importlib.util import find_spec
from inspect import getdoc
from pathlib import Path
from typing import Any

from docutils import nodes
from public_api import PublicName, packages, public_names
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

FOLDER = "docs/reference/api"


def write_pages(app: Sphinx) -> None:
    """Write the page of each package: a table of its names, and the entries of those it defines."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    of_package = {
        package: [p for p in public_names() if package in (p.package, *p.also)]
        for package in packages()
    }
    for package, names in of_package.items():
        text = "\n".join(_page(package, names))
        file = folder / f"{package}.rst"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    for file in folder.glob("*.rst"):
        if file.stem not in of_package:
            file.unlink()


def _page(package: str, names: list[PublicName]) -> list[str]:
    first = (getdoc(import_module(package)) or "").split("\n\n")
    lines = [package, "=" * len(package), "", *first[0].splitlines(), ""]
    for kind, heading in (("class", "Classes"), ("function", "Functions"), ("data", "Data")):
        of_kind = sorted((p for p in names if p.kind == kind), key=lambda p: p.name.lower())
        if not of_kind:
            continue
        lines += [heading, "-" * len(heading), "", ".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   ~{p.path}" for p in of_kind if kind != "data"] + [""]
        for p in of_kind:
            if p.package == package:
                lines += [*_entry(p), ""]
            elif kind == "data":
                lines += [f"`{p.path}`", ""]
    return lines


def _entry(p: PublicName) -> list[str]:
    """Return the lines of the entry of a name."""
    if p.kind == "function":
        return [f".. autofunction:: {p.path}"]
    if p.kind == "class":
        bases = ["   :show-inheritance:"] if p.value.__bases__ != (object,) else []
        return [f".. autoclass:: {p.path}", "   :members:", *bases]
    # Python does not keep the docstrings of data
    return [f".. py:data:: {p.path}", "", *(f"   {line}" for line in p.document.splitlines())]


def keep_private_type(app: Sphinx, env: object, node: pending_xref, text: nodes.Element) -> Any:
    """Keep the name of a type in a signature that is no public name, and so has no entry.

    A name that lapsd does not have stays an error.
    """
    module, _, name = str(node["reftarget"]).rpartition(".")
    is_type = node["reftype"] == "class" and module.startswith("lapsd.")
    return text if is_type and find_spec(module) and hasattr(import_module(module), name) else None


def skip_fields(
    app: Sphinx, what: str, name: str, value: object, skip: bool, options: object
) -> bool | None:
    """Leave out fields, which the docstring of their class describes."""
    if what == "class" and not (
        callable(value) or isinstance(value, property | classmethod | staticmethod)
    ):
        return True
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the pages with Sphinx."""
    app.connect("config-inited", lambda app, config: write_pages(app))
    app.connect("missing-reference", keep_private_type)
    app.connect("autodoc-skip-member", skip_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
