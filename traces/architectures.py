"""Published configurations of language models, by name.

Sources: LLaMA (arXiv 2302.13971), JackFram/llama-68m, OPT (arXiv 2205.01068). The values come from
each model's `config.json`.
"""

from collections.abc import Mapping
from typing import Any


def _llama(hidden: int, layers: int, heads: int, intermediate: int, context: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "vocab_size": 32_000,
        "max_position_embeddings": context,
        "torch_dtype": "float16",
    }


def _opt(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "architectures": ["OPTForCausalLM"],
        "model_type": "opt",
        "hidden_size": hidden,
        "ffn_dim": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "vocab_size": 50_272,
        "max_position_embeddings": 2_048,
        "torch_dtype": "float16",
    }


CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "llama-7b": _llama(4_096, 32, 32, 11_008, 2_048),
    "llama-13b": _llama(5_120, 40, 40, 13_824, 2_048),
    "llama-68m": _llama(768, 2, 12, 3_072, 2_048),
    "opt-13b": _opt(5_120, 40, 40),
    "opt-125m": _opt(768, 12, 12),
}
