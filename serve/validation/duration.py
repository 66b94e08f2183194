"""How long live runs take, and how many requests and seeds there is time for.

Seeds are left out first: fewer seeds widen intervals, fewer requests change what is measured. But
two seeds remain where possible, because a single one has no interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lapsd.policies import FCFS
from lapsd.serve.own.probe import EVERY, LEAST
from lapsd.serve.validation.live_runs import Trial
from lapsd.sim.experiment.runs import run
from lapsd.traces import Profile

SEEDS_KEPT, REQUESTS_KEPT = 2, 5  # fewer are never chosen, except for one seed where two do not fit


def expected_s(trial: Trial, load: float, costs: Profile) -> float:
    """Return the expected seconds of the live runs of one workload, with calibration rounds.

    Every policy is expected to take as long as FCFS in a simulation with these costs.
    """
    prepared = trial.prepared(load, costs)
    served = run(prepared, FCFS(), seed=0)
    plans, policies = trial.calibration_plans(prepared), len(trial.policies)
    busy_ns = served.end_ns - served.idle_ns
    if trial.interleaves:
        calibration_rounds = max(served.rounds / EVERY, LEAST * len(plans))
        return policies * busy_ns * (1 + calibration_rounds / max(1, served.rounds)) / 1e9
    live_ns = served.end_ns if trial.clock == "wall" else busy_ns
    calibration_ns = busy_ns * sum(len(plan.requests) for plan in plans) / len(served.latency_ns)
    return (policies * live_ns + (policies + 1) * calibration_ns) / 1e9


def requests_within(
    seconds: float, trial: Trial, loads: Sequence[float], seeds: int, costs: Profile
) -> int:
    """Return the number of requests per run with which at least two seeds fit into a time.

    It is that of the trial's scenario if these fit, and never less than `REQUESTS_KEPT`.
    """
    requests = int(trial.scenario["requests"])
    kept = min(seeds, SEEDS_KEPT)
    while requests > REQUESTS_KEPT:
        sized = with_requests(trial, requests)
        need = kept * sum(expected_s(sized, load, costs) for load in loads)
        if need <= seconds:
            break
        requests = max(REQUESTS_KEPT, min(requests - 1, int(requests * seconds / need)))
    return requests


def with_requests(trial: Trial, requests: int) -> Trial:
    """Return the trial with another number of requests per run."""
    return replace(trial, scenario={**trial.scenario, "requests": requests})


@dataclass
class Pace:
    """The ratio of real to expected seconds of the workloads so far.

    A machine that became slower or faster since the costs were measured changes it.
    """

    expected: float = 0.0
    real: float = 0.0

    def add(self, expected: float, real: float) -> None:
        """Count a workload that was served."""
        self.expected += expected
        self.real += real

    def of(self, expected: float) -> float:
        """Return the seconds that further workloads take at this pace."""
        return expected * self.real / self.expected if self.expected else expected
