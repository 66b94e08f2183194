"""Architectures by name, for timing with random weights.

The time of a pass does not depend on the values of the weights. The shapes come from the models'
published configurations, except for the context of the LLaMA models (published: 2,048).
It is extended so that a context of 4,096 plus the look-ahead of a round can be timed; this does not
change the time of a pass.
"""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, LlamaConfig, OPTConfig

from lapsd.traces.architectures import CONFIGURATIONS

EXTENDED = {"llama-7b": 5_120, "llama-13b": 5_120, "llama-68m": 5_120}  # positions
KINDS: dict[str, type[Any]] = {"llama": LlamaConfig, "opt": OPTConfig}


def _published(name: str) -> tuple[type[Any], dict[str, Any]]:
    values = {k: v for k, v in CONFIGURATIONS[name].items() if k != "architectures"}
    kind = KINDS[values.pop("model_type")]
    del values["torch_dtype"]
    if kind is OPTConfig:
        values["word_embed_proj_dim"] = values["hidden_size"]
    else:
        values["tie_word_embeddings"] = False
    return kind, values | {
        "max_position_embeddings": EXTENDED.get(name, values["max_position_embeddings"])
    }


_SMALL = {"vocab_size": 512, "max_position_embeddings": 512, "tie_word_embeddings": False}


def _tiny(hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate,
    } | _SMALL


SHAPES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    **{name: _published(name) for name in CONFIGURATIONS},
    # small models for tests, with grouped heads
    "tiny-target": (LlamaConfig, _tiny(128, 3, 4, 2, 256)),
    "tiny-draft": (LlamaConfig, _tiny(64, 1, 2, 2, 128)),
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
