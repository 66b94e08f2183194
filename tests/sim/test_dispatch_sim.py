"""Several servers compared with a peer: the published tables of isaacg1/dispatch-sim.

Each cell of the tables is the mean response time of ten or forty runs of 10^6 time units. A cell
agrees if Student's t of two samples keeps equal means; the variances of runs of equal length are
equal. A correct simulator would fail a cell with a probability of 10^-4 (and all cells with less
than 1 %).

The tests in CI take shorter runs at load 0.8, where a run of 10^4 time units forgets that it starts
empty, and Welch's t. All cells take about an hour.
"""

import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind

from lapsd.policies.routers.spec import parse_router
from tests.compilation import too_slow_in_python
from tests.sim.dispatch_sim import (
    BIMODAL,
    EXPONENTIAL,
    OURS,
    Setup,
    mean_response,
    setup,
    their_router,
)

FALSE_ALARM = 1e-4
SHORT_TIME, TIME = 40_000, 1e6
SHORT_RUNS, RUNS = 5, 3
ROUTERS = {
    EXPONENTIAL: ("LWL", "Random", "JSQ", "RR", "JSQ_d(2)", "SITA"),
    BIMODAL: ("LWL", "Random", "JSQ", "RR", "JSQ_d(2)", "Split"),
}
TIGHTNESS = {EXPONENTIAL: (None, 1.0), BIMODAL: (None, 1.0, 2.0, 4.0)}
CELLS = [
    (sizes, load, g, router)
    for sizes in (EXPONENTIAL, BIMODAL)
    for load in (0.8, 0.98)
    for g in TIGHTNESS[sizes]
    for router in ROUTERS[sizes]
]


@pytest.fixture(scope="module")
def tables(public_data: Path) -> dict[tuple[object, ...], list[float]]:
    """Return the mean response times of all runs by sizes, load, guardrails and router."""
    path = public_data / "routing" / "dispatch_sim.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    found: dict[tuple[object, ...], list[float]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            g = float(line["guardrail"]) if line["guardrail"] else None
            cell = (line["sizes"], float(line["load"]), g, line["router"])
            found.setdefault(cell, []).append(float(line["mean_response_time"]))
    return found


@lru_cache(maxsize=2 * RUNS)
def prepared(sizes: str, load: float, seed: int, time: float) -> Setup:
    return setup(sizes, load, seed, time)


def shown(ours: np.ndarray, theirs: np.ndarray) -> str:
    return f"{ours.mean():.3f} of {len(ours)} runs, and {theirs.mean():.3f} of {len(theirs)}"


def test_the_tables_have_exactly_these_cells(tables):
    assert set(tables) == set(CELLS)


@too_slow_in_python
@pytest.mark.parametrize(
    ("g", "router"),
    [(None, "LWL"), (None, "JSQ_d(2)"), (1.0, "Random"), (1.0, "JSQ"), (1.0, "SITA")],
)
def test_short_runs_agree_with_the_tables(tables, g, router):
    ours = []
    for seed in range(SHORT_RUNS):
        made = prepared(EXPONENTIAL, 0.8, seed, SHORT_TIME)
        ours.append(mean_response(made, their_router(router, made), g))
    theirs = np.array(tables[EXPONENTIAL, 0.8, g, router])
    agree = ttest_ind(ours, theirs, equal_var=False).pvalue
    assert agree > FALSE_ALARM, shown(np.array(ours), theirs)
    assert np.std(ours, ddof=1) / SHORT_RUNS**0.5 < 0.01 * np.mean(ours)


def test_halving_the_rounds_hardly_changes_a_mean():
    """Random routing sends requests to the same servers, so that nothing but rounds differs."""
    found = []
    for finer in (1, 2):
        made = setup(EXPONENTIAL, 0.8, 0, SHORT_TIME / 4, finer=finer)
        found.append(mean_response(made, parse_router(OURS["Random"]), None))
    assert 0 < found[0] / found[1] - 1 < 0.005, found


@pytest.mark.deep
@pytest.mark.parametrize(("sizes", "load", "g", "router"), CELLS)
def test_runs_agree_with_the_tables(tables, sizes, load, g, router):
    ours = []
    for seed in range(RUNS):
        made = prepared(sizes, load, seed, TIME)
        ours.append(mean_response(made, their_router(router, made), g))
    theirs = np.array(tables[sizes, load, g, router])
    assert ttest_ind(ours, theirs).pvalue > FALSE_ALARM, shown(np.array(ours), theirs)
