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
from lapsd.policies import Outlook, Past, TimeModel
from lapsd.sim.experiment.setting import KNOBS, Setting
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
PAST_SEED = 2**62  # no workload has it: the past was predicted with errors of its own
PREPARED_BY = tuple(name for name, knob in KNOBS.items() if knob.halves)


def outlook_of(training: PricedTrace, predictor: LengthPredictor | None = None) -> Outlook:
    """What a server learns from past requests: the training half of the trace."""
    mean_round = training.mean_round_ns()
    sizes = np.sort(training.estimated_ns(mean_round)).tolist()
    past = past_of(training, predictor or Oracle())
    return Outlook(mean_round, sizes, past, time=time_model_of(training))


_PASTS: WeakKeyDictionary[PricedTrace, dict[LengthPredictor, Past]] = WeakKeyDictionary()


def past_of(priced: PricedTrace, predictor: LengthPredictor) -> Past:
    """All requests of a trace, as they were and as they were predicted to be; made once, with what
    it teaches.
    """
    made = _PASTS.setdefault(priced, {})
    if predictor not in made:
        made[predictor] = _past_of(priced, predictor)
    return made[predictor]


def _past_of(priced: PricedTrace, predictor: LengthPredictor) -> Past:
    trace = priced.trace
    predicted = predictor.predict(np.arange(len(trace)), trace, PAST_SEED)
    return Past(predicted, trace.output_tokens, trace.rounds, priced.early_tokens())


def time_model_of(training: PricedTrace) -> TimeModel:
    """ALISE's time model, fitted to past requests."""
    return TimeModel(*training.time_terms(), prefill=training.profile.costs.prefill)


class Halves(NamedTuple):
    """A trace in two halves.

    Attributes
    ----------
    future : PricedTrace
        The half that workloads are drawn from.
    past : PricedTrace
        The other, of which servers know.
    share_ns : float
        A request's mean share of the server: of a full batch, its size at b = 1.
    """

    future: PricedTrace
    past: PricedTrace
    share_ns: float

    @classmethod
    def of(cls, trace: Trace, profile: Profile, setting: Setting) -> "Halves":
        """Split, mixed, replayed and priced as the setting says.

        Raises
        ------
        ValueError
            If the trace has no such data set or draft length, or the profile no such move or batch
            size.
        """
        dataset, profile = setting.dataset, profile.with_swap(setting.swap, setting.swap_scale)
        shares = (
            shares_of(dataset)
            if dataset and dataset not in trace.datasets and is_mix(dataset)
            else None
        )
        population = trace.only(dataset) if dataset and not shares else trace
        if setting.draft_tokens is not None:
            rng = np.random.default_rng([setting.split_seed, REPLAY_STREAM])
            population = at_draft_length(population, setting.draft_tokens, rng)
        past, future = population.halves(setting.split_seed)
        if shares:
            past, future = mix(past, shares), mix(future, shares)
        share_ns = price(future, profile, setting.batch).mean_size_ns
        return cls(price(future, profile), price(past, profile, setting.batch), share_ns)


@dataclass(frozen=True, eq=False)
class Stage:
    """A setting made ready.

    Attributes
    ----------
    setting : Setting
    trace : Trace
        All of it.
    halves : Halves
    recorded : ArrivalTrace or None
        What the setting's `arrivals` names.
    """

    setting: Setting
    trace: Trace
    halves: Halves
    recorded: ArrivalTrace | None = None
    _latest: dict[int, Workload] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.setting.arrival_process(self.recorded)  # refuse a CV of gaps that are recorded

    @classmethod
    def of(
        cls,
        trace: Trace | str | Path = "reference",
        profile: Profile | str | Path = "reference",
        **setting: Any,
    ) -> "Stage":
        """From a trace and a profile, as objects or files, and fields of `Setting`; `arrivals` may
        be an object too.

        Raises
        ------
        ValueError
            For unknown fields, values out of bounds, or what the files do not hold.
        """
        recorded = setting.get("arrivals")
        files = {"trace": _name_of(trace, "a trace"), "profile": _name_of(profile, "a profile")}
        if recorded is not None:
            files["arrivals"] = _name_of(recorded, "recorded arrivals")
        wanted = Setting.of(**(setting | files))
        trace = trace if isinstance(trace, Trace) else load_trace(trace)
        profile = profile if isinstance(profile, Profile) else load_profile(profile)
        if isinstance(recorded, str | Path):
            recorded = load_arrivals(recorded)
        return cls(wanted, trace, Halves.of(trace, profile, wanted), recorded)

    @property
    def profile(self) -> Profile:
        """What rounds and moves cost, as the setting has them."""
        return self.halves.future.profile

    @cached_property
    def outlook(self) -> Outlook:
        """What a server knows beforehand."""
        known = outlook_of(self.halves.past, self.setting.predictor)
        out_ns, back_ns = self.setting.capacity.move_ns(
            self.profile.costs, self.halves.past.median_context
        )
        return replace(known, move_out_ns=out_ns, move_back_ns=back_ns, seats=self.setting.batch)

    @cached_property
    def ceiling(self) -> Outlook:
        """The same, with the requests that workloads are drawn from as its past: for clairvoyant
        policies alone.
        """
        return replace(self.outlook, past=past_of(self.halves.future, self.setting.predictor))

    @property
    def load_share(self) -> float:
        """What of a request's size alone it takes of the server: 1 at b = 1, less in batches."""
        return self.halves.share_ns / self.halves.future.mean_size_ns

    def caption(self, seeds: int) -> str:
        """What is run on what, in words."""
        setting = self.setting.caption(
            {} if self.recorded is None else {"arrivals": str(self.recorded)}
        )
        how = f"{seeds} seeds" if seeds > 1 else "1 seed (no interval)"
        source = self.trace.provenance.source or "a trace"
        return (
            f"{setting}; {how}, from an empty server until it is drained. Trace: {source}. "
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
                self.halves.future,
                requests=self.setting.requests,
                seed=seed,
                arrivals=self.setting.arrival_process(self.recorded),
                predictor=self.setting.predictor,
                mean_size_ns=self.halves.share_ns,
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
    _halves: dict[tuple[Any, ...], Halves] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, settings: Iterable[Setting], files: Mapping[str, str] | None = None) -> "Inputs":
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
        for setting in settings:
            made.stage(setting)
        return made

    def stage(self, setting: Setting) -> Stage:
        """The setting made ready.

        Raises
        ------
        ValueError
            If the trace has no such data set or draft length, or the profile does not cover the
            batch.
        """
        key = tuple(getattr(setting, name) for name in PREPARED_BY)
        trace = self.traces[setting.trace]
        if key not in self._halves:
            self._halves[key] = Halves.of(trace, self.profiles[setting.profile], setting)
        recorded = self.arrivals[setting.arrivals] if setting.arrivals else None
        return Stage(setting, trace, self._halves[key], recorded)

    def __getstate__(self) -> dict[str, Any]:
        # what was derived is derived again by whoever gets it
        return {**self.__dict__, "_halves": {}}
