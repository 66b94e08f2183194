"""Tests of the operators between matrix products.

The plain versions are tested here. The Triton kernels are interpreted and compiled in separate
processes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lapsd.calibrate.models.kernels import operators
from lapsd.calibrate.models.operators import PLAIN, Operators, attend_from_start

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]


def test_attention_of_a_prompt_equals_attention_token_by_token():
    qkv = torch.randn(2, 7, 8, 16, dtype=torch.float64)
    cache = torch.stack([qkv[:, :, 4:6].transpose(1, 2), qkv[:, :, 6:].transpose(1, 2)])
    whole = attend_from_start(qkv, cache)
    for t in range(7):
        one = PLAIN.attend(qkv[:, t : t + 1], cache, torch.tensor([t, t]), 1)
        torch.testing.assert_close(whole[:, t : t + 1], one)


def test_the_cpu_uses_the_plain_operators():
    assert operators(CPU, torch.bfloat16) is PLAIN


@pytest.mark.parametrize(
    ("rows", "kv_heads", "capacity", "splits"),
    [
        (1, 32, 5_120, 16),
        (1, 12, 5_120, 32),
        (8, 32, 5_120, 2),
        (32, 32, 5_120, 1),
        (1, 32, 300, 4),
        (1, 32, 60, 1),
    ],
)
def test_attention_splits_the_keys_into_enough_parts_for_a_gpu(rows, kv_heads, capacity, splits):
    on_an_h200 = Operators("", *[lambda *_: None] * 4, waits=False, programs=2 * 132)  # type: ignore[list-item]
    assert on_an_h200.splits(rows, kv_heads, capacity) == splits
    assert PLAIN.splits(rows, kv_heads, capacity) == 1


def test_triton_kernels_give_the_results_of_plain_torch():
    """Run `interpreted_kernels.py` in a new process, in which Triton has not been imported."""
    pytest.importorskip("triton", reason="Triton is not installed")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "tests/calibrate/models/interpreted_kernels.py",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3_000:]
    assert "skipped" not in done.stdout


COMPILE = """
import json
import sys

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from lapsd.calibrate.models import triton_kernels as kernels

TYPES = {
    "positions": "*i64",
    "places": "*i64",
    "mixed": "*fp32",
    "weight": "*fp32",
    "scale": "fp32",
}
TENSORS = {"qkv", "cos", "signed_sin", "cache", "merged", "gate_up", "out"}


def type_of(name, dtype):
    if name in TENSORS:
        return "*" + dtype
    return TYPES.get(name, "i64" if name.startswith("by_") else "i32")


def build(kernel, dtype, **constants):
    signature = {n: type_of(n, dtype) for n in kernel.arg_names if n not in constants}
    signature |= dict.fromkeys(constants, "constexpr")
    values = {(kernel.arg_names.index(n),): v for n, v in constants.items()}
    source = ASTSource(kernel, signature, values)
    made = compile(source, target=GPUTarget("cuda", 90, 32))
    print(kernel.__name__, dtype, constants, made.metadata.shared, len(made.asm["cubin"]))
    assert made.metadata.shared <= 227 * 1024


for dtype, size, tile, tables in json.loads(sys.argv[1]):
    block = 64 if size == 64 else 128
    for table in tables:  # with and without a table of rows
        places = {} if table else {"places": None}
        build(kernels._rotate_and_store, dtype, SIZE=size, BLOCK=block // 2, **places)
        shape = {"GROUP": 4, "SIZE": size, "TILE": tile, "KEYS": kernels.KEYS, "BLOCK": block}
        build(kernels._attend_to_part, dtype, **shape, **places)
    build(kernels._merge_parts, dtype, GROUP=4, SIZE=size, PARTS=16, BLOCK=block)
build(kernels._silu_multiply, "bf16", BLOCK=kernels.LANES)
"""


BOTH = (True, False)
# type, size of heads, queries of a program, and whether there are tables of rows
EACH_TYPE = [("bf16", 128, 64, BOTH), ("fp16", 72, 16, [False]), ("fp32", 64, 16, [True])]
EVERY = [
    ("bf16", 128, 16, BOTH),
    ("bf16", 128, 64, BOTH),
    ("bf16", 64, 16, BOTH),
    ("fp16", 72, 16, BOTH),
    ("fp32", 64, 16, BOTH),
]


@pytest.mark.parametrize(
    ("shapes", "kernels"),
    [
        pytest.param(EACH_TYPE, 12, id="each type"),
        pytest.param(EVERY, 26, id="every shape", marks=pytest.mark.deep),
    ],
)
def test_every_kernel_compiles_for_a_hopper_gpu(shapes, kernels, tmp_path):
    """Triton compiles to machine code without a GPU. Unlike its interpreter, it checks types."""
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, json.dumps(shapes)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.count("\n") == kernels
