"""Bounds of times and lengths: times that are added up in 64 bits are bounded before, in exact
integers, and refused above `MOST_NS`.
"""

from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise

from lapsd.traces.costs import Piecewise, PromptCost, Quadratic, at_width

MOST_NS = 2**62 - 1  # 146 years; the sum of two such times fits 64 bits
MOST_TOKENS = 2**31 - 1  # of a prompt, an output or a prediction, as files of traces hold them
MOST_DRAFTED = 2**15 - 1  # of a round, as files of traces hold them


def check_ns(ns: int, what: str) -> int:
    """Return a bound of a time, computed in exact integers.

    Raises
    ------
    ValueError
        If it exceeds `MOST_NS`, naming both.
    """
    if ns > MOST_NS:
        raise ValueError(f"{what}: up to {Decimal(ns):.2e} ns: must be at most {MOST_NS:.2e} ns")
    return ns


def most_at_width(table: Mapping[int, int], width: int) -> int:
    """Return a bound of the values of a table of costs up to a width.

    Raises
    ------
    ValueError
        If a product that interpolation takes exceeds `MOST_NS`.
    """
    known = sorted(table)
    for left, right in pairwise(known):
        end = max(right, width) if right == known[-1] else right
        check_ns(abs(table[right] - table[left]) * (end - left), f"costs of {width} tokens")
    return max(*table.values(), at_width(table, width))


def most_of_prefill(cost: PromptCost, prompts: int, tokens: int) -> int:
    """Return a bound of the cost of a pass over up to so many prompts of up to so many tokens.

    Raises
    ------
    ValueError
        If the bound exceeds `MOST_NS`.
    """
    tokens = max(1, tokens)
    what, squares = f"a prefill of {prompts} x {tokens} tokens", prompts * tokens * tokens
    if isinstance(cost, Piecewise):
        square_ns = cost.per_square_ps * squares // 1_000
        ns = most_at_width(cost.base_ns, prompts * tokens) + square_ns
    else:
        ns = cost.several([tokens] * prompts)
    if isinstance(cost, Piecewise | Quadratic):
        # the compiled program computes as much
        check_ns(max(cost.per_square_ps, 1_000 * squares), what)
    return check_ns(ns, what)
