"""Texts that the target writes and the draft is trained on.

During decoding, a draft proposes tokens for contexts that the target wrote, so it should be trained
on such contexts. The texts are beginnings of corpus documents, which the target continues by
sampling at temperature 1, in batches.
"""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from lapsd.calibrate.reference import parallel

OPENING_TOKENS, LENGTH, BATCH = 24, 320, 160


def target_texts(
    target: torch.nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    documents: Iterator[str],
    count: int,
    folder: Path,
) -> list[str]:
    """Return about `count` texts continued by the target.

    Each process writes its share into `folder`. Texts that are already there are read instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"texts-{i}-of-{parallel.size()}.jsonl" for i in range(parallel.size())]
    own = paths[parallel.rank()]
    if not own.exists():
        torch.manual_seed(1 + parallel.rank())
        shared = itertools.islice(documents, parallel.rank(), None, parallel.size())
        _write(own, _texts(target, tokenizer, shared, count // parallel.size()))
    parallel.wait()
    return [
        json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()
    ]


def _texts(
    target: torch.nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    documents: Iterator[str],
    count: int,
) -> list[str]:
    texts: list[str] = []
    while len(texts) < count:
        texts += _continued(target, tokenizer, list(itertools.islice(documents, BATCH)))
        print(f"target texts: {len(texts)}/{count}", flush=True)
    return texts


def _write(path: Path, texts: list[str]) -> None:
    temporary = path.with_name("." + path.name)
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(text) + "\n" for text in texts)
    os.replace(temporary, path)


def _continued(
    target: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, documents: list[str]
) -> list[str]:
    """Continue the first `OPENING_TOKENS` tokens of each document.

    Texts end with the end token or after `LENGTH` tokens.
    """
    openings = [ids[:OPENING_TOKENS] for ids in tokenizer(documents)["input_ids"]]
    openings = [ids for ids in openings if len(ids) == OPENING_TOKENS]
    if not openings:
        return []
    device = next(target.parameters()).device
    written = target.generate(  # type: ignore[operator]
        torch.tensor(openings, device=device),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_length=LENGTH,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer.batch_decode(written, skip_special_tokens=True)
