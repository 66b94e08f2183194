"""What a server did, as spans of time: who ran in which slot, who waited in which queue, what moved
in memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from lapsd.sim.engine.memory import Transfer
from lapsd.sim.engine.request import Request


class Span(NamedTuple):
    """One thing that lasted.

    Attributes
    ----------
    kind : str
        `rounds`, `prefill`, `waiting`, `swap out`, `swap in` or `recompute`.
    request : int
        Index of the request.
    track : int
        Slot of the batch, from 1; for `waiting` the queue; for moves 0.
    start_ns, end_ns : int

    Examples
    --------
    >>> from lapsd.sim.engine import Span
    >>> span = Span(kind="rounds", request=0, track=1, start_ns=0, end_ns=5_000_000)
    >>> (span.end_ns - span.start_ns) / 1e6  # milliseconds
    5.0
    """

    kind: str
    request: int
    track: int
    start_ns: int
    end_ns: int


@dataclass(eq=False)
class Timeline:
    """Recorded by a server as it decides.

    Attributes
    ----------
    spans : list of Span, by kind in order of their ends
    preemptions : list of (ns, request, slot)

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> prepared = lapsd.PreparedScenario.of("reference", "reference", requests=3, load=0.9)
    >>> timeline = lapsd.Timeline()
    >>> done = lapsd.run(prepared, FCFS(), seed=0, timeline=timeline)
    >>> sorted({span.kind for span in timeline.spans})
    ['prefill', 'rounds']
    """

    spans: list[Span] = field(default_factory=list)
    preemptions: list[tuple[int, int, int]] = field(default_factory=list)
    _slots: dict[int, int] = field(default_factory=dict)
    _open: dict[int, Span] = field(default_factory=dict)
    _waiting: dict[int, Span] = field(default_factory=dict)

    def on_transfer(self, transfer: Transfer) -> None:
        """A KV cache moves."""
        if transfer.end_ns > transfer.start_ns:
            self.spans.append(
                Span(transfer.kind, transfer.request.index, 0, transfer.start_ns, transfer.end_ns)
            )

    def decided(
        self,
        now_ns: int,
        start_ns: int,
        round_ns: int,
        running: Iterable[Request],
        waiting: Iterable[Request],
    ) -> None:
        """A decision: who runs a round from `start_ns` on, and who waits."""
        run, wait = {r.index: r for r in running}, {r.index: r for r in waiting}
        for index in list(self._slots):
            if index not in run:
                slot = self._slots.pop(index)
                self.spans.append(self._open.pop(index))
                if index in wait:
                    self.preemptions.append((now_ns, index, slot))
        free = (slot for slot in range(1, len(run) + 1) if slot not in self._slots.values())
        for index, request in run.items():
            if not request.rounds and index not in self._waiting and request.arrival_ns < now_ns:
                self.spans.append(Span("waiting", index, request.queue, request.arrival_ns, now_ns))
            slot = self._slots.get(index) or self._slots.setdefault(index, next(free))
            if request.rounds == 0 and start_ns > request.first_service_ns:
                began, took = request.first_service_ns, request.prefill_ns
                if took:
                    self.spans.append(Span("prefill", index, slot, began, began + took))
            last = self._open.get(index)
            if last is not None and last.end_ns == start_ns:
                self._open[index] = last._replace(end_ns=start_ns + round_ns)
                continue
            if last is not None:
                self.spans.append(last)
            self._open[index] = Span("rounds", index, slot, start_ns, start_ns + round_ns)
        self._follow_waiting(now_ns, wait)

    def _follow_waiting(self, now_ns: int, wait: dict[int, Request]) -> None:
        for index in list(self._waiting):
            if index not in wait:  # who waits stays in its queue
                self.spans.append(self._waiting.pop(index)._replace(end_ns=now_ns))
        for index, request in wait.items():
            if index not in self._waiting:
                since = now_ns if request.started else request.arrival_ns
                self._waiting[index] = Span("waiting", index, request.queue, since, since)

    def close(self) -> None:
        """The run is over."""
        self.spans += self._open.values()
        self._open.clear()
