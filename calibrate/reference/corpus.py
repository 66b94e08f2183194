"""What the reference pair learns from: library functions, documentation, word problems, small programs.

Sources: the running Python's standard library but for its held-out modules and topics; GSM8K train (MIT);
MBPP (CC-BY-4.0); word problems of our own templates. Each source is an endless seeded stream of documents,
mixed by `SHARES`. Knows nothing of torch.
"""

import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from calibrate.prompts import arithmetic, stdlib
from calibrate.prompts.sets import question_prompt

SHARES = {"code": 0.46, "prose": 0.20, "gsm8k": 0.16, "arithmetic": 0.13, "mbpp": 0.05}  # of the documents' bytes
ARITHMETIC_SEED = 1  # never the prompts' seed


def _rows(path: Path) -> list[dict[str, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def _code() -> list[str]:
    prompts = {f.head for f in stdlib.functions(held_out=True) if f.head}
    texts = (f"{f.head}\n{f.body}".strip() for f in stdlib.functions(held_out=False) if f.head not in prompts)
    return [text for text in dict.fromkeys(texts) if 40 <= len(text) <= 4_000]


def _prose() -> list[str]:
    """Documentation without any paragraph that a held-out document holds too."""
    documents = stdlib.documents()
    taken = {p for d in documents if d.held_out for p in d.text.split("\n\n") if len(p) > 40}
    return [d.text for d in documents if not d.held_out and not taken.intersection(d.text.split("\n\n"))]


def _gsm8k(path: Path) -> list[str]:
    """Questions and answers, without the calculator's annotations."""
    return [f"{question_prompt(r['question'])} {re.sub('<<.*?>>', '', r['answer'])}" for r in _rows(path)]


def _mbpp(path: Path) -> list[str]:
    """The task as a comment, then its program."""
    return [f"# {r['text']}\n" + r["code"].replace("\r\n", "\n").expandtabs(4) for r in _rows(path)]


def _shuffled(texts: list[str], seed: str) -> Iterator[str]:
    rng = random.Random(seed)
    while True:
        order = texts.copy()
        rng.shuffle(order)
        yield from order


def _problems() -> Iterator[str]:
    rng = random.Random(ARITHMETIC_SEED)
    while True:
        problem = arithmetic.problem(rng)
        yield f"{question_prompt(problem.question)} {problem.answer}"


def documents(gsm8k: Path, mbpp: Path) -> Iterator[str]:
    """An endless, reproducible stream of training documents in the proportions of `SHARES`."""
    streams = {
        "code": _shuffled(_code(), "code"),
        "prose": _shuffled(_prose(), "prose"),
        "gsm8k": _shuffled(_gsm8k(gsm8k), "gsm8k"),
        "mbpp": _shuffled(_mbpp(mbpp), "mbpp"),
        "arithmetic": _problems(),
    }
    written = dict.fromkeys(SHARES, 0)
    while True:  # always the source that is furthest behind its share
        source = min(SHARES, key=lambda name: written[name] / SHARES[name])
        text = next(streams[source])
        written[source] += len(text)
        yield text
