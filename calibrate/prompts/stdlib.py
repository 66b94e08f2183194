"""Text found on every machine with Python: its standard library's functions and documentation.

Reads source files only (nothing is imported or run). A module or topic is *held out* by a hash of
its name: the reference pair never trains on it, so that its prompts are new to the models. Knows
nothing of models.
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
    # signature and docstring, up to the end of the docstring's line; "" without a docstring
    head: str
    body: str  # the rest of the source


@dataclass(frozen=True)
class Document:
    """A piece of documentation: a docstring, or some paragraphs of one of pydoc's topics."""

    source: str
    text: str
    held_out: bool


def is_held_out(name: str) -> bool:
    """True for one module or topic in `HELD_OUT_ONE_IN`, by a hash that no Python version
    changes.
    """
    return zlib.crc32(name.encode()) % HELD_OUT_ONE_IN == 0


def library_folder() -> Path:
    """The folder of the running Python's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


@cache
def modules(*, held_out: bool) -> tuple[tuple[str, str, ast.Module], ...]:
    """(dotted name, source, syntax tree) of the held-out modules, or of all others; unparsable
    files are left out.
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
            yield node  # functions nested in it are part of its body
        else:
            yield from _functions_in(node)


def functions(*, held_out: bool) -> Iterator[Function]:
    """Every function of the held-out modules, or of all others."""
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
    """pydoc's help topics, read from the source of `pydoc_data.topics` as a literal."""
    path = library_folder() / "pydoc_data" / "topics.py"
    if not path.exists():
        return {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return dict(ast.literal_eval(node.value))
    return {}


def _pieces(text: str, rng: random.Random) -> Iterator[str]:
    """Cut a long text between paragraphs into pieces of log-normal length, median 500
    characters.
    """
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
    """The library's documentation, without repeats; a text also held out elsewhere counts as held
    out.

    `held_out_only` reads a sixth of the library and gives those documents alone.
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
