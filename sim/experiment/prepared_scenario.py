"""A stage: a setting made ready to run.

Its files loaded, the trace split, rounds priced, what is known beforehand.

Past requests, from which servers learn, are one half of the trace; workloads are drawn from the
other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from lapsd.policies import PolicyContext, RequestHistory, TimeModel
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS, Scenario
from lapsd.traces import (
    ArrivalTrace,
    LengthPredictor,
    PricedTrace,
    Profile,
    Trace,
    Workload,
    at_draft_length,
    draw_workload,
    is_mix,
    load_arrivals,
    load_profile,
    load_trace,
    mix,
    price,
    shares_of,
)
from lapsd.traces.predictors import Oracle

REPLAY_STREAM = 4  # after the streams of `lapsd.traces.workload`
HISTORY_SEED = 2**62  # no workload has it: the past was predicted with errors of its own
PREPARED_BY = tuple(
    name for name, scenario_field in SCENARIO_FIELDS.items() if scenario_field.split
)


def policy_context(
    training: PricedTrace, predictor: LengthPredictor | None = None
) -> PolicyContext:
    """What a server learns from past requests: the training half of the trace."""
    mean_round = training.mean_round_ns()
    sizes = np.sort(training.estimated_ns(mean_round)).tolist()
    history = history_of(training, predictor or Oracle())
    return PolicyContext(mean_round, sizes, history, time=time_model_of(training))


_HISTORIES: WeakKeyDictionary[PricedTrace, dict[LengthPredictor, RequestHistory]] = (
    WeakKeyDictionary()
)


def history_of(priced: PricedTrace, predictor: LengthPredictor) -> RequestHistory:
    """All requests of a trace, as they were and as they were predicted to be; made once, with what
    it teaches.
    """
    made = _HISTORIES.setdefault(priced, {})
    if predictor not in made:
        made[predictor] = _history_of(priced, predictor)
    return made[predictor]


def _history_of(priced: PricedTrace, predictor: LengthPredictor) -> RequestHistory:
    trace = priced.trace
    predicted = predictor.predict(np.arange(len(trace)), trace, HISTORY_SEED)
    return RequestHistory(predicted, trace.output_tokens, trace.rounds, priced.early_tokens())


def time_model_of(training: PricedTrace) -> TimeModel:
    """ALISE's time model, fitted to past requests."""
    return TimeModel(*training.time_terms(), prefill=training.profile.costs.prefill)


class Split(NamedTuple):
    """A trace in two halves.

    Attributes
    ----------
    test : PricedTrace
        The half that workloads are drawn from.
    train : PricedTrace
        The other, of which servers know.
    share_ns : float
        A request's mean share of the server: of a full batch, its size at b = 1.
    """

    test: PricedTrace
    train: PricedTrace
    share_ns: float

    @classmethod
    def of(cls, trace: Trace, profile: Profile, scenario: Scenario) -> "Split":
        """Split, mixed, replayed and priced as the setting says.

        Raises
        ------
        ValueError
            If the trace has no such data set or draft length, or the profile no such move or batch
            size.
        """
        dataset, profile = scenario.dataset, profile.with_swap(scenario.swap, scenario.swap_scale)
        shares = (
            shares_of(dataset)
            if dataset and dataset not in trace.datasets and is_mix(dataset)
            else None
        )
        population = trace.only(dataset) if dataset and not shares else trace
        if scenario.draft_tokens is not None:
            rng = np.random.default_rng([scenario.split_seed, REPLAY_STREAM])
            population = at_draft_length(population, scenario.draft_tokens, rng)
        train, test = population.split(scenario.split_seed)
        if shares:
            train, test = mix(train, shares), mix(test, shares)
        share_ns = price(test, profile, scenario.batch).mean_size_ns
        return cls(price(test, profile), price(train, profile, scenario.batch), share_ns)


@dataclass(frozen=True, eq=False)
class PreparedScenario:
    """A setting made ready.

    Attributes
    ----------
    scenario : Setting
    trace : Trace
        All of it.
    split : Halves
    recorded : ArrivalTrace or None
        What the setting's `arrivals` names.
    """

    scenario: Scenario
    trace: Trace
    split: Split
    recorded: ArrivalTrace | None = None
    _latest: dict[int, Workload] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.scenario.arrival_process(self.recorded)  # refuse a CV of gaps that are recorded

    @classmethod
    def of(
        cls,
        trace: Trace | str | Path = "reference",
        profile: Profile | str | Path = "reference",
        **scenario: Any,
    ) -> "PreparedScenario":
        """From a trace and a profile, as objects or files, and fields of `Scenario`; `arrivals` may
        be an object too.

        Raises
        ------
        ValueError
            For unknown fields, values out of bounds, or what the files do not hold.
        """
        recorded = scenario.get("arrivals")
        files = {"trace": _name_of(trace, "a trace"), "profile": _name_of(profile, "a profile")}
        if recorded is not None:
            files["arrivals"] = _name_of(recorded, "recorded arrivals")
        wanted = Scenario.of(**(scenario | files))
        trace = trace if isinstance(trace, Trace) else load_trace(trace)
        profile = profile if isinstance(profile, Profile) else load_profile(profile)
        if isinstance(recorded, str | Path):
            recorded = load_arrivals(recorded)
        return cls(wanted, trace, Split.of(trace, profile, wanted), recorded)

    @property
    def profile(self) -> Profile:
        """What rounds and moves cost, as the setting has them."""
        return self.split.test.profile

    @cached_property
    def context(self) -> PolicyContext:
        """What a server knows beforehand."""
        known = policy_context(self.split.train, self.scenario.predictor)
        out_ns, back_ns = self.scenario.capacity.move_ns(
            self.profile.costs, self.split.train.median_context
        )
        return replace(
            known, swap_out_ns=out_ns, swap_in_ns=back_ns, batch_slots=self.scenario.batch
        )

    @cached_property
    def ceiling(self) -> PolicyContext:
        """The same, with the requests that workloads are drawn from as its past: for clairvoyant
        policies alone.
        """
        return replace(self.context, history=history_of(self.split.test, self.scenario.predictor))

    @property
    def load_share(self) -> float:
        """What of a request's size alone it takes of the server: 1 at b = 1, less in batches."""
        return self.split.share_ns / self.split.test.mean_size_ns

    def caption(self, seeds: int) -> str:
        """What is run on what, in words."""
        scenario = self.scenario.caption(
            {} if self.recorded is None else {"arrivals": str(self.recorded)}
        )
        how = f"{seeds} seeds" if seeds > 1 else "1 seed (no interval)"
        source = self.trace.provenance.source or "a trace"
        return (
            f"{scenario}; {how}, from an empty server until it is drained. Trace: {source}. "
            f"Costs: {self.profile.kind} ({self.profile.weights} weights)."
        )

    def workload(self, seed: int) -> Workload:
        """A seed's requests, the same for every policy; the latest are kept.

        Raises
        ------
        ValueError
            If the seed is below 0, or requests would take too long to arrive.
        """
        if seed not in self._latest:
            drawn = draw_workload(
                self.split.test,
                requests=self.scenario.requests,
                seed=seed,
                arrivals=self.scenario.arrival_process(self.recorded),
                predictor=self.scenario.predictor,
                mean_size_ns=self.split.share_ns,
            )
            self._latest.clear()
            self._latest[seed] = drawn
        return self._latest[seed]


def _name_of(given: object, unnamed: str) -> str:
    return str(given) if isinstance(given, str | Path | ArrivalTrace) else unnamed


@dataclass(eq=False)
class Inputs:
    """Traces, profiles and recorded arrivals by the names that settings give them.

    What several settings share is made once.
    """

    traces: Mapping[str, Trace]
    profiles: Mapping[str, Profile]
    arrivals: Mapping[str, ArrivalTrace]
    _halves: dict[tuple[Any, ...], Split] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, settings: Iterable[Scenario], files: Mapping[str, str] | None = None) -> "Inputs":
        """Everything that the settings name, checked: what cannot run is refused before anything
        runs.

        Parameters
        ----------
        files : the files that names of traces and profiles stand for; a name that is not there is a
            file's.

        Raises
        ------
        ValueError
            Naming the file, or the value and the bound.
        """
        settings, files = list(settings), files or {}
        made = cls(
            {
                name: load_trace(files.get(name, name))
                for name in dict.fromkeys(s.trace for s in settings)
            },
            {
                name: load_profile(files.get(name, name))
                for name in dict.fromkeys(s.profile for s in settings)
            },
            {
                name: load_arrivals(name)
                for name in dict.fromkeys(s.arrivals for s in settings)
                if name
            },
        )
        for scenario in settings:
            made.prepared(scenario)
        return made

    def prepared(self, scenario: Scenario) -> PreparedScenario:
        """The setting made ready.

        Raises
        ------
        ValueError
            If the trace has no such data set or draft length, or the profile does not cover the
            batch.
        """
        key = tuple(getattr(scenario, name) for name in PREPARED_BY)
        trace = self.traces[scenario.trace]
        if key not in self._halves:
            self._halves[key] = Split.of(trace, self.profiles[scenario.profile], scenario)
        recorded = self.arrivals[scenario.arrivals] if scenario.arrivals else None
        return PreparedScenario(scenario, trace, self._halves[key], recorded)

    def __getstate__(self) -> dict[str, Any]:
        # what was derived is derived again by whoever gets it
        return {**self.__dict__, "_halves": {}}
