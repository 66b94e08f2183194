"""Timelines: spans add up to the run, and spans of one track never overlap."""

import json
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lapsd import Capacity, Timeline, compare, simulate
from lapsd.policies import FCFS, LAS, POLICIES, LapsSD, PolicyContext, parse_policy
from lapsd.sim.experiment.perfetto import chrome_events, write_chrome_trace
from lapsd.traces import Profile, load_profile, load_trace, price, trace_from_rounds
from tests.builders import MS, context, row, workload, workloads

PROFILE = Profile.constant(draft_ms=2, verify_ms=8, prefill_ms_per_token=1, swap_ms=3)


def recorded(work, policy, capacity, past=None):
    timeline = Timeline()
    run = simulate(
        work, policy, context=past or context(work.priced), capacity=capacity, timeline=timeline
    )
    return timeline, run


def test_a_preemption_is_recorded_as_calculated_by_hand():
    a, c = row("A", prompt=6, accepted=[0] * 4, n=1), row("C", prompt=3, accepted=[1], n=1)
    work = workload(price(trace_from_rounds([a, c]), PROFILE), arrivals_ms=[0, 12])
    timeline, _ = recorded(
        work, parse_policy("srpt"), Capacity(), PolicyContext(10 * MS, [30 * MS])
    )
    # A: prefill until 5, a round until 15, swap-out until 18; C: prefill until 20, a round until
    # 30; A: swap-in until 33, three rounds
    found = sorted(
        (s.kind, s.request, s.track, s.start_ns // MS, s.end_ns // MS) for s in timeline.spans
    )
    assert found == [
        ("prefill", 0, 1, 0, 5),
        ("prefill", 1, 1, 18, 20),
        ("rounds", 0, 1, 5, 15),
        ("rounds", 0, 1, 33, 63),
        ("rounds", 1, 1, 20, 30),
        ("swap in", 0, 0, 30, 33),
        ("swap out", 0, 0, 15, 18),
        ("waiting", 0, 1, 15, 30),
        ("waiting", 1, 1, 12, 15),
    ]
    assert timeline.preemptions == [(15 * MS, 0, 1)]


def test_a_waiting_span_is_in_the_queue_of_the_request():
    rows = [row("A", 6, [0] * 4, n=1), row("B", 1, [0] * 3, n=1), row("C", 3, [1], n=1)]
    work = workload(price(trace_from_rounds(rows), PROFILE), arrivals_ms=[0, 12, 13])
    timeline, _ = recorded(
        work, LAS(K=2, sup_1_s=0.015), Capacity(), PolicyContext(10 * MS, [30 * MS])
    )
    waiting = sorted(
        (s.request, s.track, s.start_ns // MS, s.end_ns // MS)
        for s in timeline.spans
        if s.kind == "waiting"
    )
    # A runs two rounds and falls at 25; B runs two from 28 and falls at 48; C runs until 63; then A
    # until 86, and B
    assert waiting == [(0, 2, 25, 63), (1, 1, 12, 25), (1, 2, 48, 86), (2, 1, 13, 48)]


@dataclass(frozen=True)
class Logged(LapsSD):
    """LAPS-SD that logs when each request enters a queue."""

    log: dict = field(default_factory=dict, compare=False, metadata={"bound": True})

    def on_round(self, job, now_ns):
        super().on_round(job, now_ns)
        self.log.setdefault(job.index, []).append((now_ns, job.queue))


@settings(max_examples=80)
@given(workloads(), st.integers(2, 4), st.integers(1, 3))
def test_every_waiting_span_is_in_the_queue_of_its_time(work, queues, batch):
    policy = Logged(K=queues, gamma=2, delta=0.2)
    timeline, run = recorded(work, policy, Capacity(batch, batch))
    for span in timeline.spans:
        if span.kind == "waiting":
            past = [
                queue
                for at_ns, queue in run.policy.log.get(span.request, [])
                if at_ns <= span.start_ns
            ]
            assert span.track == (past[-1] if past else 1)
            assert (
                run.arrival_ns[span.request]
                <= span.start_ns
                < span.end_ns
                <= run.finish_ns[span.request]
            )


@settings(max_examples=80)
@given(
    workloads(),
    st.sampled_from(sorted(POLICIES)),
    st.integers(1, 3),
    st.sampled_from(["swap", "recompute"]),
)
def test_spans_add_up_to_the_run(work, name, batch, evict):
    timeline, run = recorded(work, parse_policy(name), Capacity(batch, batch, evict=evict))
    for index in range(len(work)):
        own = [s for s in timeline.spans if s.request == index]
        served = sum(s.end_ns - s.start_ns for s in own if s.kind in ("rounds", "prefill"))
        moved = sum(
            s.end_ns - s.start_ns for s in own if s.kind in ("swap in", "swap out", "recompute")
        )
        assert (served, moved) == (run.service_ns[index], run.switch_ns[index])
        assert max(s.end_ns for s in own if s.kind == "rounds") == run.finish_ns[index]
        assert (
            sum(1 for _, request, _ in timeline.preemptions if request == index)
            == run.preemptions[index]
        )


@settings(max_examples=60)
@given(workloads(), st.sampled_from(sorted(POLICIES)), st.integers(1, 3))
def test_spans_of_one_track_do_not_overlap(work, name, batch):
    timeline, _ = recorded(work, parse_policy(name), Capacity(batch, "unlimited"))
    tracks = {}
    for event in chrome_events({name: timeline}):
        if event["ph"] == "X":
            tracks.setdefault((event["pid"], event["tid"]), []).append(
                (event["ts"], event["ts"] + event["dur"])
            )
    for slices in tracks.values():
        assert all(end <= start + 1e-6 for (_, end), (start, _) in pairwise(sorted(slices)))


def test_a_comparison_writes_a_chrome_trace_and_plots_its_schedules(tmp_path):
    result = compare(
        load_trace("reference"),
        load_profile("reference"),
        [FCFS(), parse_policy("laps-sd")],
        seeds=2,
        requests=12,
        timeline=True,
    )
    assert list(result.timelines) == ["fcfs", "laps-sd"]
    write_chrome_trace(result.timelines, tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    names = {e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert {"fcfs: server", "laps-sd: server", "laps-sd: queue 1"} <= names
    panels = result.plot_schedules().axes
    assert [ax.get_title(loc="left").partition(":")[0] for ax in panels] == ["fcfs", "laps-sd"]
    assert panels[-1].get_xlabel().startswith("time, s")
    for ax, timeline in zip(panels, result.timelines.values(), strict=True):
        shown = [s for s in timeline.spans if s.request < 10 and s.kind != "waiting"]
        assert len(ax.patches) == len(shown)
        assert max(p.get_x() + p.get_width() for p in ax.patches) == pytest.approx(
            max(s.end_ns for s in shown) / 1e9
        )


def test_a_timeline_does_not_change_the_run():
    trace, profile = load_trace("reference"), load_profile("reference")
    with_it, without = (
        compare(trace, profile, seeds=2, requests=20, timeline=t).requests for t in (True, False)
    )
    assert np.array_equal(with_it["finish_ns"], without["finish_ns"])


@pytest.mark.parametrize(("option", "file"), [("--timeline", "t.txt"), ("--gantt", "g.json")])
def test_a_wrong_file_ending_is_refused(option, file, tmp_path, capsys, monkeypatch):
    from lapsd import cli

    monkeypatch.setattr(
        "sys.argv", ["lapsd", "compare", "--seeds", "1", option, str(tmp_path / file)]
    )
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert f"{option} {tmp_path / file}: the file's ending must be" in capsys.readouterr().err
