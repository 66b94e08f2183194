"""torch's number of threads is one, unless all are measured to be clearly faster."""

import pytest
import torch

from lapsd.calibrate.models import threads
from lapsd.calibrate.models.threads import Threads, choose_threads
from lapsd.cli.measuring import use_threads
from tests.calibrate.tiny import tiny_pair


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Clock:
    """A clock that only rounds move, so that the load of the machine has no part in a test."""

    now_s = 0.0

    def perf_counter(self):
        return self.now_s

    monotonic = perf_counter


def rounds_take(monkeypatch, by_threads):
    clock = Clock()

    def spend(work):
        clock.now_s += by_threads[torch.get_num_threads()]

    monkeypatch.setattr(threads, "time", clock)
    monkeypatch.setattr(threads._Work, "round", spend)


@pytest.mark.parametrize(
    ("by_threads", "chosen"),
    [({1: 0.002, 2: 0.02}, 1), ({1: 0.005, 2: 0.005}, 1), ({1: 0.02, 2: 0.002}, 2)],
)
def test_the_threads_of_faster_rounds_are_kept(two_threads, monkeypatch, by_threads, chosen):
    rounds_take(monkeypatch, by_threads)
    measured = choose_threads(tiny_pair(0.1), 3)
    assert measured.chosen == torch.get_num_threads() == chosen
    assert measured.one_s == pytest.approx(by_threads[1])
    assert measured.all_s == pytest.approx(by_threads[2])


def test_all_threads_must_be_ten_percent_faster():
    assert Threads(4, one_s=1.09, all_s=1).chosen == 1
    assert Threads(4, one_s=1.11, all_s=1).chosen == 4


def test_real_rounds_are_measured_and_leave_the_engines_as_they_were(two_threads):
    pair = tiny_pair(0.1)
    measured = choose_threads(pair, 3, batch=50)  # more than the context holds
    assert measured.one_s > 0 < measured.all_s
    assert str(measured).startswith(f"{measured.chosen} of 2 (a round takes ")


def test_nothing_is_measured_where_there_is_no_choice(two_threads, monkeypatch):
    monkeypatch.setattr(threads, "_Work", None)
    torch.set_num_threads(1)
    assert choose_threads(tiny_pair(0.1), 3) is None


def test_a_resumed_measurement_keeps_its_number_of_threads(two_threads, monkeypatch, capsys):
    monkeypatch.setattr(threads, "_Work", None)
    use_threads(tiny_pair(0.1), 3, 1, before=1, quiet=False)
    assert torch.get_num_threads() == 1
    assert capsys.readouterr().err == ""
