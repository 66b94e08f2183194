"""The order of the pages, and links from names in the text to their entries in the reference.

The pages themselves stay plain Markdown, without directives.
"""

from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from page_order import APPENDICES, CAPTIONS
from public_api import public_names
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from lapsd.cli import VERBS

TITLES = {"claims": "Claims", "CONTRIBUTING": "Contributing", "CHANGELOG": "Changelog"}
PYTHON = "docs/reference/python"  # the page on which every name in code is a public name


def add_toctree(app: Sphinx, docname: str, content: list[str]) -> None:
    """Add the list of the pages below a page to its text, without showing it there."""
    if docname == app.config.root_doc:
        for caption, pages in CAPTIONS.items():
            content[0] += _toctree(app, pages, caption)
    elif docname == "README":
        content[0] = f"---\norphan: true\n---\n{content[0]}"
    content[0] += _toctree(app, APPENDICES.get(docname, ()))


def _toctree(app: Sphinx, pages: tuple[str, ...], caption: str = "") -> str:
    root = Path(app.srcdir)
    there = [page for page in pages if "*" in page or (root / f"{page}.md").exists()]
    if not there:
        return ""
    titles = {page: TITLES.get(page.rsplit("/", 1)[-1], "") for page in there}
    titles["docs/results/laps-sd-h200/claims"] = "Claims, costs of an H200"
    entries = "".join(f"{titles[p]} </{p}>\n" if titles[p] else f"/{p}\n" for p in there)
    options = ":hidden:\n" + (f":caption: {caption}\n" if caption else "")
    options += ":glob:\n" if "*" in entries else ""
    return f"\n\n```{{toctree}}\n{options}\n{entries}```\n"


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """Make a link of each public name, and of each verb, that the text of a page gives as code."""
    docname = app.env.current_document.docname
    for node in list(doctree.findall(nodes.literal)):
        name = node.astext().removesuffix("()")
        target = _targets().get(name) or _targets().get(f"lapsd.{name}" * (docname == PYTHON))
        if target is None or isinstance(node.parent, nodes.reference | pending_xref):
            continue
        domain, kind, to = target
        link = pending_xref(
            "", refdomain=domain, reftype=kind, reftarget=to, refdoc=docname, refexplicit=True
        )
        node.replace_self(link)
        link += node


@cache
def _targets() -> dict[str, tuple[str, str, str]]:
    """Return the entry of each public name and each verb: domain, kind and target."""
    names = {
        f"{package}.{p.name}": ("py", "obj", p.path)
        for p in public_names()
        for package in (p.package, *p.also)
    }
    verbs = {f"lapsd {v}": ("std", "doc", f"/docs/reference/commands/{v}") for v in VERBS}
    return names | verbs


def parents(app: Sphinx, *changes: object) -> list[str]:
    """Return the pages with lists of other pages, which a new page may enter: read them again."""
    return [app.config.root_doc, *(page for page in APPENDICES if page in app.env.all_docs)]


def unlink_folders(app: Sphinx, doctree: nodes.document) -> None:
    """Keep only the text of a link to a folder of the repository, which has no page in the site."""
    here = Path(app.srcdir, app.env.current_document.docname).parent
    for node in list(doctree.findall(pending_xref)):
        if node.get("reftype") == "myst" and (here / str(node["reftarget"])).is_dir():
            node.replace_self(node.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the functions with Sphinx."""
    app.connect("source-read", add_toctree)
    app.connect("env-get-outdated", parents)
    app.connect("doctree-read", link_names)
    app.connect("doctree-read", unlink_folders)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
