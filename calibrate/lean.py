"""A lean forward for LLaMA-like models: the same arithmetic, a fraction of the overhead.

At batch 1 and a few tokens a pass, a small model's time is mostly spent between its operations. Here a layer is
about ten of them: query, key and value from one product, gate and up from another, grouped-query heads without
copies of the keys (the heads of a group become rows of one product), keys and values in one buffer per layer.
The weights are taken over from the Hugging Face module, which keeps views of them. Only on the CPU, in float32, is
a small model's weight stored a second time, in oneDNN's own order: a pass over a few tokens then takes half as long.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def is_llama_like(model: Any) -> bool:
    """Whether the model is a stack of the layers that this module reproduces."""
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
    """The modules' weights (and biases) under each other in one tensor, of which they keep views."""
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


_onednn: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # None in a torch built without it


class Product:
    """x -> x Wᵀ + b for a few rows of x; `weight` is (outputs, inputs).

    Above `SMALL` weights, or for more than one row, oneDNN's packed weights are faster than the library's default
    (measured on 2 cores at widths 1 to 256: 0.3 to 0.9 of its time); below, the call itself costs more.
    """

    SMALL = 300_000
    PADDED = 16  # more rows than it and one are padded to a multiple of it
    TYPICAL_ROWS = 5  # what the packing is optimised for; it serves any number

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, pack: bool = False) -> None:
        self.weight, self.bias = weight, bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, self.TYPICAL_ROWS) if pack else None

    def __call__(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """The product, and `added` to it where given."""
        if added is not None and self._packed is None and self.bias is None:
            return torch.addmm(added, x, self.weight.t())
        if self._packed is None or (x.shape[0] == 1 and self.weight.numel() < self.SMALL):
            product = functional.linear(x, self.weight, self.bias)
            return product if added is None else product + added
        rows = x.shape[0]
        if rows > self.PADDED + 1 and rows % self.PADDED:
            # oneDNN compiles a kernel for every number of rows: prompts of any length shall share a few
            padded = functional.pad(x, (0, 0, 0, -rows % self.PADDED))
            product = _onednn(padded, self._packed, self.bias, "none", [], "")[:rows]
            return product if added is None else product + added
        if added is None:
            return _onednn(x, self._packed, self.bias, "none", [], "")
        return _onednn.binary(x, added, self._packed, self.bias, "add")


PACKED_BYTES = 2 * 1024**3  # models above it are not stored a second time


def _packs(model: Any) -> bool:
    """Whether the model's products run from packed weights."""
    parameters = list(model.parameters())
    return (
        all(p.device.type == "cpu" and p.dtype == torch.float32 for p in parameters)
        and sum(p.numel() * p.element_size() for p in parameters) <= PACKED_BYTES
        and torch.backends.mkldnn.is_available()
        and _onednn is not None
    )


@dataclass(frozen=True)
class Layer:
    """A layer's weights."""

    norm_1: Tensor
    qkv: Product
    out: Product
    norm_2: Tensor
    gate_up: Product
    down: Product


class LeanEngine:
    """A LLaMA-like model ready to run sequences."""

    name = "lean"

    def __init__(self, model: Any, vocabulary: int) -> None:
        config = model.config
        self.vocabulary = vocabulary
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.epsilon = config.rms_norm_eps
        self.embedding: Tensor = model.model.embed_tokens.weight.data
        self.norm: Tensor = model.model.norm.weight.data
        pack = _packs(model)
        self.head = Product(model.lm_head.weight.data[:vocabulary], pack=pack)
        self.layers = [self._layer(layer, pack) for layer in model.model.layers]
        positions = torch.arange(config.max_position_embeddings, device=self.embedding.device)[None]
        with torch.inference_mode():
            cos, sin = model.model.rotary_emb(self.embedding[:1, None], positions)
        self.cos = cos[0].clone()  # (positions, size)
        self.signed_sin = torch.cat([-sin[0, :, : self.size // 2], sin[0, :, self.size // 2 :]], dim=-1)

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

    def sequence(self, capacity: int) -> "LeanSequence":
        return LeanSequence(self, capacity)


class LeanSequence:
    """A sequence of a `LeanEngine`. Shapes: w new tokens, L tokens in all, G heads a group, D a head's size."""

    def __init__(self, engine: LeanEngine, capacity: int) -> None:
        self._engine = engine
        shape = (len(engine.layers), 2, engine.kv_heads, capacity, engine.size)
        self._buffer = torch.empty(shape, dtype=engine.embedding.dtype, device=engine.embedding.device)
        self.length = 0

    def forward(self, tokens: list[int]) -> Tensor:
        return self._engine.head(norm(self._layers(tokens), self._engine.norm, self._engine.epsilon))

    def extend(self, tokens: list[int]) -> None:
        self._layers(tokens)

    def _layers(self, tokens: list[int]) -> Tensor:
        """Append `tokens`; the last layer's output, (w, H)."""
        engine, width, start = self._engine, len(tokens), self.length
        end = start + width
        assert end <= self._buffer.shape[3], f"{end} tokens in a KV cache of {self._buffer.shape[3]}"
        x = functional.embedding(torch.tensor(tokens, device=engine.embedding.device), engine.embedding)  # (w, H)
        cos, sin = engine.cos[start:end, None], engine.signed_sin[start:end, None]  # (w, 1, D)
        mask = self._mask(width, start)
        for layer, (keys, values) in zip(engine.layers, self._buffer, strict=True):
            x = self._attention(layer, x, keys, values, cos, sin, mask)
            hidden = norm(x, layer.norm_2, engine.epsilon)
            gate, up = layer.gate_up(hidden).chunk(2, dim=-1)
            x = layer.down(functional.silu(gate) * up, x)
        self.length = end
        return x

    def _mask(self, width: int, start: int) -> Tensor | None:
        """What each query row may attend to, (G·w, L); None where it may attend to all."""
        if width == 1:
            return None
        engine = self._engine
        allowed = torch.ones(width, start + width, dtype=torch.bool, device=engine.embedding.device).tril(start)
        return allowed.repeat(engine.heads // engine.kv_heads, 1)

    def _attention(
        self, layer: Layer, x: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None
    ) -> Tensor:
        engine, width, start = self._engine, x.shape[0], self.length
        heads, kv_heads, size = engine.heads, engine.kv_heads, engine.size
        hidden = norm(x, layer.norm_1, engine.epsilon)
        qkv = layer.qkv(hidden).view(width, heads + 2 * kv_heads, size)
        rotated = rotate_(qkv[:, : heads + kv_heads], cos, sin)
        keys[:, start : start + width] = rotated[:, heads:].transpose(0, 1)
        values[:, start : start + width] = qkv[:, heads + kv_heads :].transpose(0, 1)
        # the G heads that share keys become G·w rows of one product: no key is copied
        grouped = (
            rotated[:, :heads].reshape(width, kv_heads, -1, size).permute(1, 2, 0, 3).reshape(kv_heads, -1, size)
        )
        attended = functional.scaled_dot_product_attention(
            grouped[None],
            keys[None, :, : start + width],
            values[None, :, : start + width],
            attn_mask=mask,
            scale=1 / math.sqrt(size),
        )[0]
        attended = attended.view(kv_heads, -1, width, size).permute(2, 0, 1, 3).reshape(width, heads * size)
        return layer.out(attended, x)

    def rollback(self, length: int) -> None:
        self.length = min(self.length, length)

    def key_values(self) -> list[Tensor]:
        return [self._buffer[:, :, :, : self.length]]


def norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm over the last dimension."""
    if x.dtype == torch.float64:
        # transformers' own norm works in float32 whatever the model's type: we must give the very same logits
        low = x.float()
        return weight * (low * torch.rsqrt(low.pow(2).mean(-1, keepdim=True) + epsilon)).to(x.dtype)
    if x.device.type == "cpu" and x.dtype == torch.float32:
        # the library's norm is many small operations here; a few rows take half the time like this
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * (length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()) * weight
    return functional.rms_norm(x, x.shape[-1:], weight, epsilon)


def rotate_(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Rotary position embedding of (w, heads, D) by (w, 1, D), in place: x·cos + (halves of x swapped)·signed_sin."""
    swapped = x.roll(x.shape[-1] // 2, -1)
    return x.mul_(cos).addcmul_(swapped, signed_sin)
