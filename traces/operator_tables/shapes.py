"""Shapes of language models: configurations by name, from a folder, or derived from another one.

A shape is the content of a `config.json`; no weights are needed. Knows nothing of the tables.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lapsd.traces.architectures import CONFIGURATIONS
from lapsd.traces.errors import FormatError
from lapsd.traces.files.reading import json_object

# architectures describe layers and heads in several ways, which the library checks
NEEDED = ("architectures", "hidden_size")
NEEDED_BY_OPT = (*NEEDED, "num_hidden_layers", "num_attention_heads", "ffn_dim")


@dataclass(frozen=True)
class Shape:
    """The shape of a model.

    Attributes
    ----------
    name : str
    config : mapping
        Content of a `config.json`, with an architecture that the tables' library knows.
    extras : mapping of file name to content
        Other JSON files of the model's folder that name its quantisation.
    gated : bool
        Whether the feed-forward layers have a gate, as in LLaMA; OPT's have none.
    """

    name: str
    config: Mapping[str, Any]
    extras: Mapping[str, Any]
    gated: bool = True

    @property
    def longest_context(self) -> int | None:
        """Largest number of positions of the model, if the configuration gives it."""
        value = self._text.get("max_position_embeddings")
        return value if isinstance(value, int) and value > 0 else None

    @property
    def vocabulary(self) -> int | None:
        """Size of the vocabulary, if the configuration gives it."""
        value = self._text.get("vocab_size")
        return value if isinstance(value, int) else None

    @property
    def gate_bytes(self) -> int:
        """Bytes of the gates, with 16 bits per weight, that a model without gates does not have."""
        if self.gated:
            return 0
        sizes = ("num_hidden_layers", "hidden_size", "intermediate_size")
        layers, hidden, intermediate = (int(self.config[name]) for name in sizes)
        return 2 * layers * hidden * intermediate

    @property
    def _text(self) -> Mapping[str, Any]:
        """The configuration of the language model inside a multimodal one."""
        part = self.config.get("text_config")
        return part if isinstance(part, dict) else self.config

    def one_layer(self) -> "Shape":
        """Return the model's first decoder layer with its embedding and output layer.

        This is the shape of a draft head such as EAGLE's (arXiv 2401.15077), apart from the layer
        that joins two hidden states.
        """
        config = _first_layer(self._text)
        if self._text is not self.config:
            config = {**self.config, "text_config": config}
        return replace(self, name=f"one layer of {self.name}", config=config)


def _first_layer(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of one layer; lists with an entry per layer keep the first."""
    layers = config.get("num_hidden_layers")
    return {
        key: value[:1] if isinstance(value, list) and len(value) == layers else value
        for key, value in config.items()
    } | {"num_hidden_layers": 1}


def shape_of(text: str, names: Collection[str], files: Mapping[str, Path]) -> Shape:
    """Return the shape of a folder with a `config.json`, of such a file, or of a name.

    Parameters
    ----------
    text : a folder, a file or a name.
    names : names for which the library has configurations.
    files : file of each of these configurations.

    Raises
    ------
    ValueError
        If there is no such folder or name; the message has the nearest names.
    FormatError
        If the file is not a usable configuration.
    """
    if not text:
        raise ValueError("model '': must be a folder with a config.json or a name")
    path = Path(text)
    if path.is_dir() or path.suffix == ".json":
        return _read(path.resolve().name if path.is_dir() else path.stem, path)
    if text in CONFIGURATIONS:
        return _known(text, CONFIGURATIONS[text], {})
    if text in names:
        return _read(text, files[text])
    every = [*CONFIGURATIONS, *names]
    near = get_close_matches(text.lower(), {n.lower(): n for n in every}, n=3, cutoff=0.4)
    nearest = [n for low in near for n in every if n.lower() == low]
    hint = f"; the nearest names are {', '.join(nearest)}" if nearest else ""
    raise ValueError(f"model {text!r}: no such folder, and no known name{hint}")


def _read(name: str, path: Path) -> Shape:
    """Return the shape in a folder or a file."""
    file = path / "config.json" if path.is_dir() else path
    extras = {}
    quantised = file.with_name(file.name.replace("config.json", "hf_quant_config.json"))
    if quantised != file and quantised.is_file():
        extras["hf_quant_config.json"] = _json(quantised)
    config = _json(file)
    parts = {**config, **(config.get("text_config") or {})}
    names = config.get("architectures", [""])
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise FormatError(f"{file}, field 'architectures': {names!r} is not a list of names")
    needed = NEEDED_BY_OPT if names == ["OPTForCausalLM"] else NEEDED
    for key in needed:
        if key not in parts:
            raise FormatError(f"{file}: no field {key!r}, which a model configuration needs")
    return _known(name, config, extras)


def _json(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise FormatError(f"{file}: no such file; a model's folder needs a config.json")
    return json_object(file)


def _known(name: str, config: Mapping[str, Any], extras: Mapping[str, Any]) -> Shape:
    """Return the shape; OPT's is written as LLaMA's with feed-forward layers without a gate."""
    if config.get("architectures") != ["OPTForCausalLM"]:
        return Shape(name, config, extras)
    heads = config["num_attention_heads"]
    as_llama = {
        **config,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "intermediate_size": config["ffn_dim"],
        "num_key_value_heads": heads,
    }
    return Shape(name, as_llama, extras, gated=False)
