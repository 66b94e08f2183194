"""A tiny LLaMA-like pair with random weights for vLLM: the draft is the target's first layer."""

from pathlib import Path
from typing import Any

CONTEXT_TOKENS = 256


def save_pair(folder: Path, vocabulary: int = 64) -> tuple[Path, Path]:
    """Save the target and the draft; return their folders.

    The later layers of the target have small weights, so that drafts are often accepted.
    """
    import torch

    target, draft = _model(0, 3, vocabulary), _model(1, 1, vocabulary)
    draft.model.embed_tokens.load_state_dict(target.model.embed_tokens.state_dict())
    draft.model.layers[0].load_state_dict(target.model.layers[0].state_dict())
    draft.lm_head.load_state_dict(target.lm_head.state_dict())
    with torch.no_grad():
        for layer in target.model.layers[1:]:
            layer.self_attn.o_proj.weight.mul_(0.3)
            layer.mlp.down_proj.weight.mul_(0.3)
    for model, name in ((target, "target"), (draft, "draft")):
        model.save_pretrained(folder / name)
    return folder / "target", folder / "draft"


def _model(seed: int, layers: int, vocabulary: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=CONTEXT_TOKENS,
        initializer_range=0.3,
        eos_token_id=None,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()
