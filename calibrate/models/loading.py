"""Load a target and a draft model that share a tokenizer.

Weights are loaded from safetensors files only, and remote code is never run. A name that exists as
a folder, or that starts with `.`, `/` or `~`, is a folder and is never looked up on the model hub.
This module knows nothing about decoding.
"""

import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lapsd.calibrate.models.cache import unsupported_layers
from lapsd.calibrate.models.engine import Engine, choose_engine, logits_are_finite
from lapsd.calibrate.models.graphs import Capturing, graphs_of
from lapsd.calibrate.models.lean import LeanEngine
from lapsd.calibrate.models.shapes import config_of, pair_of_shapes
from lapsd.calibrate.reference import REFERENCE_DRAFT, REFERENCE_TARGET

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
DEVICES = ("auto", "cpu", "cuda", "spread")  # spread: the target over all GPUs
HUB_SECONDS = 2.0
PROBE_TEXT = "The quick brown fox; 12 + 34 = 46?\n\tdef f(x):  return x**2  # naïve\n"


class UnusedWeights(UserWarning):
    """Warns that the files of a model hold weights that the model has not."""


@dataclass
class Workspace:
    """KV memory and captured rounds, which decoders keep from one request to the next.

    Attributes
    ----------
    capacity : int
        Minimal number of tokens of the next KV memory. Set it to the length of the longest request
        if that is known in advance: allocating a larger memory later invalidates all graphs.
    rounds : dict
        Captured rounds by draft length and temperature.
    """

    capacity: int = 0
    rounds: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A target and a draft on one device.

    Attributes
    ----------
    vocabulary : int
        Token ids below this number exist in both models; logits of padding rows above it are cut
        off.
    stop_ids : frozenset of int
        Tokens that end an output.
    context : int
        Tokens that both models can attend to.
    target_engine, draft_engine : Engine
        Engines that run the models.
    graphs : Capturing or None
        Captures rounds; if None, rounds run operation by operation.
    workspace : Workspace
        Memory that decoders keep from one request to the next.

    Examples
    --------
    >>> from lapsd.calibrate import load_pair
    >>> pair = load_pair("reference", "reference", device="cpu")
    >>> pair.weights, pair.context
    ('reference', 1024)
    """

    target: Any
    draft: Any
    tokenizer: Any
    target_name: str
    draft_name: str
    vocabulary: int
    stop_ids: frozenset[int]
    context: int
    device: torch.device
    dtype: str
    target_engine: Engine
    draft_engine: Engine
    graphs: Capturing | None = field(default=None, repr=False, compare=False)
    workspace: Workspace = field(default_factory=lambda: Workspace(), repr=False, compare=False)

    @property
    def lean(self) -> bool:
        """Whether both models use the lean engine, whose rounds can stay on the device."""
        return all(isinstance(e, LeanEngine) for e in (self.target_engine, self.draft_engine))

    @property
    def weights(self) -> str:
        """`reference` for the bundled pair, `random` for random weights, else `pretrained`."""
        if self.tokenizer is None:
            return "random"
        return "reference" if self.target_name == self.draft_name == "reference" else "pretrained"


def choose_device(name: str) -> torch.device:
    """Return the device by name; `auto` is the GPU if there is one, else the CPU.

    Raises
    ------
    ValueError
        If the name is unknown or there is no such device.
    """
    if name not in DEVICES:
        raise ValueError(f"device={name!r}: must be {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")
    if name in ("cuda", "spread") and not torch.cuda.is_available():
        raise ValueError(f"device {name}: torch sees no CUDA device here")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # cuDNN's attention prepares a new plan for every shape, and each context is a new shape;
    # no serving engine would spend this time
    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cuda")


def load_pair(
    target: str, draft: str, *, device: str = "auto", dtype: str = "auto", engine: str = "auto"
) -> Pair:
    """Load both models for inference, and check that they are compatible.

    Parameters
    ----------
    target, draft : str
        `reference`, a folder, or a name on the model hub.
    device : str
        One of `DEVICES`.
    dtype : str
        One of `DTYPES`, or `auto`: float32 on the CPU, bfloat16 on a GPU.
    engine : str
        `hf`, `lean`, or `auto` (`lapsd.calibrate.models.engine.choose_engine`).

    Raises
    ------
    ValueError
        If a folder does not exist or holds no safetensors, the hub cannot be reached, or the
        vocabularies differ. The message names the model.

    Examples
    --------
    >>> from lapsd.calibrate import load_pair
    >>> pair = load_pair("reference", "reference", device="cpu")
    >>> pair.dtype
    'float32'
    """
    place, dtype = choose_device(device), _dtype(dtype, device)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    target_folder, draft_folder = locate_pair(target, draft)
    tokenizer, draft_tokenizer = _tokenizer(target_folder, target), _tokenizer(draft_folder, draft)
    vocabulary = _shared_vocabulary(tokenizer, draft_tokenizer, target, draft)
    models = [
        _model(target_folder, target, DTYPES[dtype], place, spread=device == "spread"),
        _model(draft_folder, draft, DTYPES[dtype], place),
    ]
    for model, name in zip(models, (target, draft), strict=True):
        if model.config.vocab_size < vocabulary:
            raise ValueError(
                f"model {name}: its vocabulary of {model.config.vocab_size} is smaller than the "
                f"tokenizer's {vocabulary}"
            )
    return _pair(
        models,
        (target, draft),
        tokenizer,
        vocabulary,
        _stop_ids(models[0], tokenizer),
        place,
        dtype,
        engine,
    )


def random_pair(
    shapes: str, *, device: str = "auto", dtype: str = "auto", engine: str = "auto"
) -> Pair:
    """Return a pair with random weights, created on the device; for timing only.

    Parameters
    ----------
    shapes : str
        `target+draft`, each a name in `lapsd.calibrate.models.shapes.SHAPES` or the path of a
        config.json.
    device, dtype, engine : str
        As in `load_pair`.

    Raises
    ------
    ValueError
        If a shape is unknown, cannot be rolled back, does not fit into memory, or gives logits that
        are not finite.

    Examples
    --------
    >>> from lapsd.calibrate import random_pair
    >>> random_pair("tiny-target+tiny-draft", device="cpu").weights
    'random'
    """
    place, dtype = choose_device(device), _dtype(dtype, device)
    names = pair_of_shapes(shapes)
    configs = [config_of(name) for name in names]
    models = []
    for config, name in zip(configs, names, strict=True):
        _check_cache(config, name)
        with _memory_known(name), torch.device(place):
            # not with `to_empty`, which would leave the rotary tables uninitialised
            models.append(AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype]).eval())
    vocabulary = min(c.vocab_size for c in configs)
    return _pair(models, names, None, vocabulary, frozenset(), place, dtype, engine)


def _pair(
    models: list[Any],
    names: tuple[str, str],
    tokenizer: Any,
    vocabulary: int,
    stop_ids: frozenset[int],
    device: torch.device,
    dtype: str,
    engine: str,
) -> Pair:
    engines = []
    for model, name in zip(models, names, strict=True):
        with _memory_known(name):
            if not logits_are_finite(model, vocabulary):
                raise ValueError(
                    f"model {name}: its logits are not finite in {dtype} (try another --dtype)"
                )
            engines.append(choose_engine(model, vocabulary, engine))
    capturable = all(isinstance(e, LeanEngine) and not e.operators.waits for e in engines)
    return Pair(
        target=models[0],
        draft=models[1],
        tokenizer=tokenizer,
        target_name=names[0],
        draft_name=names[1],
        vocabulary=vocabulary,
        stop_ids=stop_ids,
        context=min(getattr(m.config, "max_position_embeddings", 10**6) for m in models),
        device=device,
        dtype=dtype,
        target_engine=engines[0],
        draft_engine=engines[1],
        graphs=graphs_of(device) if capturable else None,
    )


def _dtype(name: str, device: str) -> str:
    if name == "auto":
        return "float32" if choose_device(device).type == "cpu" else "bfloat16"
    if name not in DTYPES:
        raise ValueError(f"dtype={name!r}: must be auto, {', '.join(DTYPES)}")
    return name


@contextmanager
def _memory_known(name: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(f"model {name}: does not fit into the GPU's memory") from error


def load_tokenizer(target: str) -> Any:
    """Return the tokenizer of a target: `reference`, a folder, or a name on the model hub.

    Raises
    ------
    ValueError
        In the same cases as `load_pair`.
    """
    transformers_logging.set_verbosity_error()
    return _tokenizer(_locate(target, REFERENCE_TARGET), target)


def locate_pair(target: str, draft: str) -> tuple[str, str]:
    """Return the folders or hub names of both models, after quick checks without loading them.

    Raises
    ------
    ValueError
        If a folder does not exist or holds no model, or a name is not cached and the hub cannot be
        reached.
    """
    return _locate(target, REFERENCE_TARGET), _locate(draft, REFERENCE_DRAFT)


def _locate(name: str, reference: Path) -> str:
    folder = reference if name == "reference" else Path(name).expanduser()
    if folder.is_dir() or name.startswith((".", "/", "~")) or name == "reference":
        if not folder.is_dir():
            raise ValueError(f"model folder {folder}: no such folder")
        if not (folder / "config.json").is_file():
            raise ValueError(f"model folder {folder}: holds no config.json")
        if not any(folder.glob("*.safetensors")):
            raise ValueError(
                f"model folder {folder}: holds no .safetensors file (other formats are never"
                " loaded)"
            )
        return str(folder)
    _reach_hub(name)
    return name


def _reach_hub(name: str) -> None:
    """Raise an error if a model is not cached and the hub cannot be reached.

    The library itself would fail only after its retries.
    """
    import huggingface_hub as hub

    try:
        hub.snapshot_download(name, local_files_only=True, allow_patterns=["config.json"])
        return
    except Exception:  # not cached; the type of the error depends on the library's version
        pass
    host = urlsplit(hub.constants.ENDPOINT).hostname or ""
    reachable = _within(
        HUB_SECONDS, lambda: socket.create_connection((host, 443), timeout=HUB_SECONDS).close()
    )
    if not reachable:
        raise ValueError(f"model {name}: no such folder, and the model hub cannot be reached")


def _within(seconds: float, action: Callable[[], object]) -> bool:
    """Return whether `action` succeeds in time. A name look-up that hangs is abandoned."""
    import threading

    done: list[bool] = []

    def attempt() -> None:
        try:
            action()
            done.append(True)
        except OSError:
            done.append(False)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return done == [True]


def _loaded(what: str, name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"model {name}: its {what} cannot be loaded ({reason})") from error
    except Exception as error:
        # safetensors and tokenizers raise their own exceptions for corrupt files
        if type(error).__module__.split(".")[0] not in (
            "safetensors",
            "safetensors_rust",
            "tokenizers",
            "builtins",
        ):
            raise
        raise ValueError(f"model {name}: its {what} cannot be loaded ({error})") from error


def _tokenizer(folder: str, name: str) -> Any:
    return _loaded(
        "tokenizer", name, lambda: AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    )


def _model(
    folder: str, name: str, dtype: torch.dtype, device: torch.device, spread: bool = False
) -> Any:
    config = _loaded(
        "configuration", name, lambda: AutoConfig.from_pretrained(folder, trust_remote_code=False)
    )
    _check_cache(config, name)
    model, loading = _loaded(
        "weights",
        name,
        lambda: AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            device_map="auto" if spread else None,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        ),
    )
    _check_weights(loading, name)
    with _memory_known(name):
        return model.eval() if spread else model.to(device).eval()


def _check_weights(loading: Mapping[str, Any], name: str) -> None:
    """Check that the files hold all weights; the library would use random ones in their place."""
    for key, shape, wanted in sorted(loading["mismatched_keys"]):
        raise ValueError(
            f"model {name}: its weight {key} has the shape {tuple(shape)}, and its config.json says"
            f" {tuple(wanted)}"
        )
    if missing := sorted(loading["missing_keys"]):
        raise ValueError(
            f"model {name}: its files lack {len(missing)} weights that its config.json says it has,"
            f" such as {missing[0]}"
        )
    if unused := sorted(loading["unexpected_keys"]):
        warnings.warn(
            f"model {name}: {len(unused)} weights in its files are not used, as its config.json"
            f" says, such as {unused[0]}",
            UnusedWeights,
            stacklevel=2,
        )


def _check_cache(config: Any, name: str) -> None:
    if unsupported := unsupported_layers(config):
        raise ValueError(
            f"model {name}: its caches ({', '.join(unsupported)}) cannot be rolled back by token"
        )


def _shared_vocabulary(tokenizer: Any, draft_tokenizer: Any, target: str, draft: str) -> int:
    """Return the number of token ids, or raise an error if the tokenizers differ."""
    ours, theirs = tokenizer.get_vocab(), draft_tokenizer.get_vocab()
    if ours != theirs:
        different = len(ours.items() ^ theirs.items())
        raise ValueError(
            f"draft {draft}: its vocabulary ({len(theirs)} tokens) differs from that of {target}"
            f" ({len(ours)}) in {different} entries"
        )
    for special in ("bos_token_id", "eos_token_id", "unk_token_id"):
        a, b = getattr(tokenizer, special, None), getattr(draft_tokenizer, special, None)
        if a != b:
            raise ValueError(f"draft {draft}: its {special} is {b}, that of {target} is {a}")
    if tokenizer(PROBE_TEXT)["input_ids"] != draft_tokenizer(PROBE_TEXT)["input_ids"]:
        raise ValueError(
            f"draft {draft}: its tokenizer splits a text into other tokens than that of {target}"
        )
    return max(ours.values()) + 1


def _stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the end-of-sequence ids of the generation configuration, or else the tokenizer's."""
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    if ids is None:
        return frozenset()
    return frozenset(ids) if isinstance(ids, list | tuple) else frozenset({int(ids)})
