"""When requests become perceptible under LAPS-SD, and how well their time is then known; no
scheduling involved.
"""

from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lapsd.policies import LapsSD, PolicyContext
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import foresee
from lapsd.traces import PricedTrace, Profile, Trace, price, shuffled

_RECORDED: WeakKeyDictionary[Trace, list[Recorded]] = WeakKeyDictionary()


def stable_rounds(trace: Trace, policy: LapsSD | None = None) -> NDArray[np.int64]:
    """The round at which each request becomes perceptible, (R,); 0 where it never does before its
    end.
    """
    policy = policy or LapsSD()
    if trace not in _RECORDED:
        priced = price(
            trace, Profile.constant(draft_ms=1, verify_ms=1)
        )  # what rounds cost plays no part
        _RECORDED[trace] = [Recorded(priced, row) for row in range(len(trace))]
    return np.array(
        [_stable_round(recorded, policy) for recorded in _RECORDED[trace]], dtype=np.int64
    )


def _stable_round(recorded: Recorded, policy: LapsSD) -> int:
    stable = foresee(recorded, None, policy.is_stable)
    # at its last round it is done: nobody schedules it any more
    return stable if stable < len(recorded.round_ns) else 0


def stable_requests(trace: Trace, policy: LapsSD) -> pd.DataFrame:
    """A row a request: `dataset`, `acceptance`, and `stable_rounds`, as recorded (`stable`) and
    `shuffled`.
    """
    mixed = shuffled(trace, np.random.default_rng(0))
    return pd.DataFrame(
        {
            "dataset": trace.dataset,
            "acceptance": trace.acceptance,
            "stable": stable_rounds(trace, policy),
            "shuffled": stable_rounds(mixed, policy),
        }
    )


def quantiles(stable: NDArray[np.int64]) -> tuple[float, float, float, float]:
    """p10, median and p90 of the rounds at which requests became perceptible, and the share that
    did.
    """
    reached = stable[stable > 0]
    if not len(reached):
        return float("nan"), float("nan"), float("nan"), 0.0
    p10, p50, p90 = np.percentile(reached, [10, 50, 90]).tolist()
    return p10, p50, p90, len(reached) / len(stable)


def transition_errors(
    priced: PricedTrace,
    context: PolicyContext,
    predicted_tokens: NDArray[np.int64],
    policy: LapsSD | None = None,
) -> pd.DataFrame:
    """How far T̃ is from a request's true decoding time at the moment that it becomes perceptible.

    A row for each request that does: `dataset`, `round`, `rounds`, and signed relative errors:
    `total`, of the whole T̃ = c̄ · L̂ / (ā + 1); of its parts if all else were true: `length` (of
    L̂), `acceptance` (of 1 / (ā + 1)), `cost` (of c̄), such that 1 + total is the product of 1 +
    each; `rate`, of ā itself.

    Parameters
    ----------
    predicted_tokens : L̂, (R,).
    """
    policy, trace = policy or LapsSD(), priced.trace
    rows = []
    for row in range(len(trace)):
        recorded = Recorded(priced, row)
        if not (stable := _stable_round(recorded, policy)):
            continue
        rounds, truth = len(recorded.round_ns), int(priced.decode_ns[row])
        seen = recorded.tokens[stable] / stable  # tokens a round: ā + 1
        whole = recorded.tokens[rounds] / rounds
        predicted, length = int(predicted_tokens[row]), int(trace.output_tokens[row])
        cost = context.mean_round_ns * rounds / truth
        rows.append(
            {
                "dataset": trace.dataset[row],
                "round": stable,
                "rounds": rounds,
                "total": cost * predicted / length * whole / seen - 1,
                "length": predicted / length - 1,
                "acceptance": whole / seen - 1,
                "cost": cost - 1,
                "rate": (seen - 1) / (whole - 1) - 1 if whole > 1 else np.nan,
            }
        )
    columns = ["dataset", "round", "rounds", "total", "length", "acceptance", "cost", "rate"]
    return pd.DataFrame(rows, columns=columns)


def running_acceptance(trace: Trace, row: int) -> NDArray[np.float64]:
    """Accepted over drafted tokens after each of a request's rounds, (rounds,)."""
    span = trace.rounds_of(row)
    return np.asarray(
        np.cumsum(trace.accepted[span]) / np.maximum(np.cumsum(trace.drafted[span]), 1)
    )
