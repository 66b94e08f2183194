"""Time budgets and threads of the commands that run real models."""

import math
import sys

import torch

from lapsd.calibrate.budget import Budget
from lapsd.calibrate.models.loading import Pair
from lapsd.calibrate.models.threads import choose_threads
from lapsd.policies.text_values import number_from_text

BUNDLED_S = 300.0  # the budget of the bundled pair, whose measurements are for trying things out
UNLIMITED = "unlimited"
HELP = (
    "Seconds that the command may take, or 'unlimited'; measurements that do not fit are left out"
    " and named [default: 300 for the bundled pair, else unlimited]."
)


def budget_of(text: str | None, *, bundled: bool) -> Budget:
    """Return the budget that the option `--budget` gives, counted from now.

    Other pairs have no limit by default: a measurement of theirs is meant to be used, and how long
    one takes depends on the models.

    Raises
    ------
    ValueError
        If the text is neither a number above 0 nor `unlimited`.
    """
    if text is None:
        return Budget(BUNDLED_S) if bundled else Budget()
    if text == UNLIMITED:
        return Budget()
    seconds = number_from_text(text, float)
    if seconds is None or not 0 < seconds < math.inf:
        raise ValueError(f"--budget {text}: must be a number of seconds above 0, or {UNLIMITED}")
    return Budget(seconds)


def use_threads(pair: Pair, n: int, batch: int, before: int | None, *, quiet: bool) -> None:
    """Choose the number of torch's threads, and say it on stderr.

    Parameters
    ----------
    n, batch : int
        Draft tokens and requests of the rounds that the choice is measured with.
    before : int or None
        The number of the measurement that this one resumes; it is kept where it is available.
    """
    if before is not None and pair.device.type == "cpu":
        torch.set_num_threads(min(before, torch.get_num_threads()))
        return
    measured = choose_threads(pair, n, batch)
    if measured is not None and not quiet:
        print(f"threads: {measured}", file=sys.stderr)


def report_left_out(verb: str, budget: Budget, left_out: list[str] | tuple[str, ...]) -> None:
    """Say in one line on stderr what a budget left out, if anything."""
    if left_out:
        print(
            f"lapsd {verb}: left out to stay within {budget.seconds:g} s: {'; '.join(left_out)}"
            f" (--budget {UNLIMITED} measures everything)",
            file=sys.stderr,
        )
