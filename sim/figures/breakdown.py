"""A figure of execution time by length: prefill by prompt tokens, decoding by output tokens."""

from typing import TYPE_CHECKING

import pandas as pd

from lapsd.sim.figures.style import PAGE, SERIES, SMALL, dress, in_own_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DASHES = {"true": "-", "model": "--"}


@in_own_style
def plot_breakdown(prefill: pd.DataFrame, decoding: pd.DataFrame) -> "Figure":
    """Draw prefill over prompt tokens, and decoding over output tokens; dashed: by the model.

    Parameters
    ----------
    prefill : `prompt_tokens`, and seconds in `true` and `model`.
    decoding : the same, and `output_tokens`; one colour per prompt length.
    """
    figure = new_figure(PAGE, 2.7)
    left, right = figure.subplots(1, 2)
    dress(left, "prompt tokens", "time, s", "prefill")
    dress(right, "output tokens", "time, s", "decoding")
    for column, dash in DASHES.items():
        left.plot(
            prefill["prompt_tokens"],
            prefill[column],
            dash,
            color=SERIES[0],
            linewidth=1.3,
            label="true" if column == "true" else "model: s · T_0",
        )
        for index, (prompt, own) in enumerate(decoding.groupby("prompt_tokens")):
            label = f"prompt of {prompt} tokens" if column == "true" else None
            colour = SERIES[index % len(SERIES)]
            right.plot(
                own["output_tokens"], own[column], dash, color=colour, linewidth=1.3, label=label
            )
    for ax in (left, right):
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False, fontsize=SMALL)
    return figure
