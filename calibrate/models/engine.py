"""The two engines, which run one model over one sequence, and the choice between them.

An engine makes sequences. A sequence holds the keys and values of its tokens, accepts more tokens,
and rolls back by position. `HFEngine` runs any causal language model of transformers with its own
forward pass. `LeanEngine` (`lapsd.calibrate.models.lean`) runs LLaMA-like models several times
faster. This module knows nothing about drafts or sampling.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from lapsd.calibrate.models.cache import buffer_cache, rollback
from lapsd.calibrate.models.lean import LeanEngine, is_llama_like


class Sequence(Protocol):
    """A sequence of `length` tokens with their keys and values."""

    length: int

    def forward(self, tokens: list[int]) -> Tensor:
        """Append `tokens`, and return the logits after each of them, (len(tokens), vocabulary)."""
        ...

    def extend(self, tokens: list[int]) -> None:
        """Append `tokens`, without computing logits."""
        ...

    def rollback(self, length: int) -> None:
        """Keep the first `length` tokens."""
        ...

    def key_values(self) -> list[Tensor]:
        """Return the cached keys and values, layer by layer."""
        ...


class Engine(Protocol):
    """Runs a model. Profiles record its `name`."""

    name: str

    def sequence(self, capacity: int) -> Sequence:
        """Return an empty sequence of up to `capacity` tokens."""
        ...


class HFEngine:
    """Runs any causal language model with its own forward pass and a `buffer_cache`."""

    name = "hf"

    def __init__(self, model: Any, vocabulary: int) -> None:
        self.model, self.vocabulary = model, vocabulary

    def sequence(self, capacity: int) -> "HFSequence":
        return HFSequence(self.model, self.vocabulary, capacity)


class HFSequence:
    """A sequence of an `HFEngine`."""

    def __init__(self, model: Any, vocabulary: int, capacity: int) -> None:
        self._model, self._vocabulary = model, vocabulary
        self.cache = buffer_cache(model.config, capacity)
        self.length = 0

    def forward(self, tokens: list[int]) -> Tensor:
        ids = torch.tensor([tokens], device=self._model.device)
        out = self._model(input_ids=ids, past_key_values=self.cache, use_cache=True)
        self.length += len(tokens)
        logits: Tensor = out.logits[0, :, : self._vocabulary]
        return logits

    def extend(self, tokens: list[int]) -> None:
        ids = torch.tensor([tokens], device=self._model.device)
        self._model.base_model(input_ids=ids, past_key_values=self.cache, use_cache=True)
        self.length += len(tokens)

    def rollback(self, length: int) -> None:
        if length < self.length:
            rollback(self.cache, length)
            self.length = length

    def key_values(self) -> list[Tensor]:
        return [t for layer in self.cache.layers for t in (layer.keys, layer.values)]


PROBE_TOKENS = 80  # more than a kernel reads at once
NOISE, ROUNDINGS = 4, 8


def _probe(model: Any, vocabulary: int) -> list[int]:
    tokens = min(PROBE_TOKENS, getattr(model.config, "max_position_embeddings", PROBE_TOKENS))
    return [(7919 * i + 11) % vocabulary for i in range(tokens)]


@torch.inference_mode()
def logits_are_finite(model: Any, vocabulary: int) -> bool:
    """Return whether all logits of a model are finite on a fixed test sequence."""
    probe = torch.tensor([_probe(model, vocabulary)], device=model.device)
    return bool(
        torch.isfinite(model(input_ids=probe, use_cache=False).logits[..., :vocabulary]).all()
    )


@torch.inference_mode()
def agrees(lean: Engine, reference: "HFEngine") -> bool:
    """Return whether two engines give the same logits on a test sequence, up to rounding.

    The tolerance for ‖a − b‖ is `NOISE` times the difference between the reference's own logits
    when it processes the sequence in one pass and in two, and at least `ROUNDINGS` roundings of
    ‖b‖.
    """
    probe = _probe(reference.model, reference.vocabulary)
    ours, theirs = (engine.sequence(len(probe)) for engine in (lean, reference))
    ours.forward(probe[:-2])
    theirs.forward(probe[:-2])
    a, b = ours.forward(probe[-2:]).double(), theirs.forward(probe[-2:])
    roundings = ROUNDINGS * torch.finfo(b.dtype).eps
    b, whole = b.double(), reference.sequence(len(probe)).forward(probe)[-2:].double()
    tolerance = max(NOISE * float((b - whole).norm()), roundings * float(b.norm()))
    return bool(torch.isfinite(b).all()) and float((a - b).norm()) <= tolerance


def choose_engine(model: Any, vocabulary: int, name: str = "auto") -> Engine:
    """Return the engine for a model.

    Parameters
    ----------
    model : PreTrainedModel
    vocabulary : int
    name : str
        `hf`, `lean`, or `auto`: the lean engine if it supports the model and gives the same
        logits, else `hf`.

    Raises
    ------
    ValueError
        If the name is unknown, or if it is `lean` and the lean engine does not support the model.
    """
    if name not in ("auto", "lean", "hf"):
        raise ValueError(f"engine={name!r}: must be auto, lean or hf")
    own = HFEngine(model, vocabulary)
    if name == "hf":
        return own
    if is_llama_like(model):
        lean = LeanEngine(model, vocabulary)
        if agrees(lean, own):
            return lean
    if name == "lean":
        raise ValueError(f"engine lean: does not support this {model.config.model_type} model")
    return own
