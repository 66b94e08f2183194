"""Functions that the loop calls by address, and how functions of the loop are compiled.

An address is an int64 in a record, so that one compiled loop serves every policy. A call costs
5 ns; through a first-class function argument it costs 28 ns, and 0.4 ms for the argument itself.
With `NUMBA_DISABLE_JIT=1` an address is a key of `FUNCTIONS`.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin
from numba.extending import intrinsic, models, register_model

# address of the policy's parameters, of a request's record, now in ns, address of int64 results
PolicyFunction = Callable[[int, int, int, int], int]
CALL = types.int64(types.int64, types.int64, types.int64, types.int64)

FUNCTIONS: dict[int, PolicyFunction] = {}
"""Python functions by made-up address, used where Numba is told not to compile."""

# Without reference counts a step that passes eleven arrays takes 4 ns instead of 63, and inlined
# steps make a round at batch size 1 take 27 ns instead of 105. Nothing calls them from Python.
OPTIONS = {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function of the loop when it is first used.

    The function allocates nothing, because references are not counted.
    """
    return cast(F, numba.njit(**OPTIONS)(function))


def inlined(function: F) -> F:
    """The same for a function that returns a server, which a compiled function cannot."""
    return cast(F, numba.njit(inline="always", **OPTIONS)(function))


@intrinsic
def _call(typingctx: Any, function: Any, policy: Any, job: Any, now_ns: Any, out: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = context.get_value_type(types.int64)
        pointer = ir.PointerType(ir.FunctionType(value, [value] * 4))
        return builder.call(builder.inttoptr(args[0], pointer), args[1:])

    return types.int64(*[types.int64] * 5), codegen


def _look_up(function: int, policy: int, job: int, now_ns: int, out: int) -> int:
    return FUNCTIONS[int(function)](int(policy), int(job), int(now_ns), int(out))


call: Callable[[int, int, int, int, int], int] = _look_up if numba.config.DISABLE_JIT else _call
"""Call the function at an address: (function, policy, job, now_ns, out) -> int64."""


class Records(types.CPointer):
    """A pointer to records, which are read and written where they are."""


register_model(Records)(models.PointerModel)


@lower_builtin(operator.getitem, Records, types.Integer)
def _record_at(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.gep(args[0], [args[1]])


@intrinsic
def _pointer(typingctx: Any, array: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(array)(context, builder, args[0]).data

    kind = Records if isinstance(array.dtype, types.Record) else types.CPointer
    return kind(array.dtype)(array), codegen


def _itself(array: Any) -> Any:
    return array


pointer: Callable[[Any], Any] = _itself if numba.config.DISABLE_JIT else _pointer
"""Return a pointer to the first entry of an array of one dimension, in place of the array.

A pointer is one word and an array seven, which counts where steps pass twenty of them; and its
index is never counted from the end.
"""
