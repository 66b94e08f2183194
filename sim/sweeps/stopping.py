"""Decide when a scenario has enough seeds: when every configuration's difference to the baseline is
known to a given accuracy.

The accuracy is half the width of the 95 % interval of the paired difference, divided by the
*baseline's* mean. (Divided by the difference itself, it would never be small for a difference near
0.) Repeated looks make intervals slightly too narrow. So there are few looks, at doublings of the
number of seeds, and a scenario stops only after 50 seeds and 30 differences other than 0.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lapsd.sim.experiment.statistics import paired_difference

LEAST_DIFFERENT = 30
METRIC = "mean_latency_s"


class Look(NamedTuple):
    """The accuracy of a scenario's differences after some seeds.

    Attributes
    ----------
    seeds : int
    half_width : float
        The largest half width of all configurations, as a share of the baseline's mean.
    enough : bool
        Whether the scenario may stop.
    """

    seeds: int
    half_width: float
    enough: bool


def look(records: pd.DataFrame, baseline: str, until: float) -> Look:
    """Return how well a scenario's records determine every configuration's difference to the
    baseline.

    A configuration that equals the baseline in all seeds needs no further seeds. One that differs
    in fewer than `LEAST_DIFFERENT` seeds does.

    Parameters
    ----------
    records : the records of one scenario.
    baseline : the policy to compare with.
    until : the half width that is enough, as a share of the baseline's mean.
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
