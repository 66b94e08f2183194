"""Settings that a scenario gives but that change none of its runs.

A setting may have no effect in some scenarios of a sweep, as a factor on KV transfers has none
where memory is unlimited. A setting that has none at all was given by mistake.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from lapsd.policies import Policy
from lapsd.sim.engine.memory import MANAGERS, AliseMemory, Paged, Slots, Tokens
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS

NO_DRAFT_POLICY = "has no effect without a draft policy"
NOT_CHUNKED = "has no effect without prefill=chunked"
WITH_SLOTS = tuple(name for name, kind in MANAGERS.items() if kind in (Slots, Tokens))


def _no_eviction(prepared: PreparedScenario) -> str:
    memory = prepared.scenario.capacity.memory(prepared.profile.costs)
    return "" if memory.limited else "has no effect because KV memory is unlimited"


def _no_transfer(prepared: PreparedScenario) -> str:
    if prepared.scenario.evict == "recompute":
        return "has no effect with evict=recompute"
    costs = prepared.profile.costs
    free = not any(term.base_ns or term.per_token_ns for term in (costs.swap_out, costs.swap_in))
    if free and prepared.scenario.swap_scale:
        return "has no effect because the profile has no times of KV transfers"
    return _no_eviction(prepared)


def _no_slots(prepared: PreparedScenario) -> str:
    scenario = prepared.scenario
    manager = scenario.memory.partition(":")[0]
    counts = scenario.kv_slots == "unlimited" or manager in ("auto", *WITH_SLOTS)
    return "" if counts else f"has no effect with memory={manager}"


def _no_budget(prepared: PreparedScenario) -> str:
    return "" if prepared.scenario.prefill == "chunked" else NOT_CHUNKED


def _no_parameter(prepared: PreparedScenario) -> str:
    spec, costs = prepared.scenario.memory, prepared.profile.costs
    manager = prepared.scenario.capacity.memory(costs)
    if isinstance(manager, Paged) and "park=true" in spec and not manager.eviction.drops:
        return "park has no effect with evict=swap"
    if isinstance(manager, AliseMemory) and manager.quantise_ns and manager.int8 == "none":
        return "quantise_ns has no effect with int8=none"
    return ""


def _no_split(prepared: PreparedScenario) -> str:
    ordered = prepared.trace.prefixes is not None
    return "has no effect with hashes of prompts: the halves follow the trace" if ordered else ""


def _no_router(prepared: PreparedScenario) -> str:
    if not prepared.scenario.several:
        return "has no effect with one server"
    return "has no effect with dispatch=central" if prepared.scenario.routing.central else ""


def _one_queue_of_one(prepared: PreparedScenario) -> str:
    return "" if prepared.scenario.servers > 1 else "has no effect with one server"


DRAFT_SETTINGS = ("draft_verify", "graph_sizes", "draft_switch_ms", "draft_lag")

REASONS: Mapping[str, Callable[[PreparedScenario], str]] = {
    "kv_slots": _no_slots,
    "evict": _no_eviction,
    "swap": _no_transfer,
    "swap_scale": _no_transfer,
    "token_budget": _no_budget,
    "memory": _no_parameter,
    "split_seed": _no_split,
    "router": _no_router,
    "dispatch": _one_queue_of_one,
    "signal_age_ms": _no_router,
    "guardrails": _no_router,
}
"""Why a setting, or a part of it, has no effect; "" where it has one. By name."""


def refuse_without_effect(
    scenarios: Iterable[PreparedScenario], policies: Sequence[Policy]
) -> None:
    """Refuse a setting that differs from its default and has no effect in any of the scenarios
    under any of the policies.

    Raises
    ------
    ValueError
        Naming the setting, its value, and why it has none.
    """
    reasons: dict[str, str] = {}
    reasons_of = dict(REASONS)
    if all(policy.drafts is None for policy in policies):
        reasons_of |= dict.fromkeys(DRAFT_SETTINGS, lambda _: NO_DRAFT_POLICY)
    for prepared in scenarios:
        for name, reason_of in reasons_of.items():
            value = getattr(prepared.scenario, name)
            if value != SCENARIO_FIELDS[name].default and reasons.get(name) != "":
                reason = reason_of(prepared)
                reasons[name] = f"{name}={value}: {reason}" if reason else ""
    for text in filter(None, reasons.values()):
        raise ValueError(text)
