"""Serve the workloads of a validation within a time budget."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lapsd.calibrate.budget import Budget
from lapsd.calibrate.recording import Progress
from lapsd.serve.validation.duration import Pace, expected_s, requests_within, with_requests
from lapsd.serve.validation.folder import Folder
from lapsd.serve.validation.live_runs import LiveRuns, Trial
from lapsd.traces import Profile

LIVE_REQUESTS = "live_requests"  # note of the first costs: requests per run, if there are fewer
SERVING = 0.9  # the share of a budget for live runs; predictions and tables need the rest


@dataclass
class Served:
    """The live runs of a validation.

    Attributes
    ----------
    runs : list of LiveRuns
    complete : bool
        Whether no run was interrupted.
    left_out : list of str
        What was left out for want of time, in words.
    costs : Profile or None
        The costs that were measured before the first run; None after an interrupt.
    """

    runs: list[LiveRuns] = field(default_factory=list)
    complete: bool = False
    left_out: list[str] = field(default_factory=list)
    costs: Profile | None = None

    def made(self, budget: Budget) -> dict[str, str]:
        """Return what the report says about the budget."""
        if not budget.limited:
            return {}
        left_out = "; ".join(self.left_out) or "nothing"
        return {"budget": f"{budget.seconds:g} s", "left out": left_out}


@dataclass(frozen=True)
class Serving:
    """A validation to serve: every load of a seed in turn, seed by seed.

    Attributes
    ----------
    trial : Trial
    loads : sequence of float
    seeds : int
    folder : Folder or None
        Keeps the live runs. Workloads that it holds are not served again.
    budget : Budget
    shown : Progress
    """

    trial: Trial
    loads: Sequence[float]
    seeds: int
    folder: Folder | None
    budget: Budget
    shown: Progress

    def serve(self) -> Served:
        """Serve until all is done, the budget is used up, or interrupted.

        Under any budget at least one seed is served in addition to the seeds in the folder.
        """
        served = Served()
        try:
            costs = served.costs = self._costs()
            asked = int(self.trial.scenario["requests"])
            requests = int(costs.provenance.notes.get(LIVE_REQUESTS, asked))
            if requests < asked:
                served.left_out.append(f"{asked - requests} of {asked} requests of each run")
            self._serve_seeds(with_requests(self.trial, requests), costs, served)
        except KeyboardInterrupt:
            served.complete = False
        return served

    def _left_s(self) -> float:
        return max(0.0, self.budget.until(SERVING) - time.monotonic())

    def _costs(self) -> Profile:
        """Return the costs that loads are relative to, from the folder or measured now."""
        if self.folder is not None and (kept := self.folder.profile) is not None:
            return kept
        costs = self.trial.first_profile(self.shown)
        asked = int(self.trial.scenario["requests"])
        requests = asked
        if self.budget.limited:
            left_s = self._left_s()
            requests = requests_within(left_s, self.trial, self.loads, self.seeds, costs)
        if requests < asked:
            noted = costs.provenance.noting(**{LIVE_REQUESTS: requests})
            costs = replace(costs, provenance=noted)
        if self.folder is not None:
            self.folder.begin(costs)
        return costs

    def _serve_seeds(self, trial: Trial, costs: Profile, served: Served) -> None:
        expected = {load: expected_s(trial, load, costs) for load in self.loads}
        pace, stage = Pace(), _Stage(self.shown, trial)
        for seed in range(self.seeds):
            kept = {load: self._kept(load, seed) for load in self.loads}
            missing = [load for load in self.loads if kept[load] is None]
            need_s = pace.of(sum(expected[load] for load in missing))
            if pace.real and need_s > self._left_s():
                served.left_out.append(f"{self.seeds - seed} of {self.seeds} seeds")
                break
            if missing:
                left_s = self._left_s()
                stage.expect(len(missing), need_s, min(self.seeds - seed, left_s / need_s))
            for load in self.loads:
                runs = kept[load]
                if runs is None:
                    begun = time.monotonic()
                    runs = trial.live_runs(load, seed, costs, stage)
                    pace.add(expected[load], time.monotonic() - begun)
                    if self.folder is not None:
                        self.folder.keep(runs)
                served.runs.append(runs)
                if not runs.complete:
                    return
        served.complete = True

    def _kept(self, load: float, seed: int) -> LiveRuns | None:
        return None if self.folder is None else self.folder.done(load, seed)


class _Stage:
    """Counts live runs, each as it begins."""

    def __init__(self, shown: Progress, trial: Trial) -> None:
        self._shown, self._policies = shown, len(trial.policies)
        self._what = f"live runs of {trial.scenario['requests']} requests"
        self._begun, self._total, self._takes = 0, 0, ""

    def expect(self, workloads: int, seconds: float, seeds: float) -> None:
        """Expect to serve a number of seeds, at least one, given what the next one takes."""
        seeds = max(1, int(seeds))
        self._total = self._begun + seeds * workloads * self._policies
        self._takes = f"about {seeds * seconds:,.0f} s"

    def __call__(self, what: str) -> None:
        self._shown(self._what, self._begun, self._total, self._takes)
        self._begun += 1
