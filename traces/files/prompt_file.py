"""Files of prompts: JSON lines, or a question file of Spec-Bench.

A line has `request_id`, `prompt` and, optionally, `group`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lapsd.traces.errors import FormatError
from lapsd.traces.files.json_lines import json_lines
from lapsd.traces.files.writing import write_whole
from lapsd.traces.prompts import Prompt, template_of


def save_prompts(prompts: Sequence[Prompt], path: str | Path) -> None:
    """Write prompts to a file, one line per prompt, completely or not at all.

    Parameters
    ----------
    prompts : Sequence[Prompt]
        The prompts, in order.
    path : str or Path
        The file.

    Examples
    --------
    >>> from lapsd.traces import Prompt, load_prompts, save_prompts
    >>> save_prompts([Prompt("a", "def f(x):", "functions")], "saved.prompts.jsonl")
    >>> list(load_prompts("saved.prompts.jsonl"))
    ['a']
    """
    records = ({"request_id": p.request_id, "prompt": p.text, "group": p.group} for p in prompts)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_whole(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def load_prompts(path: str | Path) -> dict[str, Prompt]:
    """Return the prompts in a file (`.gz` allowed) by request.

    Without `group`, prompts that differ only in numbers are one group. A line with `question_id`
    and `turns`, as in the question files of Spec-Bench and MT-Bench, gives one prompt per turn,
    named `ID-TURN`, which includes the previous turns.

    Parameters
    ----------
    path : str or Path
        The file.

    Raises
    ------
    FormatError
        Naming the file, the line and what is wrong.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces import load_prompts
    >>> line = '{"request_id": "a", "prompt": "def f(x):", "group": "functions"}'
    >>> done = Path("asked.prompts.jsonl").write_text(line)
    >>> load_prompts("asked.prompts.jsonl")["a"].text
    'def f(x):'
    """
    path, prompts = Path(path), dict[str, Prompt]()
    for number, record in json_lines(path):
        for prompt in _prompts_of(record, f"prompts {path}, line {number}"):
            if prompt.request_id in prompts:
                raise FormatError(
                    f"prompts {path}, line {number}: request {prompt.request_id!r} occurs twice"
                )
            prompts[prompt.request_id] = prompt
    if not prompts:
        raise FormatError(f"prompts {path}: holds no prompts")
    return prompts


def _prompts_of(record: dict[str, Any], source: str) -> Iterator[Prompt]:
    if "turns" in record and "request_id" not in record:
        turns, name = record["turns"], record.get("question_id")
        if (
            not isinstance(turns, list)
            or not turns
            or not all(isinstance(t, str) for t in turns)
            or name is None
        ):
            raise FormatError(f"{source}: needs 'question_id' and a list of texts in 'turns'")
        for turn in range(len(turns)):
            yield Prompt(f"{name}-{turn}", "\n".join(turns[: turn + 1]), f"question {name}")
        return
    name, text = record.get("request_id"), record.get("prompt")
    if not isinstance(name, str | int) or not isinstance(text, str):
        raise FormatError(f"{source}: needs 'request_id' and a text in 'prompt'")
    yield Prompt(str(name), text, str(record.get("group") or template_of(text)))
