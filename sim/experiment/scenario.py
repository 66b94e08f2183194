"""The scenario of an experiment: everything that a run depends on besides policy and seed.

Each quantity is one field. Options of the command line, keys of sweeps, columns of records,
captions, `_config.json` and error messages derive from the fields, so a new quantity is one field
here and the code that uses it. Knows nothing of files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, get_type_hints

from lapsd.policies.kv_slots import KVSlots
from lapsd.policies.routers.calls import LEAST_AGE_MS, MOST_AGE_MS
from lapsd.policies.routers.spec import ROUTERS, parse_router
from lapsd.sim.engine import Capacity
from lapsd.sim.engine.capacity import MOST_BATCH
from lapsd.sim.engine.drafting import Drafting, parse_graph_sizes
from lapsd.sim.engine.guardrails import MOST_G
from lapsd.sim.engine.memory import MANAGERS
from lapsd.sim.engine.memory.base import MOST_UNITS
from lapsd.sim.engine.prefill import PREFILLS
from lapsd.sim.engine.routing import MOST_SERVERS, Routing
from lapsd.sim.experiment.predictor_spec import parse_predictor, usage
from lapsd.sim.experiment.scenario_field import ScenarioField, Value
from lapsd.traces import PREDICTORS, Arrivals, ArrivalTrace, LengthPredictor, Profile, is_mix
from lapsd.traces.files import BUNDLED_PROFILES

LOAD = 0.8  # default where a scenario says nothing of arrivals


def _field(default: Value, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, **more})


def _load_in_words(scenario: "Scenario") -> str:
    if scenario.load is None:
        return ""
    note = " (overloaded: depends on the number of requests)" if scenario.load >= 1 else ""
    return f"load {scenario.load:g}{note}"


def _gaps_in_words(scenario: "Scenario") -> str:
    if scenario.arrivals or scenario.all_at_once or scenario.clients is not None:
        return ""
    return "Poisson arrivals" if scenario.cv == 1 else f"Gamma gaps (CV {scenario.cv:g})"


def _slots_in_words(scenario: "Scenario") -> str:
    if scenario.kv_tokens is not None:
        return ""
    slots = scenario.capacity.slots
    return "unlimited KV memory" if slots is None else f"{slots} KV slot{'s' * (slots != 1)}"


def _budget_in_words(scenario: "Scenario") -> str:
    return f"{scenario.token_budget} tokens per step" if scenario.prefill == "chunked" else ""


def _servers_in_words(scenario: "Scenario") -> str:
    if not scenario.several:
        return ""
    profiles = f" ({scenario.server_profiles})" if scenario.server_profiles else ""
    queue = " that take from one queue" if scenario.dispatch == "central" else ""
    return f"{scenario.servers} servers{profiles}{queue}"


def _router_in_words(scenario: "Scenario") -> str:
    if not scenario.several or scenario.dispatch == "central":
        return ""
    known = " (knows true times)" if scenario.routing.router.clairvoyant else ""
    return f"router {scenario.router}{known}"


@dataclass(frozen=True)
class Scenario:
    """Everything that a run depends on besides policy and seed.

    Raises
    ------
    ValueError
        Naming the field, its value and the bound, or the fields that cannot be combined.

    Examples
    --------
    >>> import lapsd
    >>> scenario = lapsd.Scenario(requests=30, load=0.9, batch=8)
    >>> scenario.capacity.batch
    8
    >>> lapsd.Scenario(load=-1)
    Traceback (most recent call last):
        ...
    ValueError: load=-1: must be above 0
    """

    trace: str = _field(
        "reference",
        "A trace file, or a bundled one: reference, azure-conversations.",
        split=True,
        words=lambda s: "",
    )
    profile: str = _field(
        "reference",
        f"A profile file, or a bundled one: {', '.join(BUNDLED_PROFILES)}.",
        split=True,
        words=lambda s: "",
    )
    dataset: str | None = _field(
        None,
        "Only this data set of the trace, or a mix: code=0.7+prose=0.3.",
        split=True,
        words="data set {}",
    )
    requests: int = _field(
        30,
        "Requests in a workload.",
        least=1,
        most=10**7,
        words=lambda s: f"{s.requests} request{'s' * (s.requests != 1)}",
    )
    warmup: int = _field(
        0,
        "Requests left out of the statistics at the start of each run, for steady state.",
        least=0,
        unit="requests",
        words="the first {} left out of the statistics",
    )
    load: float | None = _field(
        None, f"Arriving work per unit of time [default: {LOAD}].", above=0, words=_load_in_words
    )
    rate: float | None = _field(
        None,
        "Arrivals per second, instead of a load.",
        unit="1/s",
        above=0,
        also="rate_per_s",
        words="{:g} arrivals/s",
    )
    all_at_once: bool = _field(False, "All requests arrive at time 0.", words="all at once")
    cv: float = _field(
        1.0,
        "Coefficient of variation of the gaps between arrivals (Gamma); 1: a Poisson process.",
        above=0,
        most=100,
        words=_gaps_in_words,
    )
    arrivals: str | None = _field(
        None,
        "A file of recorded arrivals (lapsd import azure or mooncake), rescaled to the load.",
        words="arrivals as in {}",
    )
    clients: int | None = _field(
        None,
        "A closed loop of so many clients, instead of a load.",
        least=1,
        most=2**62,
        words="a closed loop of {} clients",
    )
    think: float = _field(
        0.0,
        "Seconds from an answer to a client's next request.",
        unit="s",
        least=0,
        most=1e9,
        also="think_s",
        words="think time {:g} s",
    )
    length_predictor: str = _field(
        "oracle",
        f"Predictor of output lengths: {', '.join(map(usage, PREDICTORS.values()))}.",
        words=lambda s: f"lengths {s.length_predictor}",
    )
    split_seed: int = _field(
        0,
        "Seed of the split of the trace into a training and a test half.",
        least=0,
        most=2**62,
        split=True,
        words="split by seed {}",
    )
    request_order: str = _field(
        "drawn",
        "Requests of a workload: drawn from the trace one by one, or in the trace's order from a"
        " drawn one on, which keeps the order of sessions.",
        one_of=("drawn", "trace"),
        words="requests in the order of the {}",
    )
    draft_tokens: int | None = _field(
        None,
        "Replay the trace at another draft length; the trace needs the column acceptable or"
        " accept_prob.",
        unit="tokens",
        least=0,
        most=1000,
        split=True,
        words="replayed at n = {}",
    )
    batch: int = _field(
        1,
        "Requests that run a round together.",
        unit="requests",
        least=1,
        most=MOST_BATCH,
        split=True,
        words="batches of up to {}",
    )
    kv_slots: KVSlots = _field(  # noqa: RUF009
        "auto",
        "Requests whose KV caches fit in memory: a number, unlimited, or auto: 1, or unlimited in"
        " batches.",
        unit="requests",
        least=1,
        most=MOST_UNITS,
        words=_slots_in_words,
    )
    kv_tokens: int | None = _field(
        None,
        "Tokens whose keys and values fit in memory [default in batches: the profile's capacity, if"
        " it has one].",
        unit="tokens",
        least=1,
        most=MOST_UNITS,
        words="{} KV tokens",
    )
    evict: str = _field(
        "swap",
        "Eviction of a KV cache: swap it out, or drop it and recompute it later.",
        one_of=("swap", "recompute"),
        words="evict by {}",
    )
    swap: str | None = _field(
        None,
        "Another kind of KV transfer that the profile has, such as pageable.",
        split=True,
        words="KV transfers by {}",
    )
    swap_scale: float = _field(
        1.0,
        "Factor on the time of every KV transfer.",
        least=0,
        most=1e6,
        split=True,
        words="KV transfers x {:g}",
    )
    host_us: float = _field(
        0.0,
        "Microseconds added to each round, prefill and step with prompts: time of an engine outside"
        " the models, such as launches and sampling.",
        unit="us",
        least=0,
        most=1e6,
        split=True,
        words="{:g} µs host time added per round",
    )
    memory: str = _field(
        "auto",
        f"Manager of KV memory: {', '.join(MANAGERS)}, with parameters as in"
        " paged:block=16+park=true; auto: tokens if they are limited, else slots.",
        words="memory {}",
    )
    prefix_cache: bool = _field(
        False,
        "Requests share the KV blocks of equal leading parts of their prompts, which stay cached;"
        " with memory=paged and evict=recompute, and a trace with hashes of prompts.",
        words="prefixes cached",
    )
    prefill: str = _field(
        "alone",
        "How prompts are prefilled: alone (one after the other) or batched; or in steps shared with"
        " decoding: mixed (whole prompts) or chunked.",
        one_of=tuple(PREFILLS),
        words="prompts {}",
    )
    token_budget: int = _field(
        2048,
        "Tokens per step of chunked prefill.",
        unit="tokens",
        least=1,
        most=MOST_UNITS,
        words=_budget_in_words,
    )
    draft_verify: str = _field(
        "ragged",
        "How drafts of a draft policy are verified: ragged (each request sends its own tokens) or"
        " padded (as many as the longest draft).",
        one_of=("ragged", "padded"),
        words="drafts verified {}",
    )
    graph_sizes: str | None = _field(
        None,
        "Numbers of tokens for which the engine captured a graph, as in 8/16/32: a verification of"
        " a draft policy takes the time of the next one.",
        words="graphs of {} tokens",
    )
    draft_switch_ms: float = _field(
        0.0,
        "Milliseconds that a step takes longer where a draft policy changes the longest draft.",
        unit="ms",
        least=0,
        most=1e6,
        words="{:g} ms to change the draft length",
    )
    draft_lag: int = _field(
        0,
        "Rounds by which a draft policy sees requests late.",
        unit="rounds",
        least=0,
        most=1,
        words="draft lengths decided a round late",
    )
    servers: int = _field(
        1,
        "Number of servers; a load is that of each.",
        least=1,
        most=MOST_SERVERS,
        unit="servers",
        words=_servers_in_words,
    )
    server_profiles: str | None = _field(
        None,
        "Profiles that the servers have in turn, as in llama-7b-h200+llama-7b-a100 [default:"
        " --profile for all].",
        words=lambda s: "",
    )
    router: str = _field(
        "jsq",
        f"Router that chooses the server of each request: {', '.join(ROUTERS)}, or your own as"
        " module.Class.",
        words=_router_in_words,
    )
    dispatch: str = _field(
        "router",
        "How requests reach servers: by the router when they arrive, or central: servers take them"
        " from one queue by the policy's rank.",
        one_of=("router", "central"),
        words=lambda s: "",
    )
    signal_age_ms: float | None = _field(
        None,
        "Milliseconds between two reports of a server to the router [default: as the router says;"
        " most see servers as they are].",
        unit="ms",
        least=0,
        most=MOST_AGE_MS,
        words="servers report every {} ms",
    )
    guardrails: float | None = _field(
        None,
        "Limit on how far the work of servers may differ within a range of sizes, in sizes (g of"
        " arXiv 1905.03439) [default: none].",
        above=0,
        most=MOST_G,
        words="guardrails g = {}",
    )
    ttft_limit: float = _field(
        1.55,
        "Limit on the time to the first token, by default FastServe's; p95_slo_scale is the"
        " multiple of both limits that 95 % of requests keep.",
        unit="s",
        least=1e-9,
        most=1e9,
        also="ttft_limit_s",
        words="TTFT limit {:g} s",
    )
    tpot_limit: float = _field(
        0.15,
        "Limit on the time per further output token; see --ttft-limit.",
        unit="s",
        least=1e-9,
        most=1e9,
        also="tpot_limit_s",
        words="TPOT limit {:g} s",
    )

    def __post_init__(self) -> None:
        for name, scenario_field in SCENARIO_FIELDS.items():
            object.__setattr__(self, name, scenario_field.checked(getattr(self, name)))
        if (
            self.load is None
            and self.rate is None
            and not self.all_at_once
            and self.clients is None
        ):
            object.__setattr__(self, "load", LOAD)
        if self.server_profiles is not None:
            object.__setattr__(self, "profile", self._first_profile())
        if self.signal_age_ms is not None and 0 < self.signal_age_ms < LEAST_AGE_MS:
            raise ValueError(
                f"signal_age_ms={self.signal_age_ms}: must be 0, or at least {LEAST_AGE_MS}"
            )
        if self.warmup >= self.requests:
            raise ValueError(
                f"warmup={self.warmup}: must be below the number of requests, {self.requests}"
            )
        _ = self.arrival_process(), self.predictor, self.routing  # refuse bad combinations
        if self.request_order == "trace" and self.dataset is not None and is_mix(self.dataset):
            raise ValueError(
                f"request_order=trace: dataset {self.dataset!r} repeats requests one after the"
                " other; needs whole data sets"
            )
        try:
            _ = self.capacity
        except ValueError:
            if not self._may_take_capacity:
                raise
            _ = replace(self, kv_tokens=MOST_UNITS)  # the number may come from the profile

    @classmethod
    def of(cls, **values: Any) -> "Scenario":
        """Return the scenario of a call's keywords; a length predictor may be an object.

        Raises
        ------
        ValueError
            For an unknown name, listing the known ones, or as the class does.
        """
        named: dict[str, Any] = {}
        for name, value in values.items():
            if (own := canonical(name)) in named:
                raise ValueError(f"{name}={value!r}: {own} is given, too")
            named[own] = value
        if isinstance(named.get("length_predictor"), LengthPredictor):
            named["length_predictor"] = str(named["length_predictor"])
        return cls(**named)

    def _first_profile(self) -> str:
        """Return the first of the servers' profiles."""
        names = self.profiles
        if not all(names):
            raise ValueError(f"server_profiles={self.server_profiles}: must be names, as in A+B")
        if self.profile not in (SCENARIO_FIELDS["profile"].default, names[0]):
            raise ValueError(
                f"profile={self.profile}: must be the first of server_profiles,"
                f" {self.server_profiles}"
            )
        if len(names) > self.servers:
            raise ValueError(
                f"server_profiles={self.server_profiles}: lists {len(names)} for {self.servers}"
                f" server{'s' * (self.servers > 1)}"
            )
        return names[0]

    @property
    def profiles(self) -> tuple[str, ...]:
        """The profiles that servers have in turn."""
        text = self.server_profiles
        return (self.profile,) if text is None else tuple(text.split("+"))

    def one_server(self, profile: str) -> "Scenario":
        """Return the scenario of one of the servers, which has the profile."""
        return replace(self, servers=1, server_profiles=None, profile=profile, dispatch="router")

    @property
    def several(self) -> bool:
        """Whether there are several servers, or one that takes from a queue of all servers."""
        return self.servers > 1 or self.dispatch == "central"

    @cached_property
    def routing(self) -> Routing:
        """How requests reach servers."""
        return Routing(
            parse_router(self.router),
            self.dispatch == "central",
            self.signal_age_ms,
            self.guardrails,
            self.load,
        )

    @property
    def _may_take_capacity(self) -> bool:
        return self.batch > 1 and self.kv_tokens is None and self.kv_slots == "auto"

    def with_capacity_of(self, profile: Profile) -> "Scenario":
        """Return the scenario with the profile's KV capacity, if it has one and none was given.

        Only batches need a capacity. A number of slots, and a memory manager that does not count
        tokens or has its own number of blocks, leave the capacity unused.
        """
        known = profile.kv_capacity
        if not self._may_take_capacity or known is None or known.tokens is None:
            return self
        try:
            return replace(self, kv_tokens=known.tokens)
        except ValueError:
            return self

    @cached_property
    def capacity(self) -> Capacity:
        """The batch size and KV memory of the server."""
        return Capacity(
            self.batch,
            self.kv_slots,
            self.kv_tokens,
            self.evict,
            self.prefill,
            self.memory,
            self.token_budget,
            self.drafting,
            self.prefix_cache,
        )

    @property
    def drafting(self) -> Drafting:
        """How drafts are verified whose lengths a draft policy chooses."""
        return Drafting(
            self.draft_verify == "padded",
            parse_graph_sizes(self.graph_sizes),
            round(self.draft_switch_ms * 1e6),
            bool(self.draft_lag),
        )

    @cached_property
    def predictor(self) -> LengthPredictor:
        """The predictor of output lengths."""
        return parse_predictor(self.length_predictor)

    def arrival_process(self, recorded: ArrivalTrace | None = None) -> Arrivals:
        """The arrival process; `recorded` is the content of the file that `arrivals` names."""
        return Arrivals(
            self.load, self.rate, self.all_at_once, self.cv, recorded, self.clients, self.think
        )

    @property
    def bounded(self) -> bool:
        """Whether the lower bound on mean latency holds.

        It does not hold in batches, which allow other schedules; in a closed loop, where arrivals
        depend on the policy; with a warm-up, which leaves out requests; where prompts share steps
        or are cached, which may take less time than a prefill; and with servers of several
        profiles.
        """
        alone = self.batch == 1 and not self.capacity.in_steps and not self.prefix_cache
        alone = alone and self.server_profiles is None
        return alone and self.clients is None and self.warmup == 0

    def caption(self, named: Mapping[str, str] | None = None) -> str:
        """Return the scenario in words: load, lengths and memory, and fields that differ from their
        defaults.

        Parameters
        ----------
        named : Mapping[str, str] or None, optional
            Descriptions of files, by field.
        """
        named = named or {}
        parts = []
        for name, scenario_field in SCENARIO_FIELDS.items():
            value = getattr(self, name)
            if callable(scenario_field.words):
                parts.append(scenario_field.words(self))
            elif value != scenario_field.default:
                template = scenario_field.words or f"{name.replace('_', ' ')} {{}}"
                parts.append(template.format(named.get(name, value)))
        return ", ".join(filter(None, parts))


_HINTS = get_type_hints(Scenario)
SCENARIO_FIELDS: Mapping[str, ScenarioField] = {
    f.name: ScenarioField.of(f.name, _HINTS[f.name], f.default, **f.metadata)
    for f in fields(Scenario)
}
_OTHER_NAMES = {
    scenario_field.also: name
    for name, scenario_field in SCENARIO_FIELDS.items()
    if scenario_field.also
}


def canonical(name: str) -> str:
    """Return the field's own name.

    Raises
    ------
    ValueError
        If no field has that name, listing the known ones.
    """
    own = _OTHER_NAMES.get(name, name)
    if own not in SCENARIO_FIELDS:
        raise ValueError(f"unknown setting {name!r}: known are {', '.join(SCENARIO_FIELDS)}")
    return own
