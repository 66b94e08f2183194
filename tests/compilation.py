"""Marks of tests that need compiled code: with NUMBA_DISABLE_JIT=1 they skip, and say why."""

import os

import pytest

# without importing Numba: vLLM 0.32 cannot start an engine where llvmlite was imported before it
IN_PYTHON = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")

compiled_only = pytest.mark.skipif(IN_PYTHON, reason="NUMBA_DISABLE_JIT=1: nothing is compiled")
too_slow_in_python = pytest.mark.skipif(
    IN_PYTHON, reason="NUMBA_DISABLE_JIT=1: too many rounds for Python"
)
