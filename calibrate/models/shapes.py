"""Architectures by name, for timing with random weights.

The time of a pass does not depend on the values of the weights. The shapes come from the models'
published configurations, except for the context of the LLaMA models (published: 2,048 and 4,096).
It is extended so that a context of 4,096 plus the look-ahead of a round can be timed; this does not
change the time of a pass.
"""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, LlamaConfig, OPTConfig


def _llama(hidden: int, layers: int, heads: int, intermediate: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": intermediate,
        "vocab_size": 32_000,
        "max_position_embeddings": 5_120,
        "tie_word_embeddings": False,
    } | more


def _opt(hidden: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "ffn_dim": 4 * hidden,
        "vocab_size": 50_272,
        "max_position_embeddings": 2_048,
        "word_embed_proj_dim": hidden,
    } | more


_SMALL = {"vocab_size": 512, "max_position_embeddings": 512}
SHAPES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "llama-7b": (LlamaConfig, _llama(4_096, 32, 32, 11_008)),
    "llama-13b": (LlamaConfig, _llama(5_120, 40, 40, 13_824)),
    "llama-68m": (LlamaConfig, _llama(768, 2, 12, 3_072)),
    "opt-13b": (OPTConfig, _opt(5_120, 40, 40)),
    "opt-125m": (OPTConfig, _opt(768, 12, 12)),
    # small models for tests, with grouped heads
    "tiny-target": (LlamaConfig, _llama(128, 3, 4, 256, num_key_value_heads=2, **_SMALL)),
    "tiny-draft": (LlamaConfig, _llama(64, 1, 2, 128, **_SMALL)),
}


def pair_of_shapes(text: str) -> tuple[str, str]:
    """Return both names of `target+draft`.

    Raises
    ------
    ValueError
        If there are not exactly two names.
    """
    target, plus, draft = text.partition("+")
    if not (target and plus and draft) or "+" in draft:
        raise ValueError(
            f"random weights {text!r}: must be TARGET+DRAFT, each of {', '.join(SHAPES)} or a"
            " config.json"
        )
    return target, draft


def config_of(name: str) -> Any:
    """Return the configuration of a shape by name, or from a config.json or its folder.

    Raises
    ------
    ValueError
        If the name is unknown and there is no such file, or the file is not a model configuration.
    """
    if name in SHAPES:
        kind, values = SHAPES[name]
        return kind(**values, bos_token_id=None, eos_token_id=None, pad_token_id=None)
    path = Path(name).expanduser()
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(
            f"random weights {name!r}: not one of {', '.join(SHAPES)}, and no such file"
        )
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"random weights {name}: not a model configuration ({reason})") from error
