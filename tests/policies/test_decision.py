"""The parts of a decision that the simulator, our executor and the vLLM class share."""

from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from lapsd.policies import Policy
from lapsd.policies.decision import Decisions, choose, settle
from lapsd.serve.vllm.job import LiveJob


def jobs(count):
    return [LiveJob(f"r{i}", i, i, 4, 9, 0) for i in range(count)]


@dataclass(frozen=True)
class Levels(Policy):
    """A request leaves the first queue after one round, the second after three."""

    def rank(self, job, now_ns):
        return (job.queue,)

    def on_round(self, job, now_ns):
        job.queue = 1 + (job.rounds >= 1) + (job.rounds >= 3)


@given(st.lists(st.integers(1, 9)), st.integers(0, 12), st.integers(0, 30))
def test_chosen_are_the_longest_first_part_that_fits(sizes, batch_slots, room):
    chosen = choose(iter(sizes), batch_slots, lambda first: sum(first) <= room)
    assert chosen == sizes[: len(chosen)]
    assert len(chosen) <= batch_slots
    assert sum(chosen) <= room
    if len(chosen) < min(len(sizes), batch_slots):
        assert sum(sizes[: len(chosen) + 1]) > room


@given(st.data())
def test_running_requests_that_are_not_chosen_are_preempted(data):
    @dataclass(eq=False)
    class Counted:
        index: int
        running: bool
        preemptions: int = 0

    active = [Counted(i, data.draw(st.booleans())) for i in range(data.draw(st.integers(0, 6)))]
    before = [job.running for job in active]
    chosen = [job for job in data.draw(st.permutations(active)) if data.draw(st.booleans())]
    waiting, fresh = settle(active, chosen)
    assert [job.running for job in active] == [job in chosen for job in active]
    assert waiting == [job for job in active if job not in chosen]
    assert fresh == [job for job in chosen if not before[job.index]]
    assert [job.preemptions for job in active] == [
        was and job not in chosen for was, job in zip(before, active, strict=True)
    ]


def test_a_request_enters_a_queue_when_it_arrives_and_when_its_queue_changes():
    decisions, job = Decisions(Levels()), jobs(6)[5]
    decisions.arrive(job, 7)
    entered = [job.entered_ns]
    for now_ns in (10, 20, 30):
        decisions.commit(job, 2, 4, now_ns)
        entered.append(job.entered_ns)
    assert entered == [5, 10, 10, 30]
    assert (job.rounds, job.tokens, job.service_ns) == (3, 6, 12)


def test_equal_ranks_are_ordered_by_running_then_entry_then_arrival():
    decisions, (a, b, c, d) = Decisions(Levels()), jobs(4)
    for job in (a, b, c, d):
        decisions.arrive(job, 4)
    d.running, b.entered_ns, c.entered_ns = True, 3, 0
    assert sorted([b, d, c, a], key=decisions.order(5)) == [d, a, c, b]


def test_a_state_that_is_no_dataclass_of_numbers_is_refused_before_the_run():
    class Texts(Levels):
        State = dataclass(type("State", (), {"__annotations__": {"name": str}, "name": ""}))

    with pytest.raises(ValueError, match=r"policy Texts: State.name is of type str: must be int"):
        Decisions(Texts())
