"""The files for readers that are programs: `llms.txt`, a list of the pages with their Markdown.

It follows https://llmstxt.org: title, summary, and one link per page with its first sentence. Also
writes `index.html`, which leads from the folder of the site to its first page.
"""

import re
from pathlib import Path
from typing import Any

from page_order import APPENDICES, CAPTIONS
from sphinx.application import Sphinx

SUMMARY = (
    "Calibrate speculative decoding on real models, then simulate how a scheduler would serve it."
)


def write_files(app: Sphinx, error: Exception | None) -> None:
    """Write both files beside the built pages."""
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    lines = ["# lapsd", "", f"> {SUMMARY}", ""]
    for caption, pages in CAPTIONS.items():
        lines += [f"## {caption}", ""]
        for page in pages:
            for name in (page, *(a for a in APPENDICES.get(page, ()) if "*" not in a)):
                if (file := Path(app.srcdir) / f"{name}.md").exists():
                    lines.append(_line(app, name, file.read_text(encoding="utf-8")))
        lines.append("")
    (out / "llms.txt").write_text("\n".join(lines), encoding="utf-8")
    first = f"{app.config.root_doc}.html"
    (out / "index.html").write_text(
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={first}">'
        f'<link rel="canonical" href="{first}"><title>lapsd</title><a href="{first}">lapsd</a>\n',
        encoding="utf-8",
    )


def _line(app: Sphinx, name: str, text: str) -> str:
    title = app.env.titles[name].astext()
    paragraphs = [p for p in text.split("\n\n") if re.match(r"(?!```)[A-Z`*\[]", p)]
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join((paragraphs or [""])[0].split()))
    sentence = re.split(r"(?<=\.) ", plain)[0]
    return f"- [{title}](_sources/{name}.md.txt): {sentence}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the files with Sphinx."""
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
