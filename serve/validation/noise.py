"""Whether a machine was steady enough during live runs to compare the simulator with them."""

from collections.abc import Sequence

import numpy as np

from lapsd.serve.validation.findings import Outcome

STEADY = 10.0  # percent: above it, errors of mean latency say more of the machine than of lapsd


def too_noisy(outcomes: Sequence[Outcome]) -> str | None:
    """Return in a sentence that the machine was too noisy for a comparison; None if it was not.

    The measure is the drift: the change in the time of the same calibration rounds during a live
    run, as a mean over the runs. It does not depend on what the simulator predicts.
    """
    drift = 100 * float(np.mean([abs(o.drift) for o in outcomes]))
    if drift <= STEADY:
        return None
    return (
        "The machine is too noisy to compare the simulator with it: the time of the same"
        f" calibration rounds changed by {drift:.0f} % on average during a run (at most"
        f" {STEADY:g} %). End other programs and try again."
    )
