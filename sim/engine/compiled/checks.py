"""What compiled code must do where Python raises an error.

Numba's functions return infinity, NaN or an arbitrary number where those of Python raise:
`math.log(0)`, `math.exp(1000)`, `10.0 ** 400`, `int(math.inf)`, `1 << -1`, `2 ** -1`. The functions
here raise as Python does, so that a policy ends in the same error in both programs.
"""

import math
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from numba import njit

OF_ONE = (
    *("acos", "acosh", "asin", "asinh", "atanh", "cos", "cosh", "exp", "expm1", "gamma", "lgamma"),
    *("log", "log10", "log1p", "log2", "sin", "sinh", "sqrt", "tan"),
)
OF_TWO = ("fmod", "hypot", "pow")
TO_WHOLE = ("ceil", "floor", "trunc")
SMALL = 16  # exponents up to which no power of a count or a time overflows


def _of_one(function: Callable[[float], float]) -> Any:
    @njit
    def checked(x):  # type: ignore[no-untyped-def]
        y = function(x)
        if not math.isfinite(y) and (math.isfinite(x) or (math.isnan(y) and not math.isnan(x))):
            raise ValueError
        return y

    return checked


def _of_two(function: Callable[[Any, Any], Any]) -> Any:
    @njit
    def checked(x, y):  # type: ignore[no-untyped-def]
        z = function(x, y)
        if math.isinf(z) and math.isfinite(x) and math.isfinite(y):
            raise OverflowError
        if math.isnan(z) and not (math.isnan(x) or math.isnan(y)):
            raise ValueError
        return z

    return checked


def _to_whole(function: Callable[[Any], Any]) -> Any:
    @njit
    def checked(x):  # type: ignore[no-untyped-def]
        if not math.isfinite(x):
            raise OverflowError
        return function(x)

    return checked


@njit
def _power(x, y):  # type: ignore[no-untyped-def]
    z, real = x**y, float(x) ** y
    if math.isinf(z) and math.isfinite(x) and math.isfinite(y):
        raise OverflowError
    if math.isnan(z) and not (math.isnan(x) or math.isnan(y)):
        raise ValueError
    if z == 0 and real != 0:  # a whole number to a negative power
        raise ValueError
    return z


@njit
def real_power(x, y):  # type: ignore[no-untyped-def]
    """Return `x ** y`, a float also of whole numbers, as Python does where `y` is negative."""
    return _power(float(x), y)


def _shift(function: Callable[[int, int], int]) -> Any:
    @njit
    def checked(x, count):  # type: ignore[no-untyped-def]
        if count < 0:
            raise ValueError
        return function(x, count)

    return checked


def _module() -> ModuleType:
    """Return the module `math` with functions that raise as those of Python do."""
    made = ModuleType(math.__name__)
    vars(made).update(vars(math))
    for names, check in ((OF_ONE, _of_one), (OF_TWO, _of_two), (TO_WHOLE, _to_whole)):
        vars(made).update({name: check(getattr(math, name)) for name in names})
    return made


MATH = _module()
OPERATORS: Mapping[Any, Any] = MappingProxyType(
    {
        operator.pow: _power,
        operator.lshift: _shift(operator.lshift),
        operator.rshift: _shift(operator.rshift),
    }
)
_FUNCTIONS = {math: MATH, int: _to_whole(int)} | {
    getattr(math, name): getattr(MATH, name) for name in (*OF_ONE, *OF_TWO, *TO_WHOLE)
}


def checked_value(value: Any) -> Any:
    """Return what compiled code uses instead of a global value: the same, but of such functions."""
    return _FUNCTIONS.get(value, value) if callable(value) or value is math else value
