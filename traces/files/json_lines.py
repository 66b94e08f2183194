"""Read JSON lines of other programs; each error message names the file and the line."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lapsd.traces.errors import FormatError
from lapsd.traces.files.reading import json_value, text_lines

IDS = ("request_id", "id", "question_id", "index")
DATASETS = ("dataset", "category", "task")
PROMPTS = ("prompt_tokens", "num_prompt_tokens", "prompt_len", "input_len")


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line numbers and objects of a JSON-lines file (`.gz` allowed), except empty lines.

    Raises
    ------
    FormatError
        If the file cannot be read, or a line is not a JSON object.
    """
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        record = json_value(line, f"{path}, line {number}")
        if not isinstance(record, dict):
            raise FormatError(f"{path}, line {number}: not a JSON object")
        yield number, record


def first_of(record: Mapping[str, Any], keys: tuple[str, ...], default: Any = None) -> Any:
    """Return the value of the first of `keys` that the record has, or `default`."""
    return next((record[key] for key in keys if key in record), default)


def labels(record: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return `request_id` and `dataset` of a trace row, by any of their names in public files.

    Without them they are `line-` and the line number, and `all`.
    """
    return {
        "request_id": str(first_of(record, IDS, f"line-{number}"))[:200],
        "dataset": str(first_of(record, DATASETS) or "all")[:200],
    }


def prompt_tokens(record: Mapping[str, Any], source: str) -> int | None:
    """Return the prompt's length, by any of its names in public files, or None without one.

    Raises
    ------
    FormatError
        If it is not a whole number.
    """
    return (
        count(first_of(record, PROMPTS), "prompt_tokens", source)
        if record.keys() & set(PROMPTS)
        else None
    )


def mapping(value: Any, name: str, source: str) -> dict[str, Any]:
    """Return the value, if it is a JSON object.

    Raises
    ------
    FormatError
        Naming `source` and the field.
    """
    if not isinstance(value, dict):
        raise FormatError(
            f"{source}, field {name!r}: {'missing' if value is None else 'not a JSON object'}"
        )
    return value


def count(value: Any, name: str, source: str, least: int = 0) -> int:
    """Return the value, if it is a whole number of at least `least`.

    Raises
    ------
    FormatError
        Naming `source`, the field and the value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**31:
        raise FormatError(
            f"{source}, field {name!r}: {str(value)[:40]!r} is not a whole number of at least"
            f" {least}"
        )
    return value


def counts(value: Any, name: str, source: str, least: int = 0) -> list[int]:
    """Return the value, if it is a list of at least one whole number of at least `least`.

    Raises
    ------
    FormatError
        Naming `source`, the field and the value.
    """
    if not isinstance(value, list) or not value:
        raise FormatError(f"{source}, field {name!r}: not a list with at least one number")
    return [count(v, name, source, least) for v in value]
