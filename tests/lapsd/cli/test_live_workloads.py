"""A validation within a time budget: what is left out, interrupts, and resuming."""

import time
from dataclasses import replace

import pytest

from lapsd.calibrate.budget import Budget
from lapsd.calibrate.recording import silent
from lapsd.cli.live_workloads import Serving
from lapsd.serve.validation.duration import REQUESTS_KEPT, with_requests
from lapsd.serve.validation.folder import Folder
from tests.serve.tiny_trial import tiny_trial

LOADS = [0.5, 0.9]


@pytest.fixture(scope="module")
def trial():
    return with_requests(tiny_trial(), 12)


def used_up():
    return Budget(1, begun=time.monotonic() - 10)


def names(served):
    return [runs.name for runs in served.runs]


def test_without_a_budget_every_load_of_every_seed_is_served(trial):
    said = []
    served = Serving(trial, LOADS, 2, None, Budget(), lambda *stage: said.append(stage)).serve()
    assert served.complete
    assert served.left_out == []
    assert served.made(Budget()) == {}
    assert names(served) == [f"load-{load:g}-seed-{seed}" for seed in (0, 1) for load in LOADS]
    runs = [stage for stage in said if stage[0] == "live runs of 12 requests"]
    assert [stage[1:3] for stage in runs] == [(i, 8) for i in range(8)]
    assert runs[0][3].startswith("about ")
    assert [stage[0] for stage in said[:2]] == ["warming up", "calibrating"]
    assert said[1][3].startswith("about ")


def test_a_budget_that_is_used_up_leaves_one_seed_of_few_requests(trial):
    served = Serving(trial, LOADS, 3, None, used_up(), silent).serve()
    assert served.complete
    assert names(served) == ["load-0.5-seed-0", "load-0.9-seed-0"]
    assert {len(plan.requests) for runs in served.runs for plan in runs.plans} == {REQUESTS_KEPT}
    assert served.left_out == ["7 of 12 requests of each run", "2 of 3 seeds"]
    assert served.made(Budget(20)) == {
        "budget": "20 s",
        "left out": "7 of 12 requests of each run; 2 of 3 seeds",
    }


def test_a_resumed_validation_has_as_many_requests_and_serves_further_seeds(trial, tmp_path):
    folder = Folder(tmp_path / "out", {}, overwrite=False, resume=False)
    Serving(trial, [0.9], 3, folder, used_up(), silent).serve()
    again = Folder(tmp_path / "out", {}, overwrite=False, resume=True)
    served = Serving(trial, [0.9], 3, again, used_up(), silent).serve()
    assert names(served) == ["load-0.9-seed-0", "load-0.9-seed-1"]
    assert served.left_out == ["7 of 12 requests of each run", "1 of 3 seeds"]
    served = Serving(trial, [0.9], 3, again, Budget(), silent).serve()
    assert names(served) == [f"load-0.9-seed-{seed}" for seed in range(3)]
    assert {len(plan.requests) for runs in served.runs for plan in runs.plans} == {REQUESTS_KEPT}
    assert served.left_out == ["7 of 12 requests of each run"]


def test_an_interrupt_keeps_the_runs_that_were_served(trial, monkeypatch, tmp_path):
    serve, left = trial.engine.serve, iter([True] * 6)

    def cut_short(plan, interleaved=()):
        record = serve(plan, interleaved)
        return record if next(left, False) else replace(record, complete=False)

    costs = trial.first_profile()
    folder = Folder(tmp_path / "out", {}, overwrite=False, resume=False)
    folder.begin(costs)
    monkeypatch.setattr(trial.engine, "serve", cut_short)
    served = Serving(trial, LOADS, 5, folder, Budget(100), silent).serve()
    assert not served.complete
    assert served.left_out == []
    assert names(served) == [
        "load-0.5-seed-0",
        "load-0.9-seed-0",
        "load-0.5-seed-1",
        "load-0.9-seed-1",
    ]
    assert folder.done(0.5, 1) is not None
    assert folder.done(0.9, 1) is None


def test_an_interrupt_before_the_first_run_gives_no_runs(trial, monkeypatch):
    def interrupted(plan, interleaved=()):
        raise KeyboardInterrupt

    monkeypatch.setattr(trial.engine, "serve", interrupted)
    served = Serving(trial, LOADS, 5, None, Budget(100), silent).serve()
    assert (served.runs, served.complete) == ([], False)
