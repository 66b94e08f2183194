"""What the reference pair learns from: functions, documentation, word problems, lists, small
programs.

Sources: the running Python's standard library but for its held-out modules and topics; GSM8K train
(MIT); MBPP (CC-BY-4.0); problems, lists and functions of our own templates. Each source is an
endless seeded stream of documents, mixed by `SHARES`. No document holds a bundled prompt. Knows
nothing of torch.
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
    """The text's words, whatever stands between them."""
    return re.findall(r"\w+", text)


def unseen(texts: Iterable[str], prompts: Iterable[str]) -> list[str]:
    """The texts that hold none of the prompts, read as sequences of words; no prompt has fewer than
    four.
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
    """The library's functions ("code") and documentation ("prose") that hold no bundled prompt."""
    prompts = [p.text for name in ("code", "prose") for p in bundled_prompts(name)]
    return {"code": unseen(_code(), prompts), "prose": unseen(_prose(), prompts)}


def _code() -> list[str]:
    texts = (f"{f.head}\n{f.body}".strip() for f in stdlib.functions(held_out=False))
    return [text for text in dict.fromkeys(texts) if 40 <= len(text) <= 4_000]


def _prose() -> list[str]:
    """Documentation without any paragraph that a held-out document holds too."""
    documents = stdlib.documents()
    taken = {p for d in documents if d.held_out for p in d.text.split("\n\n") if len(p) > 40}
    return [
        d.text for d in documents if not d.held_out and not taken.intersection(d.text.split("\n\n"))
    ]


def _gsm8k(path: Path) -> list[str]:
    """Questions and answers, without the calculator's annotations; every other one tells its number
    of steps.
    """
    texts = []
    for i, row in enumerate(_rows(path)):
        answer = re.sub("<<.*?>>", "", row["answer"])
        hint = f" {worked_in(answer.count(chr(10)))}" if i % 2 else ""
        texts.append(f"{question_prompt(row['question'].strip() + hint)} {answer}")
    return texts


def _mbpp(path: Path) -> list[str]:
    """The task as a comment, then its program."""
    return [f"# {r['text']}\n" + r["code"].replace("\r\n", "\n").expandtabs(4) for r in _rows(path)]


def _shuffled(texts: list[str], seed: str) -> Iterator[str]:
    rng = random.Random(seed)
    while True:
        order = texts.copy()
        rng.shuffle(order)
        yield from order


def _answered(draw: Template, asked: Callable[[str], str], between: str) -> Iterator[str]:
    """The problems of our own templates that are never prompts, with their answers, over and
    over.
    """
    while True:
        rng = random.Random(TRAINING_SEED)
        for _ in range(TRAINING_PROBLEMS):
            problem = draw(rng)
            yield f"{asked(problem.question)}{between}{problem.answer}"


def documents(gsm8k: Path, mbpp: Path) -> Iterator[str]:
    """An endless, reproducible stream of training documents in the proportions of `SHARES`."""
    streams = {
        **{name: _shuffled(texts, name) for name, texts in library().items()},
        "gsm8k": _shuffled(_gsm8k(gsm8k), "gsm8k"),
        "mbpp": _shuffled(_mbpp(mbpp), "mbpp"),
        "arithmetic": _answered(arithmetic.problem, question_prompt, " "),
        "lists": _answered(lists.problem, question_prompt, " "),
        "fields": _answered(fields.problem, str, "\n"),
    }
    written = dict.fromkeys(SHARES, 0)
    while True:  # always the source that is furthest behind its share
        source = min(SHARES, key=lambda name: written[name] / SHARES[name])
        text = next(streams[source])
        written[source] += len(text)
        yield text
