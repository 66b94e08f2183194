"""Numbers and lists as text."""

from collections.abc import Sequence

from lapsd.sim.experiment.statistics import Interval


def signed(x: float, digits: int = 1) -> str:
    """Return a number with its sign; the minus is U+2212."""
    return f"{x:+.{digits}f}".replace("-", "−")


def change(interval: Interval, digits: int = 1) -> str:
    """Return a change in percent with its interval."""
    value, low, high = interval
    return f"{signed(value, digits)} % [{signed(low, digits)}, {signed(high, digits)}]"


def percentage(x: float, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return f"{100 * x:.{digits}f} %"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return `a, b and c`."""
    return (
        ", ".join(words[:-1]) + (f" {last} " if len(words) > 1 else "") + words[-1]
        if words
        else "none"
    )
