"""Times of a model's passes, as sums of operator times.

A pass that verifies w tokens of each of b requests multiplies b · w tokens by the weights, and
attention reads the cache of each request once, as in a decoding step of b requests. Attention of
several prompts takes as long as that of as many prompts of their root-mean-square length, since its
products grow with the square. Times are float milliseconds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

from lapsd.traces.operator_tables.library import Layers, Operator, OperatorTime
from lapsd.traces.operator_tables.shapes import Shape
from lapsd.traces.provenance.operator_tables import ESTIMATED, MEASURED, RESHAPED

BY_TOKENS = {  # kinds of operators whose time depends on the number of tokens alone
    "Embedding",
    "Elementwise",
    "Gemm",
    "Moe",
    "MoeDispatch",
    "MoeAllToAll",
    "MoeExpertCompute",
    "CustomAllReduce",
    "Nccl",
    "P2P",
    "Overlap",
    "Mhc",
}
ATTENTION = {"GenerationAttention", "ContextAttention"}
HeadShapes = frozenset[tuple[int, int, int]]  # (query heads, KV heads, head size)


class Times(Protocol):
    """Source of operator times: see `library.Library`."""

    @property
    def attention_shapes(self) -> Mapping[str, HeadShapes]: ...

    def times(
        self,
        operators: list[Operator],
        *,
        prompt: bool,
        requests: int,
        tokens: int | None,
        context: int,
        held: int = 0,
    ) -> list[OperatorTime]: ...


class Part(NamedTuple):
    """Share of a pass: an operator's name, its time in milliseconds, and the source of the time."""

    name: str
    ms: float
    source: str


@dataclass(frozen=True)
class Attention:
    """An attention operator in a shape that the tables hold.

    `groups` copies of each request, each with 1 / `groups` of the heads, take its place.
    """

    operator: Operator
    groups: int = 1
    reshaped: bool = False


class ModelTimes:
    """Times of the passes of one model.

    Parameters
    ----------
    source : tables of operator times.
    shape, layers : the model and its operators.
    """

    def __init__(self, source: Times, shape: Shape, layers: Layers) -> None:
        self._source = source
        self.shape, self.memory = shape, layers.memory
        self._decode = _Kinds.of(layers.decode, shape, source.attention_shapes)
        self._prompt = _Kinds.of(layers.prompt, shape, source.attention_shapes)
        self._products = cache(self._products_of)
        self._cached = cache(self._cached_of)
        self._own = cache(self._own_of)

    @property
    def reshaped(self) -> tuple[str, ...]:
        """Sentences on the attention operators that the tables hold in another shape only."""
        parts = (*self._decode.attention, *self._prompt.attention)
        return tuple(dict.fromkeys(_in_words(a) for a in parts if a.reshaped))

    @property
    def linear(self) -> bool:
        """Whether only attention depends on the context, so that widths share its growth."""
        return not self._decode.others

    def verify(self, requests: int, width: int, context: int) -> float:
        """Return the time of a pass over `width` tokens of each of so many requests.

        Parameters
        ----------
        context : tokens of each request before the pass.
        """
        return _total(self.parts(requests, width, context))

    def parts(self, requests: int, width: int, context: int) -> list[Part]:
        """Return the operators of such a pass."""
        tokens = requests * width
        return [
            *self._products(False, tokens, tokens),
            *self._cached(requests, context + 1, tokens),
        ]

    def prompts(
        self, chunks: Sequence[tuple[int, int]], requests: int = 0, width: int = 1, context: int = 0
    ) -> float:
        """Return the time of a pass over prompts and, in the same pass, decoding requests.

        Parameters
        ----------
        chunks : (tokens, tokens held before) of each prompt.
        requests, width, context : decoding requests, the tokens of each in this pass, and before.
        """
        decoded = requests * width
        total = decoded + sum(tokens for tokens, _ in chunks)
        outputs = decoded + len(chunks)
        ms = _total(self._products(True, total, outputs))
        length = round(math.sqrt(sum(tokens**2 for tokens, _ in chunks) / len(chunks)))
        held = round(sum(held for _, held in chunks) / len(chunks))
        ms += _total(self._own(len(chunks), length, held))
        return ms + (_total(self._cached(requests, context + 1, decoded)) if requests else 0.0)

    def prompt_attention(self, tokens: int) -> float:
        """Return the time of what depends on a prompt's own tokens, mainly attention."""
        return _total(self._own(1, tokens, 0))

    def _products_of(self, prompt: bool, tokens: int, outputs: int) -> list[Part]:
        """Return the operators that depend on tokens alone, and the output layer."""
        kinds = self._prompt if prompt else self._decode
        some = ((kinds.products, tokens), (kinds.outputs, outputs))
        return [
            _part(time)
            for operators, count in some
            if operators
            for time in self._source.times(
                operators, prompt=prompt, requests=1, tokens=count, context=count
            )
        ]

    def _cached_of(self, requests: int, context: int, tokens: int) -> list[Part]:
        """Return the operators that read the caches of decoding requests."""
        parts = [
            _part(time, attention)
            for attention in self._decode.attention
            for time in self._source.times(
                [attention.operator],
                prompt=False,
                requests=requests * attention.groups,
                tokens=None,
                context=context,
            )
        ]
        if self._decode.others:  # kernels that join products and attention: by all tokens
            others = self._source.times(
                self._decode.others, prompt=False, requests=tokens, tokens=tokens, context=context
            )
            parts += map(_part, others)
        return parts

    def _own_of(self, prompts: int, tokens: int, held: int) -> list[Part]:
        """Return the operators of equal prompts that depend on the tokens of each prompt."""
        some = [(a.operator, a.groups, a) for a in self._prompt.attention]
        others = [(o, 1, None) for o in self._prompt.others]
        return [
            _part(time, attention)
            for operator, groups, attention in [*some, *others]
            for time in self._source.times(
                [operator],
                prompt=True,
                requests=prompts * groups,
                tokens=None,
                context=tokens,
                held=held,
            )
        ]


@dataclass(frozen=True)
class _Kinds:
    """A model's operators by what their times depend on."""

    products: list[Operator]
    outputs: list[Operator]
    attention: list[Attention]
    others: list[Operator]

    @classmethod
    def of(
        cls, operators: Sequence[Operator], shape: Shape, known: Mapping[str, HeadShapes]
    ) -> "_Kinds":
        made = cls([], [], [], [])
        for operator in operators:
            ((kind, fields),) = operator.items()
            if kind in ATTENTION:
                made.attention.append(_measurable(kind, fields, known[kind]))
            elif kind not in BY_TOKENS:
                made.others.append(operator)
            elif "logits" in fields.get("name", ""):
                made.outputs.append(operator)
            else:
                made.products.append({kind: fields if shape.gated else _without_gate(fields)})
        return made


def _measurable(kind: str, fields: dict[str, Any], known: HeadShapes) -> Attention:
    """Return an attention operator in a measured shape with as many products and bytes.

    The library continues its tables to more KV heads than were measured in proportion to the heads,
    which overestimates small batches: more heads run in parallel, as more requests do. So heads
    beyond the largest measured number become further requests. A head size without
    measurements becomes the nearest measured one, with fewer or more heads.
    """
    if not known:
        return Attention({kind: fields})
    n, n_kv, size = fields["n"], fields["n_kv"], fields["head_size"]
    sizes = [s for _, _, s in known if not (n * size) % s and not (n_kv * size) % s]
    if sizes and size not in {s for _, _, s in known}:
        nearest = min(sizes, key=lambda s: (abs(s - size), s))
        n, n_kv, size = n * size // nearest, n_kv * size // nearest, nearest
    most = max((kv for _, kv, s in known if s == size), default=n_kv)
    groups = next(g for g in range(1, n_kv + 1) if not n_kv % g and not n % g and n_kv // g <= most)
    reshaped = groups > 1 or size != fields["head_size"]
    shape = {"n": n // groups, "n_kv": n_kv // groups, "head_size": size}
    return Attention({kind: fields | shape}, groups, reshaped)


def _without_gate(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a feed-forward operator of a model without gates: one product instead of two."""
    name = fields.get("name", "")
    if name.endswith("gate_ffn1_gemm"):
        return fields | {"n": fields["n"] // 2}
    if name.endswith("act_gate"):  # reads and writes one vector instead of reading two
        return fields | {"bytes_per_token": fields["bytes_per_token"] * 2 / 3}
    return fields


def _part(time: OperatorTime, attention: Attention | None = None) -> Part:
    if not time.measured:
        return Part(time.name, time.ms, ESTIMATED)
    reshaped = attention is not None and attention.reshaped
    return Part(time.name, time.ms, RESHAPED if reshaped else MEASURED)


def _in_words(attention: Attention) -> str:
    ((_, fields),) = attention.operator.items()
    which = f"{fields['n']} query heads, {fields['n_kv']} KV heads of size {fields['head_size']}"
    times = f", {attention.groups} times per request" if attention.groups > 1 else ""
    return f"{fields['name']}: as {which}{times}"


def _total(parts: Sequence[Part]) -> float:
    return sum(part.ms for part in parts)
