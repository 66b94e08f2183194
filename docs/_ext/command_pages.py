"""Pages of the command line, one for each verb, made of the commands themselves before each build.

An example is a command of a page (README, docs), which the tests of the pages run.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from typer.main import get_command

from lapsd.cli import VERBS, app as lapsd_app

FOLDER = "docs/reference/commands"
MOST_EXAMPLES = 8


def write_pages(app: Sphinx) -> None:
    """Write the page of each verb."""
    root = Path(app.srcdir)
    (root / FOLDER).mkdir(exist_ok=True)
    group = get_command(lapsd_app)
    context = group.make_context("lapsd", [], resilient_parsing=True)
    for verb in VERBS:
        command = group.get_command(context, verb)
        lines = [*_entry(f"lapsd {verb}", command, context, "="), *_examples(root, verb)]
        text = "\n".join(lines)
        file = root / FOLDER / f"{verb}.rst"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def _entry(name: str, command: Any, parent: Any, underline: str) -> Iterator[str]:
    """Return the lines on a command: what it does, its usage, arguments, options, commands."""
    context = type(parent)(command, info_name=name.split()[-1], parent=parent)
    yield from (name, underline * len(name), "", _escaped(command.help or ""), "")
    usage = command.get_usage(context).removeprefix("Usage: ").splitlines()
    yield from (".. code-block:: text", "", *(f"   {line}" for line in usage), "")
    yield from (f".. program:: {name}", "")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None:  # an argument
            record = (parameter.make_metavar(context), getattr(parameter, "help", None) or "")
        names, text = record
        yield from (f".. option:: {names.replace(' / ', ', ')}", "")
        yield from (f"   {_escaped(line)}" for line in text.splitlines() or [""])
        yield ""
    for sub in getattr(command, "commands", {}):
        yield from _entry(f"{name} {sub}", command.commands[sub], context, "-")


def _escaped(text: str) -> str:
    """Return text in which reStructuredText sees no markup but code."""
    return re.sub(r"([\\*`|]|(?<=\w)_(?!\w))", r"\\\1", re.sub(r"\s*\n\s*(?!\n)", "\n", text))


def _examples(root: Path, verb: str) -> Iterator[str]:
    """Return the lines on the examples of a verb, by page."""
    left = MOST_EXAMPLES
    found: list[str] = []
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    for page in pages:
        commands = [] if page.name == "claims.md" else list(commands_of(page, verb))[:left]
        left -= len(commands)
        if commands:
            link = "/" + page.relative_to(root).with_suffix("").as_posix()
            found += [f"From :doc:`{link}`:", "", ".. code-block:: sh", ""]
            found += [f"   {line}" for command in commands for line in command.splitlines()] + [""]
    if found:
        yield from ("Examples", "-" * 8, "", *found)


def commands_of(page: Path, verb: str) -> Iterator[str]:
    """Return the commands of a page that start with a verb, with their comments."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        for command in re.findall(r"^.*(?:\\\n.*)*", block, re.M):
            if command.split()[:2] == ["lapsd", verb]:
                yield command


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the pages with Sphinx."""
    app.connect("config-inited", lambda app, config: write_pages(app))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
