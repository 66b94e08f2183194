"""The bundled prompt sets (code, prose, arithmetic) and prompts read from a JSONL file.

The sets are of different kinds, as in the LAPS-SD paper (code, chat, reasoning), so that acceptance
and output length differ between them. This module knows nothing about models or tokens.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from lapsd.calibrate.prompts import arithmetic, fields, stdlib
from lapsd.calibrate.prompts.problems import Problem, Template, question_prompt
from lapsd.traces.files.reading import json_value, read_text
from lapsd.traces.prompts import template_of

PROMPT_SEED = 20_250_517
TRAINING_SEED = 1
# problems of each kind, drawn with the training's seed, that are excluded from the prompts; the
# training of the reference pair used fewer
TRAINING_PROBLEMS = 20_000


@dataclass(frozen=True)
class Prompt:
    """The text of a request before tokenization.

    `group` is the name of the document or template that the prompt comes from. A train-test split
    never separates prompts of one group.

    Examples
    --------
    >>> from lapsd.calibrate.prompts import Prompt
    >>> Prompt("a", "code", "def f(x):", group="functions").dataset
    'code'
    """

    request_id: str
    dataset: str
    text: str
    group: str = ""


@cache  # each takes seconds: a process makes it once
def _code() -> tuple[Prompt, ...]:
    """Signatures and docstrings of held-out library functions, and twice as many of `fields`."""
    wanted = [
        f
        for f in stdlib.functions(held_out=True)
        if 60 <= len(f.head) <= 1_000 and f.body.count("\n") >= 2
    ]
    unique = {f.head: f for f in wanted}
    of_library = [Prompt(f"{f.module}.{f.name}", "code", f.head, f.module) for f in unique.values()]
    generated = _generated("code", fields.problem, fields.TEMPLATES, str, 2 * len(of_library))
    return (*of_library, *generated)


def _opening(text: str) -> str:
    """Return the first sentence of a text (at least 40 characters), or its first 12 words."""
    sentence = re.search(r"(?s)^.{40,300}?[.:]\s", text)
    return sentence.group().rstrip() if sentence else " ".join(text.split(" ")[:12])


@cache
def _prose() -> tuple[Prompt, ...]:
    """Beginnings of held-out documentation, for the model to continue."""
    documents = stdlib.documents(held_out_only=True)
    held_out = [d for d in documents if len(_opening(d.text)) < 0.7 * len(d.text)]
    unique = {_opening(d.text): d for d in held_out}
    return tuple(Prompt(d.source, "prose", opening, d.source) for opening, d in unique.items())


@cache
def _arithmetic() -> tuple[Prompt, ...]:
    """Word problems of 1 to 12 steps that can be counted in the question."""
    problem, asked = arithmetic.problem, arithmetic.ASKED
    return tuple(_generated("arithmetic", problem, asked, question_prompt, 2_000))


def _generated(
    dataset: str,
    draw: Callable[[random.Random], Problem],
    templates: tuple[Template, ...],
    asked: Callable[[str], str],
    count: int,
) -> list[Prompt]:
    """Return `count` different prompts from our own templates that are not in the training data.

    A template is a group. The sizes of answers are log-uniform, with more short than long answers,
    so that their lengths vary as much as the lengths of free texts.
    """
    names = {t.__name__ for t in templates}
    rng, trained = random.Random(TRAINING_SEED), set()
    for _ in range(TRAINING_PROBLEMS):
        trained.add(draw(rng).question)
    rng, drawn = random.Random(PROMPT_SEED), dict[str, Prompt]()
    while len(drawn) < count:
        p = draw(rng)
        if p.template in names and p.question not in trained and rng.random() < 1 / p.size:
            drawn.setdefault(
                p.question,
                Prompt(f"{p.template}-{len(drawn)}", dataset, asked(p.question), p.template),
            )
    return list(drawn.values())


PROMPT_SETS: dict[str, Callable[[], tuple[Prompt, ...]]] = {
    "code": _code,
    "prose": _prose,
    "arithmetic": _arithmetic,
}
"""The function that makes each bundled prompt set, by its name: mapping of str to callable.

Examples
--------
>>> from lapsd.calibrate.prompts import PROMPT_SETS
>>> list(PROMPT_SETS)
['code', 'prose', 'arithmetic']
"""


def bundled_prompts(name: str, seed: int = 0) -> list[Prompt]:
    """Return the bundled set `name` in an order drawn with `seed`, with unique ids.

    Parameters
    ----------
    name : str
        Name of the set, one of `PROMPT_SETS`.
    seed : int, default 0
        Seed of the random numbers, at least 0.

    Raises
    ------
    ValueError
        If there is no set of that name.

    Examples
    --------
    >>> from lapsd.calibrate.prompts import bundled_prompts
    >>> prompts = bundled_prompts("arithmetic", seed=1)
    >>> len({prompt.request_id for prompt in prompts}) == len(prompts)
    True
    """
    if name not in PROMPT_SETS:
        raise ValueError(f"prompt set {name!r}: must be one of {', '.join(PROMPT_SETS)}")
    prompts = list(PROMPT_SETS[name]())
    random.Random(f"{name}-{seed}").shuffle(prompts)
    return [replace(p, request_id=f"{name}-{i:04d}:{p.request_id}") for i, p in enumerate(prompts)]


def read_prompts(path: str | Path, field: str) -> list[Prompt]:
    """Read prompts from a file of JSON objects, with the text under the key `field`.

    The file holds one object per line, or one list of objects; it may be compressed (`.gz`). The
    data set has the name of the file. The id of a prompt is `<name>-<line>`, or for a list
    `<name>-<place>`. An optional key `group` names the document or template of a prompt; by
    default, texts that differ only in numbers form a group.

    Parameters
    ----------
    path : str or Path
        The file.
    field : str
        Key of the text of a prompt.

    Raises
    ------
    ValueError
        If the file cannot be read or is empty, or a line is not a JSON object or has no text under
        `field`. The message names the file and the line.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.calibrate.prompts import read_prompts
    >>> done = Path("mine.jsonl").write_text('{"question": "How many are 2 and 3?"}')
    >>> read_prompts("mine.jsonl", "question")[0].request_id
    'mine-1'
    """
    path = Path(path)
    dataset = path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
    content = read_text(path, f"prompts file {path}")
    records = _listed(content) or [
        (number, _parsed(line, path, number))
        for number, line in enumerate(content.splitlines(), 1)
        if line.strip()
    ]
    if not records:
        raise ValueError(f"prompts file {path}: holds no prompts")
    texts = [(n, _text_of(record, field, path, n), record.get("group")) for n, record in records]
    return [
        Prompt(f"{dataset}-{n}", dataset, text, str(group or template_of(text)))
        for n, text, group in texts
    ]


def _listed(content: str) -> list[tuple[int, Any]]:
    """Return the numbered objects of a file that is one JSON list; empty for any other file."""
    if not content.lstrip().startswith("["):
        return []
    try:
        whole = json_value(content, "")
    except ValueError:
        return []
    return list(enumerate(whole, 1)) if isinstance(whole, list) else []


def _parsed(line: str, path: Path, number: int) -> Any:
    return json_value(line, f"prompts file {path}, line {number}")


def _text_of(record: Any, field: str, path: Path, number: int) -> str:
    if not isinstance(record, dict):
        raise ValueError(f"prompts file {path}, line {number}: not a JSON object")
    if field not in record:
        raise ValueError(
            f"prompts file {path}, line {number}: no field {field!r} (it has {', '.join(record)};"
            " see --field)"
        )
    text = record[field]
    if isinstance(text, list) and text:
        text = text[0]  # Spec-Bench and MT-Bench hold a list of turns; use the first
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"prompts file {path}, line {number}: field {field!r} holds no text")
    return text
