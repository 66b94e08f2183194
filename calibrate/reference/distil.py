"""The texts that the draft learns from: beginnings of corpus documents, continued by the target itself.

A draft is asked about contexts the target wrote, so those are what it should be trained on. Sampling at
temperature 1, in batches, with the target's own cache.
"""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

OPENING_TOKENS, LENGTH, BATCH = 24, 320, 160


def target_texts(
    target: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, documents: Iterator[str], count: int, path: Path
) -> list[str]:
    """`count` texts that the target continued, kept in `path` (read back if it exists already)."""
    if path.exists():
        with path.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    torch.manual_seed(1)
    texts: list[str] = []
    while len(texts) < count:
        texts += _continued(target, tokenizer, list(itertools.islice(documents, BATCH)))
        print(f"target texts: {len(texts)}/{count}", flush=True)
    temporary = path.with_name("." + path.name)
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(text) + "\n" for text in texts)
    os.replace(temporary, path)
    return texts


def _continued(target: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, documents: list[str]) -> list[str]:
    """The documents' first `OPENING_TOKENS` tokens, each continued to the end token or `LENGTH` tokens."""
    openings = [ids[:OPENING_TOKENS] for ids in tokenizer(documents)["input_ids"]]
    openings = [ids for ids in openings if len(ids) == OPENING_TOKENS]
    if not openings:
        return []
    device = next(target.parameters()).device
    written = target.generate(  # type: ignore[operator]
        torch.tensor(openings, device=device), do_sample=True, temperature=1.0, top_k=0, max_length=LENGTH,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return tokenizer.batch_decode(written, skip_special_tokens=True)
