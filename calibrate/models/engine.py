"""Running one model over one sequence: the two engines, and the choice between them.

An engine makes sequences; a sequence holds the keys and values of the tokens it has seen, takes
more, and rolls back by position. `HFEngine` runs any causal LM of transformers through its own
forward; `LeanEngine` (`lapsd.calibrate.models.lean`) runs LLaMA-like ones several times faster.
Knows nothing of drafts or sampling.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from lapsd.calibrate.models.cache import buffer_cache, rollback
from lapsd.calibrate.models.lean import LeanEngine, is_llama_like


class Sequence(Protocol):
    """Tokens seen so far, and their keys and values."""

    length: int

    def forward(self, tokens: list[int]) -> Tensor:
        """Append `tokens`; logits after each of them, (len(tokens), vocabulary)."""
        ...

    def extend(self, tokens: list[int]) -> None:
        """Append `tokens`, without their logits."""
        ...

    def rollback(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        ...

    def key_values(self) -> list[Tensor]:
        """The cached keys and values, layer by layer."""
        ...


class Engine(Protocol):
    """A model ready to run sequences. `name` is what a profile says of it."""

    name: str

    def sequence(self, capacity: int) -> Sequence:
        """An empty sequence of up to `capacity` tokens."""
        ...


class HFEngine:
    """A causal LM through transformers' own forward, with our cache."""

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


PROBE_TOKENS = 80  # more than a kernel reads at a time
NOISE, ROUNDINGS = 4, 8


def _probe(model: Any, vocabulary: int) -> list[int]:
    tokens = min(PROBE_TOKENS, getattr(model.config, "max_position_embeddings", PROBE_TOKENS))
    return [(7919 * i + 11) % vocabulary for i in range(tokens)]


@torch.inference_mode()
def logits_are_finite(model: Any, vocabulary: int) -> bool:
    """Whether a model's own forward gives numbers for a probe."""
    probe = torch.tensor([_probe(model, vocabulary)], device=model.device)
    return bool(
        torch.isfinite(model(input_ids=probe, use_cache=False).logits[..., :vocabulary]).all()
    )


@torch.inference_mode()
def agrees(lean: Engine, reference: "HFEngine") -> bool:
    """Whether two engines give the same logits on a probe, as far as the model's type can tell.

    ‖a − b‖ may be `NOISE` times what the reference's own logits differ by between one pass over the
    probe and two, and `ROUNDINGS` roundings of ‖b‖ at least.
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
    """The engine for a model: `hf`, `lean`, or `auto`: lean where it applies and gives the same
    logits.

    Raises
    ------
    ValueError
        If `lean` is asked for and does not apply, or the name is unknown.
    """
    if name not in ("auto", "lean", "hf"):
        raise ValueError(f"engine {name!r}: must be auto, lean or hf")
    own = HFEngine(model, vocabulary)
    if name == "hf":
        return own
    if is_llama_like(model):
        lean = LeanEngine(model, vocabulary)
        if agrees(lean, own):
            return lean
    if name == "lean":
        raise ValueError(
            f"engine lean: a {model.config.model_type} model is not one that it reproduces"
        )
    return own
