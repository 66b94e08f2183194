"""What all questions share, fixed before anything is run; nothing is tuned to a result."""

from collections.abc import Mapping, Sequence
from typing import Any

from lapsd.papers.inputs import MEASURED, RECORDED
from lapsd.sim.sweeps.grid import Sweep

BASELINES = ("fcfs", "las", "lp-sjf")  # the paper's
DEPLOYABLE = (*BASELINES, "lp-srpt", "laps-sd")  # what a real server could run
LOAD = 0.8
REQUESTS = 30  # of a workload, at which claims are judged
# the paper's predictor is not described; this is an error of half of the length, typically
PREDICTOR = "noisy:0.5"


def sweep(
    policies: Sequence[str],
    seeds: int,
    parameters: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Sweep:
    """A sweep of the recorded trace with the predictor above, unless `settings` say otherwise."""
    base = {"trace": RECORDED, "profile": MEASURED, "length_predictor": PREDICTOR}
    return Sweep.from_document(
        {
            "policies": list(policies),
            "seeds": seeds,
            "parameters": dict(parameters or {}),
            "settings": base | settings,
        }
    )
