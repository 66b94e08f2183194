"""The parameters of a policy as a record: which fields a policy has, and their values.

A number is a field; a tuple of numbers or an array its address and shape; an optional number the
number and whether it is there; a dataclass the address of a record of its own. A text is part of
the layout. Policies of one layout share compiled code. Knows nothing of Numba.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lapsd.sim.engine.compiled.reached import constants_of, names_used, reached_in

WORD = 8  # every field begins at a multiple of so many bytes
NUMBERS = {"int": "i8", "float": "f8", "bool": "?"}


@dataclass(frozen=True)
class Layout:
    """The fields of a dataclass as a record.

    Attributes
    ----------
    owner : type
        The class.
    fields : tuple of (str, int, Any)
        Name, offset in bytes and kind of each: `Number`, `Maybe`, `Column`, `Text` or `Layout`.
    refused : tuple of (str, str)
        Fields that a record cannot hold, and why.
    size : int
        Bytes of the record.
    """

    owner: type
    fields: tuple[tuple[str, int, Any], ...]
    refused: tuple[tuple[str, str], ...]
    size: int
    words: ClassVar[int] = 1

    @property
    def changeable(self) -> bool:
        """Whether compiled code may write to an array of the dataclass."""
        kinds = [kind for _, _, kind in self.fields]
        return any(
            kind.changeable if isinstance(kind, Layout) else getattr(kind, "writable", False)
            for kind in kinds
        )


@dataclass(frozen=True)
class Number:
    """A number of a type: `i8`, `f8` or `?`."""

    code: str
    words: ClassVar[int] = 1


TOO_WIDE = "is outside the range of 64 bits, from -2**63 to 2**63 - 1"


@dataclass(frozen=True)
class Maybe:
    """A number of a type, or None."""

    code: str
    words: ClassVar[int] = 2


@dataclass(frozen=True)
class Column:
    """An array of numbers of a type, in one or two dimensions."""

    code: str
    dimensions: int
    writable: bool

    @property
    def words(self) -> int:
        """Words of the record that hold its address and its shape."""
        return 1 + self.dimensions


@dataclass(frozen=True)
class Text:
    """A text, or None, which is part of the layout."""

    value: str | None
    words: ClassVar[int] = 0


@dataclass(frozen=True, eq=False)
class Parameters:
    """The record of one policy, and all that it points to.

    Attributes
    ----------
    owner : dataclass
        The policy.
    record : array of bytes
    kept : list
        The arrays that the record points to.
    """

    owner: Any
    record: NDArray[np.uint8]
    kept: list[Any] = field(default_factory=list)

    @cached_property
    def address(self) -> int:
        """The address of the record."""
        return int(self.record.ctypes.data)


def layout_of(value: Any, names: frozenset[str]) -> Layout:
    """Return the layout of the fields of a dataclass that some names name.

    It depends on the types of the values, and on the texts among them.
    """
    owner = type(value)
    if (owner, names) not in _READ:
        _READ[owner, names] = _read(owner, names)
    names, constants, annotations = _READ[owner, names]
    known = dict(constants)
    for name, annotation in annotations.items():
        known[name] = kind_of(getattr(value, name), annotation, names)
    placed, offset = [], 0
    for name in sorted(names.intersection(known)):
        if not isinstance(known[name], str):
            placed.append((name, offset, known[name]))
            offset += WORD * known[name].words
    refused = tuple((n, kind) for n, kind in known.items() if isinstance(kind, str))
    return Layout(owner, tuple(placed), refused, max(WORD, offset))


Names = frozenset[str]
_READ: dict[tuple[type, Names], tuple[Names, dict[str, Any], dict[str, Any]]] = {}


def _read(owner: type, names: Names) -> tuple[Names, dict[str, Any], dict[str, Any]]:
    """Return what compiled code can read of a dataclass, given some names that it uses: all names,
    the kinds of the class's own constants, and the annotations of its fields.
    """
    names |= names_used(reached_in(owner, names))
    constants = {
        name: kind_of(constant, "", names)
        for name, constant in constants_of(owner).items()
        if name in names
    }
    known: Any = owner
    annotations = {field.name: field.type for field in fields(known) if field.name in names}
    return names, constants, annotations


def owners_of(layout: Layout) -> list[type]:
    """Return the classes of a dataclass and of the dataclasses in it."""
    inner = [kind for _, _, kind in layout.fields if isinstance(kind, Layout)]
    return [layout.owner, *(owner for kind in inner for owner in owners_of(kind))]


def kind_of(value: Any, annotation: Any, names: frozenset[str]) -> Any:
    """Return the kind of a field; a text that says why a record cannot hold it."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    optional = "None" in text or "Optional" in text
    if value is None:
        for name, number in NUMBERS.items():
            if optional and name in text:
                return Maybe(number)
        return Text(None)
    if isinstance(value, str):
        return Text(value)
    code = number_code(value, text)
    wide = value if isinstance(value, tuple) else (value,)
    if code != "f8" and any(isinstance(v, int) and not -(2**63) <= v < 2**63 for v in wide):
        return TOO_WIDE
    if code is not None:
        return Maybe(code) if optional else Number(code)
    if isinstance(value, tuple) and value and all(number_code(v, "") for v in value):
        floats = any(number_code(v, "") == "f8" for v in value)
        return Column("f8" if floats else "i8", 1, writable=False)
    if isinstance(value, tuple) and not value:
        return Column("f8" if "float" in text else "i8", 1, writable=False)
    if isinstance(value, np.ndarray):
        return array_kind(value)
    if is_dataclass(value) and not isinstance(value, type):
        return layout_of(value, names)
    return f"is a {type(value).__name__}, and only numbers, texts, tuples of numbers and arrays can"


def number_code(value: Any, annotation: str) -> str | None:
    """Return the code of a number's type; None for anything else."""
    if isinstance(value, bool | np.bool_):
        return "?"
    if isinstance(value, int | np.integer):
        return "f8" if "float" in annotation and "int" not in annotation else "i8"
    return "f8" if isinstance(value, float | np.floating) else None


def array_kind(value: NDArray[Any]) -> Column | str:
    """Return the kind of an array, or why a record cannot hold it."""
    code = {np.dtype("i8"): "i8", np.dtype("f8"): "f8", np.dtype("?"): "?"}.get(value.dtype)
    if code is None or value.ndim not in (1, 2) or not value.flags.c_contiguous:
        return f"is an array of {value.dtype} in {value.ndim} dimensions"
    return Column(code, value.ndim, writable=bool(value.flags.writeable))


def parameters_of(value: Any, layout: Layout) -> Parameters:
    """Return the record of a dataclass.

    Raises
    ------
    ValueError
        For a number that 64 bits cannot hold.
    """
    made = Parameters(value, np.zeros(layout.size, dtype=np.uint8))
    for name, offset, kind in layout.fields:
        words = made.record[offset:]
        item = getattr(value, name)
        if isinstance(kind, Layout):
            inner = parameters_of(item, kind)
            made.kept.append(inner)
            words[:WORD].view("i8")[0] = inner.address
        elif isinstance(kind, Column):
            array = np.ascontiguousarray(item, dtype=kind.code)
            made.kept.append(array)
            words[: WORD * kind.words].view("i8")[:] = [array.ctypes.data, *array.shape]
        elif isinstance(kind, Maybe | Number) and item is not None:
            write_number(words, item, kind.code, f"{type(value).__name__}.{name}")
            if isinstance(kind, Maybe):
                words[WORD : 2 * WORD].view("i8")[0] = 1
    return made


def write_number(words: NDArray[np.uint8], item: Any, code: str, name: str) -> None:
    """Write a number at the start of some bytes."""
    try:
        words[: np.dtype(code).itemsize].view(code)[0] = item
    except OverflowError as error:
        raise ValueError(f"{name}={item}: must be between -2**63 and 2**63 - 1") from error
