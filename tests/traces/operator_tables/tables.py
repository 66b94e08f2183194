"""Operator times by formula, in place of the library's tables."""

from lapsd.traces.operator_tables.library import Layers, Memory, OperatorTime
from lapsd.traces.operator_tables.model_times import ModelTimes
from lapsd.traces.operator_tables.shapes import Shape

FLOOR_MS, PER_TOKEN_MS = 4.0, 0.02  # products: flat up to 200 tokens, then linear
KV_MS = 1e-4  # attention per token of context and KV head


class Formula:
    """Products cost max(floor, tokens); attention is linear in contexts. Calls are recorded.

    Parameters
    ----------
    known : measured (query heads, KV heads, head size).
    """

    def __init__(self, known=frozenset({(8, 8, 128), (32, 8, 128)})):
        self.attention_shapes = {"GenerationAttention": known, "ContextAttention": known}
        self.calls = []

    def times(self, operators, *, prompt, requests, tokens, context, held=0):
        self.calls.append((operators, prompt, requests, tokens, context, held))
        return [self._time(o, prompt, requests, tokens, context, held) for o in operators]

    def _time(self, operator, prompt, requests, tokens, context, held):
        ((kind, fields),) = operator.items()
        if kind == "Gemm":
            scale = fields["n"] / 1_000
            ms = scale * max(FLOOR_MS, PER_TOKEN_MS * tokens)
        elif prompt:
            ms = KV_MS * requests * fields["n_kv"] * (0.001 * context * (context + held))
        else:
            ms = 0.5 + KV_MS * requests * fields["n_kv"] * context
        return OperatorTime(fields["name"], ms, kind != "Elementwise")


def attention(kind, n, n_kv, size=128):
    fields = {"name": "attention", "n": n, "n_kv": n_kv, "head_size": size}
    return {kind: fields}


def layers(n=8, n_kv=8, size=128, memory=Memory(10**9, 1_000, 10**8)):  # noqa: B008 - immutable
    gemm = {"Gemm": {"name": "gemm", "n": 1_000}}
    logits = {"Gemm": {"name": "logits_gemm", "n": 10}}
    return Layers(
        (gemm, attention("GenerationAttention", n, n_kv, size), logits),
        (gemm, attention("ContextAttention", n, n_kv, size), logits),
        memory,
    )


def model(source=None, **heads):
    shape = Shape("made by hand", {"model_type": "llama"}, {})
    return ModelTimes(source or Formula(), shape, layers(**heads))
