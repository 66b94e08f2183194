"""Parameters that all questions share, fixed before anything was run."""

from collections.abc import Mapping, Sequence
from typing import Any

from lapsd.papers.inputs import MEASURED, RECORDED
from lapsd.sim.sweeps.grid import Sweep

BASELINES = ("fcfs", "las", "lp-sjf")  # the paper's baselines
DEPLOYABLE = (*BASELINES, "lp-srpt", "laps-sd")  # policies that a real server could run
LOAD = 0.8
REQUESTS = 30  # requests of the workloads on which claims are judged
# we do not know the paper's predictor; the log error of this one has an SD of 0.5
PREDICTOR = "noisy:0.5"
POLICIES = (
    "FCFS: first come, first served; LAS: least attained service first; LP-SJF: shortest predicted"
    " output length first; LP-SRPT: shortest predicted remaining length first, with preemption;"
    " SRPT: shortest true remaining time first, with preemption"
)


def sweep(
    policies: Sequence[str],
    seeds: int,
    parameters: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Sweep:
    """Return a sweep of the recorded trace; `settings` override trace, profile and predictor."""
    base = {"trace": RECORDED, "profile": MEASURED, "length_predictor": PREDICTOR}
    return Sweep.from_document(
        {
            "policies": list(policies),
            "seeds": seeds,
            "parameters": dict(parameters or {}),
            "settings": base | settings,
        }
    )
