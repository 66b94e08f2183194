"""The worked examples of docs/reference/memory-managers.md are what the simulator does."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, LPSRPT, Alise
from lapsd.sim.engine.memory import Memory, Offload, Transfer
from lapsd.sim.engine.memory.paged import Paged
from lapsd.traces import Profile, price, trace_from_rounds
from tests.builders import MS, context, row, workload

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "memory-managers.md"

# A round takes 2 + 8 = 10 ms in batches of one or two, a prefill 1 ms per token, and a KV transfer
# 3 ms. Each round drafts one token; the requests A to E accept none.
ONE = Profile.constant(draft_ms=2, verify_ms=8, prefill_ms_per_token=1, swap_ms=3)
PROFILE = replace(ONE, costs=replace(ONE.costs, rounds=dict.fromkeys((1, 2), ONE.costs.rounds[1])))
NAMES = "ABCDE"
PROMPTS = (7, 5, 9, 3, 6)
OUTPUTS = (6, 5, 2, 3, 1)
ARRIVALS_MS = (0, 0, 15, 25, 45)


@dataclass(frozen=True)
class Example:
    """An example of the page: a memory manager, and the policy that orders the requests."""

    name: str
    capacity: Capacity
    policy: FCFS | LPSRPT | Alise = field(default_factory=LPSRPT)


EXAMPLES = [
    Example("slots", Capacity(2, 2)),
    Example("tokens", Capacity(2, "unlimited", 28)),
    Example("reserve", Capacity(2, "unlimited", 28, manager="reserve:output=pow2+context=16")),
    Example("paged", Capacity(2, "unlimited", 44, "recompute", manager="paged:block=4")),
    Example("paged-swap", Capacity(2, "unlimited", 28, manager="paged:block=4")),
    Example(
        "paged-park", Capacity(2, "unlimited", 32, "recompute", manager="paged:block=4+park=true")
    ),
    Example("fastserve", Capacity(2, "unlimited", 28, manager="fastserve:block=4")),
    Example("alise", Capacity(2, "unlimited", 28, manager="alise:block=4"), Alise()),
]


@dataclass
class Recorder:
    """The rows of a table: one for each step, written when it begins."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    now_ns: int = 0
    start_ns: int = 0
    arrived: int = 0

    def on_transfer(self, transfer):
        self.transfers.append(transfer)

    def decided(self, now_ns, start_ns, round_ns, running, waiting):
        self.now_ns, self.start_ns = now_ns, start_ns
        self.active = {*running, *waiting}

    def close(self):
        """The run is over."""

    def went_on(self, memory: Memory, waiting: bool, ns: int) -> None:
        held = {NAMES[r.index]: cell(memory, r) for r in self.active}
        spans = [
            f"{t.kind} {NAMES[t.request.index]}, {shown(t.start_ns)} to {shown(t.end_ns)}"
            for t in self.transfers
            if t.end_ns > t.start_ns
        ]
        free = memory.room - occupied(memory)
        cells = [held.get(name, "") for name in NAMES]
        step = (str(len(self.rows) + 1), shown(self.now_ns), shown(self.start_ns))
        self.rows.append((*step, *cells, str(free), "; ".join(spans)))
        self.transfers = []


def shown(ns):
    return f"{ns / MS:g}"


def occupied(memory):
    """Return the units of memory that requests occupy."""
    if isinstance(memory, Offload):
        return sum(memory.held.values())
    return sum(memory.needs(r) if r.running else memory.keeps(r) for r in memory.resident)


def cell(memory, request):
    """Return what an active request occupies: bold if it runs, with an arrow if it moves."""
    if request.running:
        return f"**{memory.needs(request)}**"
    if request in memory.resident:
        return str(memory.keeps(request))
    if isinstance(memory, Offload) and request in memory.held:
        return f"{memory.held[request]} {'in' if request in memory.coming else 'out'}"
    if isinstance(memory, Paged) and request in memory._owned:
        return f"({memory._owned[request].blocks})"
    return "-"


def rows_of(example):
    rows = [row(NAMES[i], PROMPTS[i], [0] * OUTPUTS[i], n=1) for i in range(len(NAMES))]
    work = workload(price(trace_from_rounds(rows), PROFILE), ARRIVALS_MS)
    seen = Recorder()
    simulate(
        work,
        example.policy,
        context=context(work.priced),
        capacity=example.capacity,
        timeline=seen,
        occupancy=seen,
        check=True,
    )
    return seen.rows


def table_of(example):
    head = ("step", "decided, ms", "begins, ms", *NAMES, "free", "KV transfers, ms")
    lines = [head, tuple("---" for _ in head), *rows_of(example)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_a_worked_example_of_the_page_is_what_the_simulator_does(example):
    text = PAGE.read_text(encoding="utf-8")
    part = re.search(rf"<!-- {example.name} -->\n((?:\|.*\n)+)", text)
    assert part is not None
    assert part[1] == table_of(example) + "\n"
