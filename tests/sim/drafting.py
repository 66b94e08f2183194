"""Draft policies of the tests, and generated cases in which a draft policy chooses lengths."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from hypothesis import strategies as st

from lapsd import Capacity
from lapsd.policies.drafts import (
    DraftPolicy,
    Ema,
    Fixed,
    Gated,
    Goodput,
    Off,
    Oracle,
    PassByPass,
    Priced,
    Survival,
    Table,
)
from lapsd.sim.engine.drafting import Drafting
from lapsd.traces import Trace, Workload, price
from tests.builders import workloads
from tests.capacities import EVERY, capacities
from tests.sim.equivalence import policies


@dataclass(frozen=True)
class Scripted(DraftPolicy):
    """Lengths that depend on all that a policy sees of a request, and on a state."""

    name: ClassVar[str] = "scripted"

    @dataclass(slots=True)
    class State:
        steps: int = 0

    most: int = 4

    def choose(self, step):
        step.state.steps += 1
        lengths = np.zeros(step.requests, np.int64)
        for i in range(step.requests):
            seen = step.tokens[i] + 3 * step.rounds[i] + 5 * step.accepted[i] + step.drafted[i]
            seen += 7 * step.rejected[i] + step.contexts[i] + step.predicted_tokens[i]
            seen += step.last_accepted + step.last_length + step.waiting + step.state.steps
            lengths[i] = seen % (step.most + 1)
        return lengths


MOST = st.integers(1, 4)
DRAFTS: dict[str, st.SearchStrategy[DraftPolicy]] = {
    kind.name: st.builds(kind, most=MOST, **parameters)
    for kind, parameters in {
        Scripted: {},
        Fixed: {},
        Gated: {},
        Oracle: {},
        Goodput: {"places": st.booleans(), "weight": st.sampled_from([1.0, 50.0])},
        Survival: {"confidence": st.booleans(), "own": st.sampled_from([0.0, 0.3])},
        PassByPass: {"own": st.sampled_from([0.0, 0.3, 1.0])},
        Priced: {"confidence": st.booleans(), "alpha": st.sampled_from([0.2, 1])},
        Ema: {"warmup": st.integers(1, 3), "interval": st.integers(1, 2)},
    }.items()
} | {
    Off.name: st.just(Off()),
    Table.name: MOST.map(lambda most: Table(most=most, lengths=f"1={most}/2={most // 2}/3=0")),
}
"""Draft policies with any parameters, by name."""


def with_positions(trace: Trace, seed: int) -> Trace:
    """Return a trace with columns by output position, drawn at random."""
    rng = np.random.default_rng(seed)
    ends = np.repeat(trace.output_offsets[1:], trace.output_tokens)
    left = ends - np.arange(len(ends))
    runs = np.minimum(rng.geometric(0.4, len(ends)) - 1, left)
    confidence = np.clip(rng.random(len(ends)), 0, 1).astype(np.float32)
    return replace(trace, acceptable=runs, draft_prob=confidence)


@st.composite
def positioned(draw, closed=True):
    """Workloads whose traces say what is accepted at each output position."""
    work = draw(workloads(closed=closed))
    trace = with_positions(work.priced.trace, draw(st.integers(0, 99)))
    return replace(work, priced=price(trace, work.priced.profile))


@st.composite
def draft_cases(draw, managers=EVERY, names=tuple(DRAFTS)):
    """A workload, a policy with a draft policy, and a capacity with a way to verify drafts."""
    work: Workload = draw(positioned())
    drafts = draw(DRAFTS[draw(st.sampled_from(names))])
    policy = replace(draw(policies().filter(lambda p: not p.clairvoyant)), drafts=drafts)
    late = draw(st.booleans()) and not drafts.confident
    sizes = draw(st.sampled_from([(), (1, 4, 8), (6,)]))
    drafting = Drafting(draw(st.booleans()), sizes, draw(st.sampled_from([0, 777])), late)
    capacity: Capacity = draw(capacities(work, managers, longest_draft=drafts.most))
    return work, policy, replace(capacity, drafting=drafting)
