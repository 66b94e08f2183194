"""A forward pass of LLaMA-like models with the same arithmetic and a fraction of the overhead.

At batch size 1 and with a few tokens per pass, a small model spends most of its time between
operations. Here a layer has ten operations: one product gives query, key and value, another gives
gate and up, and the operators of `lapsd.calibrate.models.operators` run between the products. The
engine takes over the weights of the Hugging Face module, which keeps views of them. Only on the CPU
in float32, the weights of a small model are stored a second time, in the memory layout of oneDNN;
a pass over a few tokens then takes half as long. This module knows nothing about drafts.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lapsd.calibrate.models.kernels import operators
from lapsd.calibrate.models.operators import attend_from_start
from lapsd.calibrate.models.products import Product, packs


def is_llama_like(model: Any) -> bool:
    """Return whether the model consists of the layers that this module supports."""
    config = model.config
    try:
        layers = model.model.layers
        expected = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
        return (
            config.model_type in ("llama", "mistral", "qwen2")
            and config.hidden_act == "silu"
            and getattr(config, "pretraining_tp", 1) == 1
            and all({name for name, _ in layer.named_children()} == expected for layer in layers)
            and len({str(p.device) for p in model.parameters()}) == 1
        )
    except AttributeError:
        return False


def _fused(modules: list[Any]) -> tuple[Tensor, Tensor | None]:
    """Concatenate the weights (and biases) of the modules, which then keep views of the result."""
    if len(modules) == 1:
        return modules[0].weight.data, None if modules[0].bias is None else modules[0].bias.data
    weight = torch.cat([m.weight.data for m in modules])
    bias = None if modules[0].bias is None else torch.cat([m.bias.data for m in modules])
    start = 0
    for module in modules:
        end = start + module.weight.shape[0]
        module.weight.data = weight[start:end]
        if bias is not None:
            module.bias.data = bias[start:end]
        start = end
    return weight, bias


@dataclass(frozen=True)
class Layer:
    """The weights of a layer."""

    norm_1: Tensor
    qkv: Product
    out: Product
    norm_2: Tensor
    gate_up: Product
    down: Product


class LeanEngine:
    """Runs a LLaMA-like model.

    Shapes: B rows with w new tokens each; C slots of a cache.
    """

    name = "lean"

    def __init__(self, model: Any, vocabulary: int) -> None:
        config = model.config
        self.vocabulary = vocabulary
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.epsilon = config.rms_norm_eps
        weight = model.model.norm.weight
        self.operators = operators(weight.device, weight.dtype)
        self.embedding: Tensor = model.model.embed_tokens.weight.data
        self.norm: Tensor = model.model.norm.weight.data
        pack = packs(model)
        # with the padding rows, if any: products with an odd number of rows are slow on a GPU
        self.head = Product(model.lm_head.weight.data, pack=pack)
        self.layers = [self._layer(layer, pack) for layer in model.model.layers]
        positions = torch.arange(config.max_position_embeddings, device=self.device)[None]
        with torch.inference_mode():
            cos, sin = model.model.rotary_emb(self.embedding[:1, None], positions)
        self.cos = cos[0].clone()  # (positions, size)
        self.signed_sin = torch.cat(
            [-sin[0, :, : self.size // 2], sin[0, :, self.size // 2 :]], dim=-1
        )

    @staticmethod
    def _layer(module: Any, pack: bool) -> Layer:
        attention, mlp = module.self_attn, module.mlp
        return Layer(
            norm_1=module.input_layernorm.weight.data,
            qkv=Product(*_fused([attention.q_proj, attention.k_proj, attention.v_proj]), pack=pack),
            out=Product(*_fused([attention.o_proj]), pack=pack),
            norm_2=module.post_attention_layernorm.weight.data,
            gate_up=Product(*_fused([mlp.gate_proj, mlp.up_proj]), pack=pack),
            down=Product(*_fused([mlp.down_proj]), pack=pack),
        )

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    def new_cache(self, rows: int, capacity: int) -> Tensor:
        """Return uninitialised KV memory, (layers, 2, rows, kv heads, capacity, size)."""
        shape = (len(self.layers), 2, rows, self.kv_heads, capacity, self.size)
        return torch.empty(shape, dtype=self.embedding.dtype, device=self.device)

    def run(
        self,
        tokens: Tensor,
        positions: Tensor,
        cache: Tensor,
        splits: int = 1,
        places: Tensor | None = None,
        *,
        start: bool = False,
    ) -> Tensor:
        """Append `tokens`, and return the output of the last layer, (B·w, hidden size).

        Parameters
        ----------
        tokens : Tensor
            (B, w).
        positions : Tensor
            (B,): slot of the first new token of each row.
        cache : Tensor
            (layers, 2, B, kv heads, C, size); with `places` it may have more rows.
        splits : int
            Number of parts into which attention splits the keys.
        places : Tensor, optional
            (B,): row of the cache for each row of the batch. By default row i has row i.
        start : bool
            Whether all rows start at slot 0, as prompts do. Torch has attention kernels for this
            case.
        """
        run, where = self.operators, () if places is None else (places,)
        rows, width = tokens.shape
        x = functional.embedding(tokens, self.embedding).view(rows * width, -1)
        for layer, held in zip(self.layers, cache, strict=True):
            hidden = run.norm(x, layer.norm_1, self.epsilon)
            qkv = layer.qkv(hidden).view(rows, width, -1, self.size)
            run.rotate_and_store(qkv, self.cos, self.signed_sin, positions, held, *where)
            if start:
                mixed = attend_from_start(qkv, held[:, :, :, :width])
            else:
                mixed = run.attend(qkv, held, positions, splits, *where)
            x = layer.out(mixed.view(rows * width, -1), x)
            hidden = run.norm(x, layer.norm_2, self.epsilon)
            x = layer.down(run.silu_multiply(layer.gate_up(hidden)), x)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (tokens, vocabulary) for an output of the last layer."""
        return self.head(self.operators.norm(x, self.norm, self.epsilon))[:, : self.vocabulary]

    def sequence(self, capacity: int) -> "LeanSequence":
        return LeanSequence(self, capacity)


class LeanBatch:
    """B sequences of a `LeanEngine`, with a cache of C slots each.

    Parameters
    ----------
    engine : LeanEngine
    rows : int
        Number of sequences B.
    capacity : int
        Slots C of each sequence.
    cache : Tensor, optional
        KV memory to use, at least as large as needed; only its first slots, and without `places`
        its first rows, are used. By default it is allocated.
    splits : int, optional
        Number of parts into which attention splits the keys. By default it is the number that keeps
        the device busy (`Operators.splits`).
    places : Tensor, optional
        (B,): row of `cache` that holds each sequence, read at each pass. By default sequence i has
        row i.
    """

    def __init__(
        self,
        engine: LeanEngine,
        rows: int,
        capacity: int,
        cache: Tensor | None = None,
        splits: int | None = None,
        places: Tensor | None = None,
    ) -> None:
        self._engine, self._places = engine, places
        cache = engine.new_cache(rows, capacity) if cache is None else cache
        self.cache = cache[:, :, : rows if places is None else None, :, :capacity]
        self.splits = (
            engine.operators.splits(rows, engine.kv_heads, capacity) if splits is None else splits
        )
        self._zeros = torch.zeros(rows, dtype=torch.int64, device=engine.device)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self._engine.run(tokens, positions, self.cache, self.splits, self._places)
        return self._engine.logits(x).view(*tokens.shape, -1)

    def prefill(self, tokens: Tensor) -> None:
        assert self._places is None, "prompts cannot be written with `places`"
        self._engine.run(tokens, self._zeros, self.cache, start=True)

    def key_values(self) -> Tensor:
        return self.cache


class LeanSequence:
    """One sequence of a `LeanEngine`; its length is known on the host."""

    def __init__(self, engine: LeanEngine, capacity: int) -> None:
        self._engine = engine
        self._cache = engine.new_cache(1, capacity)
        self._splits = engine.operators.splits(1, engine.kv_heads, capacity)
        self.length = 0

    def forward(self, tokens: list[int]) -> Tensor:
        return self._engine.logits(self._run(tokens))

    def extend(self, tokens: list[int]) -> None:
        self._run(tokens)

    def _run(self, tokens: list[int]) -> Tensor:
        start, device = self.length, self._engine.device
        self.length += len(tokens)
        capacity = self._cache.shape[4]
        assert self.length <= capacity, f"{self.length} tokens in a KV cache of {capacity}"
        new, position = torch.tensor([tokens], device=device), torch.tensor([start], device=device)
        return self._engine.run(
            new, position, self._cache, self._splits, start=start == 0 and len(tokens) > 1
        )

    def rollback(self, length: int) -> None:
        self.length = min(self.length, length)

    def key_values(self) -> list[Tensor]:
        return [self._cache[:, :, 0, :, : self.length]]
