"""Sweeps on a local Dask cluster of two worker processes."""

import time

import pandas as pd
import psutil
import pytest

from lapsd.sim.sweeps import grid, sweep, workers
from lapsd.sim.sweeps.workers import connect
from tests.compilation import IN_PYTHON

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as running:
        yield running


def test_a_cluster_gives_the_same_records(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "RUNS_PER_CHUNK", 5)
    asked = {
        "policies": ["laps-sd", "fcfs"],
        "parameters": {"K": ["2:4"]},
        "requests": [5, 9],
        "seeds": 10,
    }
    here = sweep(tmp_path / "here", **asked, workers=1)
    client = connect(cluster.scheduler_address)
    try:
        pd.testing.assert_frame_equal(sweep(tmp_path / "there", **asked, client=client), here)
    finally:
        client.close()


def test_a_sweep_survives_a_killed_worker_of_a_cluster(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "RUNS_PER_CHUNK", 20)
    asked = {
        "policies": ["laps-sd"],
        "parameters": {"M": ["1.5,2,3,4"]},
        "requests": 30,
        "seeds": 20 if IN_PYTHON else 300,
    }
    here = sweep(tmp_path / "here", **asked, workers=2)
    client = connect(cluster.scheduler_address)
    killed = []

    def progress(done, total):
        if done > total // 12 and not killed:
            killed.append(next(iter(client.run(lambda: psutil.Process().pid).values())))
            psutil.Process(killed[0]).kill()

    try:
        there = sweep(tmp_path / "there", **asked, client=client, progress=progress)
    finally:
        client.close()
    assert killed
    pd.testing.assert_frame_equal(there, here)


def test_a_scheduler_that_does_not_answer_is_reported_within_ten_seconds(monkeypatch):
    assert workers.SECONDS_TO_CONNECT < 9
    monkeypatch.setattr(workers, "SECONDS_TO_CONNECT", 1)
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"tcp://127.0.0.1:9: no scheduler answers"):
        connect("tcp://127.0.0.1:9")
    assert time.monotonic() - started < 5
