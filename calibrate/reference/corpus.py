"""Training data of the reference pair: functions, documentation, word problems, lists, programs.

The sources are the standard library of the running Python, except its held-out modules and topics;
the training split of GSM8K (MIT); MBPP (CC-BY-4.0); and problems, lists and functions from our own
templates. Each source is an endless, seeded stream of documents, and `SHARES` determines their
proportions. No document contains a bundled prompt. This module knows nothing about torch.
"""

import gzip
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lapsd.calibrate.prompts import arithmetic, bundled_prompts, fields, lists, stdlib
from lapsd.calibrate.prompts.problems import Template, question_prompt, worked_in
from lapsd.calibrate.prompts.sets import TRAINING_PROBLEMS, TRAINING_SEED

SHARES = {  # of the documents' characters
    "code": 0.36,
    "prose": 0.18,
    "gsm8k": 0.13,
    "arithmetic": 0.12,
    "lists": 0.09,
    "fields": 0.08,
    "mbpp": 0.04,
}
FIRST_WORDS = 4


def _rows(path: Path) -> list[dict[str, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def words(text: str) -> list[str]:
    """Return the words of a text, without punctuation and spaces."""
    return re.findall(r"\w+", text)


def unseen(texts: Iterable[str], prompts: Iterable[str]) -> list[str]:
    """Return the texts that contain none of the prompts, both compared as sequences of words.

    Each prompt must have at least four words.
    """
    starts: dict[tuple[str, ...], list[list[str]]] = {}
    for prompt in map(words, prompts):
        starts.setdefault(tuple(prompt[:FIRST_WORDS]), []).append(prompt)

    def holds_one(text: str) -> bool:
        read = words(text)
        windows = enumerate(zip(*(read[i:] for i in range(FIRST_WORDS)), strict=False))
        return any(
            read[at : at + len(p)] == p for at, window in windows for p in starts.get(window, ())
        )

    return [text for text in texts if not holds_one(text)]


def library() -> dict[str, list[str]]:
    """Return functions ("code") and documentation ("prose") without bundled prompts."""
    prompts = [p.text for name in ("code", "prose") for p in bundled_prompts(name)]
    return {"code": unseen(_code(), prompts), "prose": unseen(_prose(), prompts)}


def _code() -> list[str]:
    texts = (f"{f.head}\n{f.body}".strip() for f in stdlib.functions(held_out=False))
    return [text for text in dict.fromkeys(texts) if 40 <= len(text) <= 4_000]


def _prose() -> list[str]:
    """Documentation that shares no paragraph with a held-out document."""
    documents = stdlib.documents()
    taken = {p for d in documents if d.held_out for p in d.text.split("\n\n") if len(p) > 40}
    return [
        d.text for d in documents if not d.held_out and not taken.intersection(d.text.split("\n\n"))
    ]


def _gsm8k(path: Path) -> list[str]:
    """Questions and answers without calculator annotations.

    Every other question states its number of steps.
    """
    texts = []
    for i, row in enumerate(_rows(path)):
        answer = re.sub("<<.*?>>", "", row["answer"])
        hint = f" {worked_in(answer.count(chr(10)))}" if i % 2 else ""
        texts.append(f"{question_prompt(row['question'].strip() + hint)} {answer}")
    return texts


def _mbpp(path: Path) -> list[str]:
    """Each task as a comment, followed by its program."""
    return [f"# {r['text']}\n" + r["code"].replace("\r\n", "\n").expandtabs(4) for r in _rows(path)]


def _shuffled(texts: list[str], seed: str) -> Iterator[str]:
    rng = random.Random(seed)
    while True:
        order = texts.copy()
        rng.shuffle(order)
        yield from order


def _answered(draw: Template, asked: Callable[[str], str], between: str) -> Iterator[str]:
    """Yield the training problems of our own templates with their answers, repeatedly.

    These problems are never used as prompts.
    """
    while True:
        rng = random.Random(TRAINING_SEED)
        for _ in range(TRAINING_PROBLEMS):
            problem = draw(rng)
            yield f"{asked(problem.question)}{between}{problem.answer}"


def documents(gsm8k: Path, mbpp: Path) -> Iterator[str]:
    """Yield an endless, reproducible stream of documents in the proportions of `SHARES`."""
    streams = {
        **{name: _shuffled(texts, name) for name, texts in library().items()},
        "gsm8k": _shuffled(_gsm8k(gsm8k), "gsm8k"),
        "mbpp": _shuffled(_mbpp(mbpp), "mbpp"),
        "arithmetic": _answered(arithmetic.problem, question_prompt, " "),
        "lists": _answered(lists.problem, question_prompt, " "),
        "fields": _answered(fields.problem, str, "\n"),
    }
    written = dict.fromkeys(SHARES, 0)
    while True:  # take the source that is furthest below its share
        source = min(SHARES, key=lambda name: written[name] / SHARES[name])
        text = next(streams[source])
        written[source] += len(text)
        yield text
