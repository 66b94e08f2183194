"""Marks of tests that need compiled code: with NUMBA_DISABLE_JIT=1 they skip, and say why."""

import numba
import pytest

IN_PYTHON = bool(numba.config.DISABLE_JIT)

compiled_only = pytest.mark.skipif(IN_PYTHON, reason="NUMBA_DISABLE_JIT=1: nothing is compiled")
hours_in_python = pytest.mark.skipif(
    IN_PYTHON, reason="NUMBA_DISABLE_JIT=1: millions of rounds take an hour in Python"
)
