"""Functions and documentation of Python's standard library, as text for prompts and training.

The source files are read, but never imported or run. Some modules and topics are *held out*, by a
hash of their names: the reference pair never trains on them, so that prompts from them are new to
the models. This module knows nothing about models.
"""

import ast
import random
import sysconfig
import textwrap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path

SKIPPED_FOLDERS = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "dist-packages",
    "lib2to3",
    "encodings",
    "pydoc_data",
    "turtledemo",
    "ensurepip",
    "__pycache__",
}
HELD_OUT_ONE_IN = 6


@dataclass(frozen=True)
class Function:
    """A function or method of the standard library, dedented."""

    module: str
    name: str
    # signature and docstring, up to the last line of the docstring; "" without a docstring
    head: str
    body: str  # the rest of the source


@dataclass(frozen=True)
class Document:
    """A piece of documentation: a docstring, or some paragraphs of a pydoc topic."""

    source: str
    text: str
    held_out: bool


def is_held_out(name: str) -> bool:
    """Return whether a module or topic is held out, by a hash that all Python versions share.

    One in `HELD_OUT_ONE_IN` names is held out.
    """
    return zlib.crc32(name.encode()) % HELD_OUT_ONE_IN == 0


def library_folder() -> Path:
    """Return the folder of the running Python's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


@cache
def modules(*, held_out: bool) -> tuple[tuple[str, str, ast.Module], ...]:
    """Return (dotted name, source, syntax tree) of the held-out modules, or of all others.

    Files that cannot be parsed are left out.
    """
    root, parsed = library_folder(), []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED_FOLDERS.intersection(parts) or is_held_out(".".join(parts)) is not held_out:
            continue
        try:
            source = path.read_text(encoding="utf-8")
            parsed.append((".".join(parts), source, ast.parse(source)))
        except (UnicodeDecodeError, SyntaxError, ValueError):
            continue  # some distributions ship deliberately broken files
    return tuple(parsed)


def _functions_in(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node  # nested functions are part of its body
        else:
            yield from _functions_in(node)


def functions(*, held_out: bool) -> Iterator[Function]:
    """Yield every function of the held-out modules, or of all others."""
    for module, source, tree in modules(held_out=held_out):
        lines = source.splitlines()
        for node in _functions_in(tree):
            block = textwrap.dedent(
                "\n".join(lines[node.lineno - 1 : node.end_lineno])
            ).splitlines()
            documented = ast.get_docstring(node) is not None
            cut = (node.body[0].end_lineno or node.lineno) - node.lineno + 1 if documented else 0
            yield Function(module, node.name, "\n".join(block[:cut]), "\n".join(block[cut:]))


def _docstrings(*, held_out_only: bool) -> Iterator[tuple[str, str]]:
    read = (
        modules(held_out=True)
        if held_out_only
        else sorted(modules(held_out=True) + modules(held_out=False), key=lambda module: module[0])
    )
    for module, _, tree in read:
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield module, text


def _topics() -> dict[str, str]:
    """Return pydoc's help topics, read as a literal from the source of `pydoc_data.topics`."""
    path = library_folder() / "pydoc_data" / "topics.py"
    if not path.exists():
        return {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return dict(ast.literal_eval(node.value))
    return {}


def _pieces(text: str, rng: random.Random) -> Iterator[str]:
    """Split a text between paragraphs into pieces of log-normal length (median 500 characters)."""
    piece: list[str] = []
    wanted = rng.lognormvariate(6.2, 0.7)
    for paragraph in text.split("\n\n"):
        piece.append(paragraph.strip("\n"))
        if sum(map(len, piece)) >= wanted:
            yield "\n\n".join(piece).strip()
            piece, wanted = [], rng.lognormvariate(6.2, 0.7)
    if piece:
        yield "\n\n".join(piece).strip()


def documents(min_characters: int = 120, *, held_out_only: bool = False) -> list[Document]:
    """Return the documentation of the library, without duplicates.

    A text that occurs several times is held out if any of its sources is held out.

    Parameters
    ----------
    min_characters : int
        Shorter texts are left out.
    held_out_only : bool
        Return only held-out documents; this reads only a sixth of the library.
    """
    rng = random.Random(0)
    texts = [(source, cleandoc(text)) for source, text in _docstrings(held_out_only=held_out_only)]
    texts += [
        (name, piece) for name, text in sorted(_topics().items()) for piece in _pieces(text, rng)
    ]
    kept: dict[str, Document] = {}
    for source, text in texts:
        if len(text) < min_characters or (held_out_only and not is_held_out(source)):
            continue
        earlier = kept.get(text)
        held_out = is_held_out(source) or (earlier is not None and earlier.held_out)
        kept[text] = Document(source, text, held_out)
    return list(kept.values())
