"""A setting: everything a run depends on besides policy and seed, each spelled once, as a field.

Options of the command line, a sweep's keys, columns of records, captions, `_config.json` and what
is said of a wrong value are derived from the fields: a new knob is one field here and the code that
uses it. Knows nothing of files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, get_type_hints

from lapsd.sim.engine import Capacity
from lapsd.sim.engine.memory import MANAGERS
from lapsd.sim.engine.prefill import PREFILLS
from lapsd.sim.experiment.scenario_field import ScenarioField, Value
from lapsd.traces import PREDICTORS, Arrivals, ArrivalTrace, LengthPredictor
from lapsd.traces.predictors import usage

LOAD = 0.8  # where nothing is said of how requests come


def _knob(default: Value, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, **more})


def _load_in_words(scenario: "Scenario") -> str:
    if scenario.load is None:
        return ""
    return (
        "load"
        f" {scenario.load:g}{' (overloaded: depends on the number of requests)' if scenario.load >= 1 else ''}"
    )


def _gaps_in_words(scenario: "Scenario") -> str:
    if scenario.arrivals or scenario.all_at_once or scenario.clients is not None:
        return ""
    return "Poisson arrivals" if scenario.cv == 1 else f"Gamma gaps (CV {scenario.cv:g})"


def _slots_in_words(scenario: "Scenario") -> str:
    if scenario.kv_tokens is not None:
        return ""
    slots = scenario.capacity.kv_slots
    return "unlimited KV memory" if slots is None else f"{slots} KV slot{'s' * (slots != 1)}"


def _budget_in_words(scenario: "Scenario") -> str:
    return f"{scenario.token_budget} tokens a step" if scenario.prefill == "chunked" else ""


@dataclass(frozen=True)
class Scenario:
    """Everything a run depends on besides policy and seed.

    Raises
    ------
    ValueError
        Naming the field, its value and the bound, or the fields that do not go together.
    """

    trace: str = _knob(
        "reference",
        "A trace file, or a bundled one: reference, azure-conversations.",
        split=True,
        words=lambda s: "",
    )
    profile: str = _knob(
        "reference",
        "A profile file, or a bundled one: reference, opt-13b-a100.",
        split=True,
        words=lambda s: "",
    )
    dataset: str | None = _knob(
        None,
        "Only this data set of the trace, or a mix: code=0.7+prose=0.3.",
        split=True,
        words="data set {}",
    )
    requests: int = _knob(
        30, "Requests in a workload.", least=1, words=lambda s: f"{s.requests} requests"
    )
    warmup: int = _knob(
        0,
        "Requests left out of the statistics at the start of each run, for steady state.",
        least=0,
        unit="requests",
        words="the first {} left out of the statistics",
    )
    load: float | None = _knob(
        None, f"Arriving work per unit of time [default: {LOAD}].", above=0, words=_load_in_words
    )
    rate: float | None = _knob(
        None,
        "Arrivals per second, instead of a load.",
        unit="1/s",
        above=0,
        also="rate_per_s",
        words="{:g} arrivals/s",
    )
    all_at_once: bool = _knob(False, "All requests arrive at time 0.", words="all at once")
    cv: float = _knob(
        1.0,
        "Of gaps between arrivals: Gamma gaps; 1: a Poisson process.",
        above=0,
        most=100,
        words=_gaps_in_words,
    )
    arrivals: str | None = _knob(
        None,
        "Recorded arrivals (lapsd import azure or mooncake), rescaled to the load.",
        words="arrivals as in {}",
    )
    clients: int | None = _knob(
        None,
        "A closed loop of so many clients, instead of a load.",
        least=1,
        words="a closed loop of {} clients",
    )
    think: float = _knob(
        0.0,
        "Seconds from an answer to a client's next request.",
        unit="s",
        least=0,
        most=1e9,
        also="think_s",
        words="who think for {:g} s",
    )
    length_predictor: str = _knob(
        "oracle",
        f"What servers take output lengths to be: {', '.join(map(usage, PREDICTORS.values()))}.",
        words=lambda s: f"lengths {s.length_predictor}",
    )
    split_seed: int = _knob(
        0,
        "Of the split into training and test half.",
        least=0,
        split=True,
        words="split by seed {}",
    )
    draft_tokens: int | None = _knob(
        None,
        "Replay the trace at another draft length, if it holds what that needs.",
        unit="tokens",
        least=0,
        most=1000,
        split=True,
        words="replayed at n = {}",
    )
    batch: int = _knob(
        1,
        "Requests that run a round together.",
        unit="requests",
        least=1,
        split=True,
        words="batches of up to {}",
    )
    kv_slots: int | None = _knob(
        None,
        "Requests whose KV caches fit in memory; 0: all [default: 1, or all in batches].",
        unit="requests",
        least=0,
        words=_slots_in_words,
    )
    kv_tokens: int | None = _knob(
        None,
        "Tokens whose keys and values fit in memory.",
        unit="tokens",
        least=1,
        words="{} KV tokens",
    )
    evict: str = _knob(
        "swap",
        "A cache that must go: swap it out, or recompute it later.",
        one_of=("swap", "recompute"),
        words="evict by {}",
    )
    swap: str | None = _knob(
        None,
        "Another way of moving caches that the profile has.",
        split=True,
        words="caches moved by {}",
    )
    swap_scale: float = _knob(
        1.0,
        "Makes every move so many times as long.",
        least=0,
        most=1e6,
        split=True,
        words="moves x {:g}",
    )
    memory: str = _knob(
        "auto",
        f"Manager of KV memory: {', '.join(MANAGERS)}, with parameters as in"
        " paged:block=16+park=true; auto: tokens if they are limited, else slots.",
        words="memory {}",
    )
    prefill: str = _knob(
        "alone",
        "Prompts of one decision: alone (in turn) or batched; or in steps that rounds share: mixed"
        " (whole) or chunked.",
        one_of=tuple(PREFILLS),
        words="prompts {}",
    )
    token_budget: int = _knob(
        2048,
        "Tokens of a step, where prompts are chunked.",
        unit="tokens",
        least=1,
        words=_budget_in_words,
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
        if self.warmup >= self.requests:
            raise ValueError(
                f"warmup {self.warmup}: must be below the number of requests, {self.requests}"
            )
        _ = (
            self.capacity,
            self.arrival_process(),
            self.predictor,
        )  # refuse what does not go together

    @classmethod
    def of(cls, **values: Any) -> "Scenario":
        """From the keywords of a call, by name or other name; length predictors may be objects.

        Raises
        ------
        ValueError
            For an unknown name (listing those there are), or as the class does.
        """
        named = {canonical(name): value for name, value in values.items()}
        if isinstance(named.get("length_predictor"), LengthPredictor):
            named["length_predictor"] = str(named["length_predictor"])
        if "kv_slots" in named and named["kv_slots"] is None:
            named["kv_slots"] = (
                0  # said in a call, None is no limit; the default is what is not said
            )
        return cls(**named)

    @cached_property
    def capacity(self) -> Capacity:
        """The server's.

        Without a number of slots the paper's one at b = 1; with batches 1 is taken for no limit.
        """
        slots = (1 if self.kv_slots is None else self.kv_slots) or None
        if self.batch > 1 and slots == 1:
            slots = None
        return Capacity(
            self.batch,
            slots,
            self.kv_tokens,
            self.evict,
            self.prefill,
            self.memory,
            self.token_budget,
        )

    @cached_property
    def predictor(self) -> LengthPredictor:
        """How lengths are predicted."""
        return LengthPredictor.parse(self.length_predictor)

    def arrival_process(self, recorded: ArrivalTrace | None = None) -> Arrivals:
        """How requests come; `recorded` is what `arrivals` names."""
        return Arrivals(
            self.load, self.rate, self.all_at_once, self.cv, recorded, self.clients, self.think
        )

    @property
    def bounded(self) -> bool:
        """Whether the bound on mean latency holds.

        With batches other schedules are feasible, in a closed loop arrivals differ, and it says
        nothing of a part of the requests.
        """
        return self.batch == 1 and self.clients is None and self.warmup == 0

    def caption(self, named: Mapping[str, str] | None = None) -> str:
        """In words: what is not the default, and what is always said.

        `named`: what files are, by knob.
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
    """A knob's own name.

    Raises
    ------
    ValueError
        If there is none of that name, listing those there are.
    """
    own = _OTHER_NAMES.get(name, name)
    if own not in SCENARIO_FIELDS:
        raise ValueError(f"unknown setting {name!r}: known are {', '.join(SCENARIO_FIELDS)}")
    return own
