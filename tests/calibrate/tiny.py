"""Tiny random models for tests, with a draft that agrees with its target some of the time."""

import copy
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lapsd.calibrate import Pair
from lapsd.calibrate.models.engine import choose_engine

VOCABULARY = 48


def tiny_model(seed: int, layers: int = 2) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
        eos_token_id=None,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


def tiny_pair(
    noise: float,
    dtype: torch.dtype = torch.float64,
    stop: frozenset[int] = frozenset(),
    engine: str = "lean",
) -> Pair:
    """Return a pair whose draft is the target with noise added to its weights.

    With noise 0, the target accepts all drafted tokens.
    """
    target = tiny_model(0)
    draft = copy.deepcopy(target)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in draft.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    target, draft = target.to(dtype), draft.to(dtype)
    return Pair(
        target=target,
        draft=draft,
        tokenizer=None,
        target_name="tiny",
        draft_name="tiny",
        vocabulary=VOCABULARY,
        stop_ids=stop,
        context=128,
        device=torch.device("cpu"),
        dtype=str(dtype).removeprefix("torch."),
        target_engine=choose_engine(target, VOCABULARY, engine),
        draft_engine=choose_engine(draft, VOCABULARY, engine),
    )


def plain_greedy(
    model: Any, prompt: list[int], count: int, stop: frozenset[int] = frozenset()
) -> list[int]:
    """Decode greedily without cache or draft: process the whole sequence for each token."""
    ids = list(prompt)
    for _ in range(count):
        with torch.inference_mode():
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] in stop:
            break
    return ids[len(prompt) :]
