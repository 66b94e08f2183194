"""The hostile input files: a function for each, by the name of the file that it makes."""

from collections.abc import Callable
from pathlib import Path

Maker = Callable[[Path], object]

INPUTS: dict[str, Maker] = {}


def made(name: str) -> Callable[[Maker], Maker]:
    """Register a function as the maker of the input file `name`."""

    def register(maker: Maker) -> Maker:
        assert name not in INPUTS, name
        INPUTS[name] = maker
        return maker

    return register


def text(name: str, content: str | bytes) -> None:
    """Register an input file with this content."""
    data = content if isinstance(content, bytes) else content.encode()
    made(name)(lambda path: path.write_bytes(data))


text("empty.json", "")
text("empty.parquet", "")
text("list.json", "[1, 2]")
