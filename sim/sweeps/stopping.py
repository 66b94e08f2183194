"""When a setting has seen enough seeds: every configuration's difference to the baseline is known
well enough.

Half the width of the 95 % interval of the paired difference, over the *baseline's* mean: a
difference near nothing would never be known to within a share of itself. Looking again and again
makes intervals a little narrow, so looks are few (at doublings), and none comes before there are 50
seeds and 30 differences that are not nothing.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lapsd.sim.experiment.statistics import paired_difference

LEAST_DIFFERENT = 30
METRIC = "mean_latency_s"


class Look(NamedTuple):
    """What is known of a setting.

    Attributes
    ----------
    seeds : int
    half_width : float
        The widest of all configurations, as a share of the baseline's mean.
    enough : bool
    """

    seeds: int
    half_width: float
    enough: bool


def look(records: pd.DataFrame, baseline: str, until: float) -> Look:
    """Whether a setting's records tell every configuration's difference to the baseline to within
    `until`.

    A configuration that never differs is no reason to go on; one that differs in a few seeds only
    is.
    """
    table = records.pivot_table(index="policy", columns="seed", values=METRIC)
    base = table.loc[baseline].to_numpy(dtype=float)
    widest, enough = 0.0, True
    for policy, row in table.iterrows():
        values: np.ndarray[Any, Any] = row.to_numpy(dtype=float)
        different = int((values != base).sum())
        if policy == baseline or not different:
            continue
        interval = paired_difference(values, base)
        half = (interval.high - interval.low) / 2 / base.mean()
        widest = max(widest, half)
        enough &= half <= until and different >= LEAST_DIFFERENT
    return Look(len(base), float(widest), bool(enough))
