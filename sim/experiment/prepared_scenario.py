"""A scenario made ready to run: files loaded, the trace split, rounds priced, the history known.

One half of the trace is the history that servers learn from; workloads are drawn from the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lapsd.policies import PolicyContext, RequestHistory, TimeModel
from lapsd.policies.drafts import DraftContext
from lapsd.policies.routers import RouterContext
from lapsd.sim.engine.service_setup import ServerSetup
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS, Scenario
from lapsd.traces import (
    ArrivalTrace,
    LengthPredictor,
    PricedTrace,
    Profile,
    Trace,
    Workload,
    acceptance_by_confidence,
    acceptance_by_place,
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
HISTORY_SEED = 2**62  # of no workload: the errors of the history's predictions are its own
SPLIT_FIELDS = tuple(
    name for name, scenario_field in SCENARIO_FIELDS.items() if scenario_field.split
)


def policy_context(
    training: PricedTrace, predictor: LengthPredictor | None = None
) -> PolicyContext:
    """Return what a server learns from its history, the training half of the trace.

    Parameters
    ----------
    training : PricedTrace
        The training half of the trace, priced.
    predictor : LengthPredictor or None, optional
        Predictor of output lengths; None: the true lengths.

    Examples
    --------
    >>> import lapsd
    >>> priced = lapsd.price(lapsd.load_trace("reference"), lapsd.load_profile("reference"))
    >>> context = lapsd.policy_context(priced)
    >>> len(context.past_sizes_ns)
    600
    """
    mean_round = training.mean_round_ns()
    sizes = np.sort(training.estimated_ns(mean_round)).tolist()
    history = history_of(training, predictor or Oracle())
    confidence, accepted = acceptance_by_confidence(training.trace)
    drafts = DraftContext(acceptance_by_place(training.trace), confidence, accepted)
    return PolicyContext(
        mean_round,
        sizes,
        history,
        time=time_model_of(training),
        drafts=drafts,
        routing=router_context(training, history),
    )


def router_context(training: PricedTrace, history: RequestHistory) -> RouterContext:
    """Return what a router learns from the training half of the trace."""
    decoding_ns, tokens = int(training.round_ns.sum()), int(training.trace.output_tokens.sum())
    token_ns = decoding_ns // (tokens * training.batch)
    sizes_ns = training.prefill_ns + token_ns * np.asarray(history.predicted_tokens, dtype=np.int64)
    by_batch = tuple(training.mean_token_ns(b) for b in range(1, training.batch + 1))
    return RouterContext(
        past_sizes_ns=tuple(np.sort(sizes_ns).tolist()),
        token_ns=token_ns,
        batch_token_ns=(by_batch,),
    )


@lru_cache(maxsize=4)  # a priced trace may hold 100 MB
def history_of(priced: PricedTrace, predictor: LengthPredictor) -> RequestHistory:
    """Return the requests of a trace with their predicted lengths. Cached."""
    trace = priced.trace
    predicted = predictor.predict(np.arange(len(trace)), trace, HISTORY_SEED)
    return RequestHistory(predicted, trace.output_tokens, trace.rounds, priced.early_tokens())


def time_model_of(training: PricedTrace) -> TimeModel:
    """Return ALISE's time model, fitted to past requests."""
    return TimeModel.fit(
        training.trace.prompt_tokens,
        training.prefill_ns,
        training.mean_step_ns(),
        len(training.trace.drafted),
        int(training.trace.output_tokens.sum()),
        training.profile.costs.prefill,
    )


class Split(NamedTuple):
    """A trace split into two halves.

    Attributes
    ----------
    test : PricedTrace
        The half that workloads are drawn from.
    train : PricedTrace
        The other half, which servers know.
    share_ns : float
        Mean time that a request takes of the server, shared with a full batch; its size at b = 1.

    Examples
    --------
    >>> import lapsd
    >>> split = lapsd.PreparedScenario.of("reference", "reference", requests=20).split
    >>> len(split.train.trace.request_id), len(split.test.trace.request_id)
    (300, 300)
    """

    test: PricedTrace
    train: PricedTrace
    share_ns: float

    @classmethod
    def of(cls, trace: Trace, profile: Profile, scenario: Scenario) -> "Split":
        """Return the split that a scenario asks for, mixed, replayed and priced.

        Raises
        ------
        ValueError
            If the trace lacks the data set or draft length, or the profile the KV transfer or batch
            size.
        """
        dataset, profile = scenario.dataset, profile.with_swap(scenario.swap, scenario.swap_scale)
        profile = profile.with_host(scenario.host_us)
        shares = (
            shares_of(dataset)
            if dataset is not None and dataset not in trace.datasets and is_mix(dataset)
            else None
        )
        population = trace if dataset is None or shares else trace.only(dataset)
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
    """A scenario made ready to run.

    Attributes
    ----------
    scenario : Scenario
        With the profile's KV capacity in batches, if no number of tokens was given.
    trace : Trace
        The whole trace.
    split : Split
    recorded : ArrivalTrace or None
        Content of the file that `arrivals` names.
    kinds : sequence of PreparedScenario
        Servers of each of the servers' profiles, which have them in turn; empty: all have one.

    Examples
    --------
    >>> import lapsd
    >>> prepared = lapsd.PreparedScenario.of(
    ...     "reference", "reference", requests=20, load=0.9, batch=4
    ... )
    >>> workload = prepared.workload(0)
    >>> len(workload.arrival_ns)
    20
    """

    scenario: Scenario
    trace: Trace
    split: Split
    recorded: ArrivalTrace | None = None
    kinds: tuple["PreparedScenario", ...] = ()
    _latest: dict[int, Workload] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scenario", self.scenario.with_capacity_of(self.profile))
        # refuses a manager that needs `kv_tokens` where none are known, or lacks prefixes
        self.scenario.capacity.memory_for(self.split.test)
        self.scenario.arrival_process(self.recorded)  # refuses a CV for recorded gaps

    @classmethod
    def of(
        cls,
        trace: Trace | str | Path = "reference",
        profile: Profile | str | Path = "reference",
        **scenario: Any,
    ) -> "PreparedScenario":
        """Return the prepared scenario of a trace, a profile and fields of `Scenario`.

        Trace, profile and `arrivals` may be objects or files.

        Raises
        ------
        ValueError
            For unknown fields, values out of bounds, or files that lack what the fields ask for.
        """
        recorded = scenario.get("arrivals")
        if not isinstance(recorded, str | Path | ArrivalTrace | None):
            kind = type(recorded).__name__
            raise ValueError(f"arrivals: needs recorded arrivals or a file of them, not a {kind}")
        files = {"trace": _name_of(trace, "a trace"), "profile": _name_of(profile, "a profile")}
        if recorded is not None:
            files["arrivals"] = _name_of(recorded, "recorded arrivals")
        wanted = Scenario.of(**(scenario | files))
        trace = trace if isinstance(trace, Trace) else load_trace(trace)
        if not isinstance(profile, Profile):
            profile = load_profile(wanted.profile if isinstance(profile, str | Path) else profile)
        if isinstance(recorded, str | Path):
            recorded = load_arrivals(recorded)
        kinds: dict[str, PreparedScenario] = {}
        if wanted.server_profiles is not None:
            for name in dict.fromkeys(wanted.profiles):
                one, costs = wanted.one_server(name), load_profile(name)
                kinds[name] = cls(one, trace, Split.of(trace, costs, one), recorded)
        servers = tuple(kinds[name] for name in wanted.profiles if kinds)
        return cls(wanted, trace, Split.of(trace, profile, wanted), recorded, servers)

    @property
    def profile(self) -> Profile:
        """Costs of rounds and KV transfers in this scenario."""
        return self.split.test.profile

    @cached_property
    def context(self) -> PolicyContext:
        """The policies' knowledge before the run."""
        known = policy_context(self.split.train, self.scenario.predictor)
        out_ns, back_ns = self.scenario.capacity.transfer_ns(
            self.profile.costs, self.split.train.median_context
        )
        return replace(
            known, swap_out_ns=out_ns, swap_in_ns=back_ns, batch_slots=self.scenario.batch
        )

    @cached_property
    def ceiling(self) -> PolicyContext:
        """`context` with the test half as its history, for clairvoyant policies only."""
        return replace(self.context, history=history_of(self.split.test, self.scenario.predictor))

    @property
    def share_ns(self) -> float:
        """Mean time between arrivals at a load of 1: a request's share of a server, divided by the
        number of servers.
        """
        shares = [kind.split.share_ns for kind in self.kinds] or [self.split.share_ns]
        servers = range(self.scenario.servers)
        return 1 / sum(1 / shares[k % len(shares)] for k in servers)

    @property
    def load_share(self) -> float:
        """Part of a request's size that it takes of all servers: 1 at b = 1 on one server, less in
        batches.
        """
        return self.share_ns / self.split.test.mean_size_ns

    def setups(self, workload: Workload, *, clairvoyant: bool) -> list[ServerSetup]:
        """Return the servers for a workload.

        Parameters
        ----------
        clairvoyant : bool
            Whether the policy is.
        """
        kinds = self.kinds or (self,)
        made = {
            kind: ServerSetup(
                replace(workload, priced=kind.split.test) if self.kinds else workload,
                kind.ceiling if clairvoyant else kind.context,
                kind.scenario.capacity,
            )
            for kind in dict.fromkeys(kinds)
        }
        return [made[kinds[k % len(kinds)]] for k in range(self.scenario.servers)]

    def caption(self, seeds: int) -> str:
        """Return a description of the runs."""
        scenario = self.scenario.caption(
            {} if self.recorded is None else {"arrivals": str(self.recorded)}
        )
        how = f"{seeds} seeds" if seeds > 1 else "1 seed (no interval)"
        source = self.trace.provenance.source or "a trace"
        return (
            f"{scenario}; {how}, from an empty server until it is drained. Trace: {source}. "
            f"Costs: {self.profile.kind_in_words} ({self.profile.weights} weights)."
        )

    def workload(self, seed: int) -> Workload:
        """Return the requests of a seed, the same for every policy. The latest workload is cached.

        Raises
        ------
        ValueError
            If the seed is below 0, or the arrivals would take too long.
        """
        if seed not in self._latest:
            drawn = draw_workload(
                self.split.test,
                requests=self.scenario.requests,
                seed=seed,
                arrivals=self.scenario.arrival_process(self.recorded),
                predictor=self.scenario.predictor,
                mean_size_ns=self.share_ns,
                in_order=self.scenario.request_order == "trace",
            )
            self._latest.clear()
            self._latest[seed] = drawn
        return self._latest[seed]


def _name_of(given: object, unnamed: str) -> str:
    return str(given) if isinstance(given, str | Path | ArrivalTrace) else unnamed


@dataclass(eq=False)
class Inputs:
    """Traces, profiles and recorded arrivals, by the names that scenarios give them.

    Scenarios that split a trace in the same way share the split.
    """

    traces: Mapping[str, Trace]
    profiles: Mapping[str, Profile]
    arrivals: Mapping[str, ArrivalTrace]
    _splits: dict[tuple[Any, ...], Split] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, settings: Iterable[Scenario], files: Mapping[str, str] | None = None) -> "Inputs":
        """Load all files that the scenarios name, and refuse any scenario that cannot run.

        Parameters
        ----------
        files : files of names of traces and profiles; any other name is itself a file.

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
                for name in dict.fromkeys(name for s in settings for name in s.profiles)
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
        """Return the prepared scenario.

        Raises
        ------
        ValueError
            If the trace lacks the data set or draft length, or the profile the batch size.
        """
        key = tuple(getattr(scenario, name) for name in SPLIT_FIELDS)
        trace = self.traces[scenario.trace]
        if key not in self._splits:
            self._splits[key] = Split.of(trace, self.profiles[scenario.profile], scenario)
        recorded = self.arrivals[scenario.arrivals] if scenario.arrivals else None
        kinds: tuple[PreparedScenario, ...] = ()
        if scenario.server_profiles is not None:
            names = dict.fromkeys(scenario.profiles)
            made = {name: self.prepared(scenario.one_server(name)) for name in names}
            kinds = tuple(made[name] for name in scenario.profiles)
        return PreparedScenario(scenario, trace, self._splits[key], recorded, kinds)

    def __getstate__(self) -> dict[str, Any]:
        # workers derive the splits again
        return {**self.__dict__, "_splits": {}}
