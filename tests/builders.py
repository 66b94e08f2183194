"""Small traces, profiles and workloads for tests, written by hand or drawn by Hypothesis."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lapsd import policy_context
from lapsd.policies import PolicyContext
from lapsd.policies.calls import arrived
from lapsd.traces import (
    Costs,
    Linear,
    PricedTrace,
    Profile,
    RoundTerms,
    StepTerms,
    Swap,
    Trace,
    Workload,
    price,
    trace_from_rounds,
)
from lapsd.traces.costs import Piecewise

MS = 1_000_000


def row(
    name: str, prompt: int, accepted: Sequence[int], n: int = 4, cut: int = 0, **extra: Any
) -> dict[str, Any]:
    """Return a row of a trace. `cut` is 1 if the output ends with an accepted draft token."""
    return {
        "request_id": name,
        "dataset": "toy",
        "prompt_tokens": prompt,
        "output_tokens": sum(accepted) + len(accepted) - cut,
        "drafted": [n] * len(accepted),
        "accepted": list(accepted),
        **extra,
    }


def workload(
    priced: PricedTrace, arrivals_ms: Sequence[float], predicted: Sequence[int] | None = None
) -> Workload:
    """Return a workload of each trace row once, in order, with arrivals in milliseconds."""
    rows = np.arange(len(arrivals_ms))
    lengths = priced.trace.output_tokens[rows] if predicted is None else np.array(predicted)
    return Workload(
        priced, rows, np.array([round(a * MS) for a in arrivals_ms], dtype=np.int64), lengths
    )


def context(priced: PricedTrace) -> PolicyContext:
    """Return a policy context whose training data are the same trace.

    Every switch between requests costs a swap-out and a swap-in.
    """
    costs, tokens = priced.profile.costs, priced.median_context
    switches = {"swap_out_ns": costs.swap_out(tokens), "swap_in_ns": costs.swap_in(tokens)}
    return replace(policy_context(priced), **switches)


@st.composite
def rows(draw: st.DrawFn, name: str = "r", n: int | None = None) -> dict[str, Any]:
    """Requests of up to 12 rounds with any draft lengths, or with draft length `n`."""
    lengths = st.integers(0, 6) if n is None else st.just(n)
    drafted = draw(st.lists(lengths, min_size=1, max_size=12))
    accepted = [draw(st.integers(0, n)) for n in drafted]
    cut = draw(st.integers(0, 1)) if accepted[-1] > 0 else 0
    return row(name, draw(st.integers(0, 50)), accepted, cut=cut) | {"drafted": drafted}


@st.composite
def traces(draw: st.DrawFn, max_requests: int = 12) -> Trace:
    """Traces with one draft length, one per request, or any in each round."""
    n = draw(st.none() | st.integers(0, 6))
    mixed = rows() | st.integers(0, 3).flatmap(lambda m: rows(n=m))
    request = mixed if n is None else rows(n=n)
    return trace_from_rounds(draw(st.lists(request, min_size=1, max_size=max_requests)))


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Profiles with costs that grow with context, and with free or expensive switches."""
    few = st.integers(0, 30)
    linear = st.builds(Linear, st.integers(0, 5_000), few)
    widths = st.fixed_dictionaries({1: st.integers(1, 9_000), 5: st.integers(1, 9_000)})
    terms = st.builds(
        RoundTerms, linear, widths, st.fixed_dictionaries({1: few, 9: few}), st.integers(0, 500)
    )
    tokens = st.fixed_dictionaries({1: st.integers(1, 9_000), 9: st.integers(1, 9_000)})
    steps = st.builds(StepTerms, tokens, st.fixed_dictionaries({1: few, 9: few}), linear)
    prefills = linear | st.builds(Piecewise, tokens, st.integers(0, 10**6))
    costs = Costs(
        rounds={b: draw(terms) for b in (1, 3)},
        prefill=draw(prefills),
        swap_out=draw(linear),
        swap_in=draw(linear),
        swap_ways=draw(
            st.dictionaries(st.sampled_from(["pinned", "int8"]), st.builds(Swap, linear, linear))
        ),
        steps=draw(st.just({}) | st.fixed_dictionaries({1: steps, 3: steps})),
    )
    return Profile("by_hand", "unknown", costs)


@st.composite
def workloads(
    draw: st.DrawFn, profile: Profile | None = None, max_requests: int = 12, closed: bool = False
) -> Workload:
    """Workloads in which arrivals often coincide with each other or with the end of a round.

    With `closed`, some workloads are closed loops of a few clients.
    """
    trace = draw(traces(max_requests))
    priced = price(trace, profile or draw(profiles()))
    scale = max(1, int(priced.mean_size_ns))
    step = draw(st.sampled_from([1, scale // 4 + 1, int(priced.round_ns[0])]))
    gaps = draw(st.lists(st.integers(0, 4), min_size=len(trace), max_size=len(trace)))
    arrivals = np.cumsum(np.array(gaps, dtype=np.int64) * step)
    if draw(st.booleans()):  # arrivals at ends of rounds of the first request, which runs alone
        ends = priced.prefill_ns[0] + np.append(0, np.cumsum(priced.round_ns[trace.rounds_of(0)]))
        arrivals = np.append(
            0, ends[np.minimum(np.cumsum(gaps[1:], dtype=np.int64), len(ends) - 1)]
        )
    predicted = draw(st.lists(st.integers(1, 40), min_size=len(trace), max_size=len(trace)))
    clients = draw(st.sampled_from([None, None, 1, 2, 4])) if closed else None
    if clients:
        loop = (clients, draw(st.sampled_from([0, step])))
        return Workload(
            priced, np.arange(len(trace)), np.zeros_like(arrivals), np.array(predicted), 0, *loop
        )
    return Workload(priced, np.arange(len(trace)), arrivals, np.array(predicted, dtype=np.int64))


def state_of(policy, index, prompt_tokens, predicted_tokens):
    """The State of a new request, which may be written to at any time."""
    state, permission = arrived(policy, index, prompt_tokens, predicted_tokens)
    permission.given = True
    return state
