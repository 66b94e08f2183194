"""Tests that the Triton kernels give the results of plain torch, in Triton's interpreter.

`test_kernels.py` runs this file in a separate process, because the interpreter must be enabled
before Triton is imported.
"""

import os
from dataclasses import replace

import pytest
import torch

from lapsd.calibrate.decoding.rounds import DeviceRounds
from lapsd.calibrate.models.kernels import disagreement
from lapsd.calibrate.models.operators import PLAIN, Operators

assert os.environ.get("TRITON_INTERPRET") == "1", "set TRITON_INTERPRET=1"
from lapsd.calibrate.models.triton_kernels import KERNELS  # noqa: E402
from tests.calibrate.decoding.tape import TapeGraphs, as_kernels  # noqa: E402
from tests.calibrate.tiny import VOCABULARY, tiny_pair  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture
def kernels():
    return KERNELS


def layer(rows, width, heads, kv_heads, size, slots, positions, dtype, seed=0):
    """Return queries, keys and values, rotation tables, positions and a cache.

    The cache holds NaN in the slots that must not be read.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    cache = random(2, rows, kv_heads, slots, size)
    for row, position in enumerate(positions):
        cache[:, row, :, position:] = float("nan")
    angles = torch.rand(slots, size // 2, generator=generator)
    cos = torch.cat([angles.cos()] * 2, -1).to(dtype)
    signed_sin = torch.cat([-angles.sin(), angles.sin()], -1).to(dtype)
    qkv = random(rows, width, heads + 2 * kv_heads, size)
    return qkv, cos, signed_sin, torch.tensor(positions), cache


@pytest.mark.parametrize(
    ("heads", "kv_heads", "size", "width", "positions"),
    [
        (4, 4, 64, 1, (0, 62, 150)),
        (4, 2, 72, 3, (0, 62, 150)),  # a head size that is not a power of two
        (2, 1, 128, 5, (63,)),
        (8, 2, 16, 5, (64, 64)),
        (2, 2, 16, 17, (1, 63)),
        (8, 2, 16, 17, (100,)),  # more queries than one program handles
    ],
)
def test_rotation_and_attention_equal_plain_torch(kernels, heads, kv_heads, size, width, positions):
    rows, slots = len(positions), 176
    given = layer(rows, width, heads, kv_heads, size, slots, positions, torch.float32)
    outcomes = []
    for run in (kernels, PLAIN):
        qkv, cos, signed_sin, start, cache = (t.clone() for t in given)
        run.rotate_and_store(qkv, cos, signed_sin, start, cache)
        mixed = [run.attend(qkv, cache, start, splits) for splits in (1, 2, 8)]
        outcomes.append([qkv[:, :, :heads], cache, *mixed])
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6, equal_nan=True)
    assert torch.isfinite(outcomes[0][2]).all()  # no slot after the end of a row was read
    assert torch.isnan(outcomes[0][1]).any()


def test_half_precision_results_are_exact_up_to_rounding(kernels):
    given = layer(2, 5, 4, 2, 32, 200, (30, 150), torch.float16)
    qkv, cos, signed_sin, start, cache = (t.clone() for t in given)
    kernels.rotate_and_store(qkv, cos, signed_sin, start, cache)
    exact = [t.double() for t in given[:3]], start, given[4].double()
    PLAIN.rotate_and_store(*exact[0], exact[1], exact[2])
    ours = kernels.attend(qkv, cache, start, 4).double()
    theirs = PLAIN.attend(exact[0][0], exact[2], start, 1)
    assert float((ours - theirs).norm() / theirs.norm()) < 2 * torch.finfo(torch.float16).eps


@pytest.mark.parametrize("inner", [5, 37, 1_024, 1_500])
def test_silu_multiply_equals_plain_torch(kernels, inner):
    gate_up = torch.randn(3, 2 * inner)
    torch.testing.assert_close(
        kernels.silu_multiply(gate_up), PLAIN.silu_multiply(gate_up), rtol=1e-5, atol=1e-6
    )


def test_a_cache_may_be_a_view_of_a_larger_tensor(kernels):
    """The cache is a view of a larger tensor, with other strides."""
    qkv, cos, signed_sin, start, _ = layer(2, 3, 4, 2, 16, 90, (5, 70), torch.float32)
    outcomes = []
    for run in (kernels, PLAIN):
        whole = torch.full((2, 5, 2, 130, 16), 0.5)
        new = qkv.clone()
        run.rotate_and_store(new, cos, signed_sin, start, whole[:, :2, :, :90])
        outcomes.append((whole, run.attend(new, whole[:, :2, :, :90], start, 4)))
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)


def test_a_batch_may_use_any_rows_of_a_cache(kernels):
    """A batch of three uses rows 4, 1 and 2 of a cache of five rows.

    The results equal those with a cache of only these three rows.
    """
    qkv, cos, signed_sin, start, own = layer(3, 3, 4, 2, 16, 90, (5, 70, 70), torch.float32)
    places = torch.tensor([4, 1, 2])
    whole = torch.full((2, 5, *own.shape[2:]), float("nan"))
    whole[:, places] = own
    alone = qkv.clone()
    PLAIN.rotate_and_store(alone, cos, signed_sin, start, own)
    for run in (kernels, PLAIN):
        new, held = qkv.clone(), whole.clone()
        run.rotate_and_store(new, cos, signed_sin, start, held, places)
        torch.testing.assert_close(held[:, places], own, rtol=1e-5, atol=2e-6, equal_nan=True)
        assert torch.isnan(held[:, [0, 3]]).all()
        mixed = run.attend(new, held, start, 4, places)
        torch.testing.assert_close(mixed, PLAIN.attend(alone, own, start, 1), rtol=1e-5, atol=2e-6)


def test_kernels_with_wrong_results_are_detected(kernels):
    assert disagreement(kernels, CPU, torch.float32) is None
    wrong = {
        "rotated queries": {
            "rotate_and_store": lambda q, c, s, p, m: kernels.rotate_and_store(q, c, -s, p, m)
        },
        "attention": {"attend": lambda q, c, p, s: kernels.attend(q, c, p - 1, s)},
        "attention in parts": {
            "attend": lambda q, c, p, s: kernels.attend(q, c, p, s) * (1 if s == 1 else 0.9)
        },
        "silu": {"silu_multiply": lambda x: kernels.silu_multiply(x) + 0.01},
        "norm": {"norm": lambda x, w, e: kernels.norm(x, w, 1e-1)},
    }
    for name, change in wrong.items():
        parts = {
            n: getattr(PLAIN, n) for n in ("norm", "silu_multiply", "rotate_and_store", "attend")
        } | change
        found = disagreement(Operators("wrong", **parts, waits=False), CPU, torch.float32)
        assert found is not None
        assert found.startswith(f"{name}: kernels differ")


def test_captured_rounds_of_kernels_equal_rounds_of_plain_torch(monkeypatch):
    """One graph serves contexts below and above the block of keys that a program reads at once.

    Plain torch prefills, because interpreted kernels take long.
    """

    def verdicts(pair, operators):
        rounds = DeviceRounds(pair, 1, 2, capacity=256)
        as_kernels(PLAIN)
        tokens = torch.randint(VOCABULARY, (2, 80), generator=torch.Generator().manual_seed(1))
        rounds.prefill(tokens)
        lengths = [62, 80]
        last = [[int(row[n - 2]), int(row[n - 1])] for row, n in zip(tokens, lengths, strict=True)]
        rounds.place(torch.tensor(last), torch.tensor(lengths) - 1)
        as_kernels(operators)
        rounds.ready()
        return rounds, [rounds.round().tolist() for _ in range(2)]

    # a tape cannot record products with oneDNN's packed weights
    monkeypatch.setattr("lapsd.calibrate.models.lean.packs", lambda model: False)
    pair = tiny_pair(0.02, torch.float32)
    _, expected = verdicts(pair, PLAIN)
    for engine in (pair.target_engine, pair.draft_engine):
        engine.operators = as_kernels(programs=32)
    rounds, got = verdicts(replace(pair, graphs=TapeGraphs(warm_up=0)), KERNELS)
    assert got == expected
    assert rounds.target.splits == 4
