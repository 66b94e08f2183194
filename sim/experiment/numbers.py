"""Numbers as tables show them."""

import math
from typing import Any


def number(value: Any, digits: int = 3) -> str:
    """Three significant digits, without an exponent where people would not write one."""
    if value is None or not math.isfinite(value):
        return "-"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"


def decimals(value: float, form: str) -> str:
    """Return a number in a format such as `.3f`; a dash where it is not defined."""
    return f"{value:{form}}" if math.isfinite(value) else "-"
