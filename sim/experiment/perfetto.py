"""Timelines as a Chrome trace, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Each policy has one process for its server, with one thread per batch slot and one for KV memory,
and one process per queue, with as many lanes as requests waited there at once. Times are
microseconds.
"""

import json
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from lapsd.sim.engine.timeline import Span, Timeline
from lapsd.traces.files import write_text


def write_chrome_trace(timelines: Mapping[str, Timeline], path: Path) -> None:
    """Write the timelines of several policies into one file, completely or not at all.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    document = json.dumps({"displayTimeUnit": "ms", "traceEvents": chrome_events(timelines)})
    write_text(path, document)


def chrome_events(timelines: Mapping[str, Timeline]) -> list[dict[str, Any]]:
    """Return the events of the trace, policy by policy."""
    events: list[dict[str, Any]] = []
    process = 0
    for policy, timeline in timelines.items():
        process += 1
        server = [s for s in timeline.spans if s.kind != "waiting"]
        tracks = {s.track: f"slot {s.track}" if s.track else "KV memory" for s in server}
        events += _named(process, f"{policy}: server", tracks)
        events += [_slice(s, process, s.track, s.kind) for s in server]
        for at_ns, request, slot in timeline.preemptions:
            events.append(
                {
                    "ph": "i",
                    "s": "t",
                    "pid": process,
                    "tid": slot,
                    "ts": at_ns / 1000,
                    "name": f"request {request} preempted",
                }
            )
        waiting = [s for s in timeline.spans if s.kind == "waiting" and s.end_ns > s.start_ns]
        for queue in sorted({s.track for s in waiting}):
            process += 1
            lanes = _lanes(s for s in waiting if s.track == queue)
            events += _named(
                process, f"{policy}: queue {queue}", {lane: f"place {lane}" for _, lane in lanes}
            )
            events += [_slice(s, process, lane, "waiting") for s, lane in lanes]
    return events


def _named(process: int, name: str, tracks: Mapping[int, str]) -> list[dict[str, Any]]:
    events = [
        {"ph": "M", "pid": process, "name": "process_name", "args": {"name": name}},
        {"ph": "M", "pid": process, "name": "process_sort_index", "args": {"sort_index": process}},
    ]
    for thread, label in sorted(tracks.items()):
        events.append(
            {
                "ph": "M",
                "pid": process,
                "tid": thread,
                "name": "thread_name",
                "args": {"name": label},
            }
        )
    return events


def _slice(span: Span, process: int, thread: int, kind: str) -> dict[str, Any]:
    name = f"request {span.request}" if kind in ("rounds", "waiting") else f"{kind} {span.request}"
    return {
        "ph": "X",
        "pid": process,
        "tid": thread,
        "name": name,
        "cat": kind,
        "ts": span.start_ns / 1000,
        "dur": (span.end_ns - span.start_ns) / 1000,
        "args": {"request": span.request},
    }


def _lanes(spans: Iterable[Span]) -> list[tuple[Span, int]]:
    """Return each span with the lowest lane that is free at its start."""
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    placed = []
    for span in sorted(spans, key=lambda s: (s.start_ns, s.request)):
        while busy and busy[0][0] <= span.start_ns:
            heappush(free, heappop(busy)[1])
        lane = heappop(free) if free else len(busy) + 1
        heappush(busy, (span.end_ns, lane))
        placed.append((span, lane))
    return placed
