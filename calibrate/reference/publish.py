"""Save trained models as ordinary Hugging Face folders in bf16."""

from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


def publish(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    target: LlamaForCausalLM,
    draft: LlamaForCausalLM,
) -> None:
    """Save `target` and `draft` in subfolders of `folder`, each with the tokenizer."""
    for name, model in (("target", target), ("draft", draft)):
        model.to(torch.bfloat16).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
