"""Find the fewest servers with which a constraint on a metric holds at an arrival rate.

Each seed has its own number: the same requests arrive at the same times. If the metric does not
fall with the number of servers in a single run, the bisection finds one of the numbers at which it
crosses the bound.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from lapsd.policies import Policy
from lapsd.sim.engine.routing import MOST_SERVERS
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.sweeps.highest_rate import Constraint, check_search


def with_servers(prepared: PreparedScenario, servers: int) -> PreparedScenario:
    """Return the prepared scenario, which has a rate, with another number of servers."""
    scenario = replace(prepared.scenario, servers=servers)
    return replace(prepared, scenario=scenario, _latest=dict(prepared._latest))


def fewest_servers(
    prepared: PreparedScenario, policy: Policy, constraint: Constraint, seed: int
) -> float:
    """Return the fewest servers of a seed; infinity if `MOST_SERVERS` or as many servers as
    requests are too few.
    """

    def holds(servers: int) -> bool:
        return constraint.holds(with_servers(prepared, servers), policy, seed)

    low, high = 0, len(prepared.scenario.profiles)
    most = max(high, min(MOST_SERVERS, prepared.scenario.requests))
    while not holds(high):
        if high == most:
            return math.inf
        low, high = high, min(2 * high, most)
    while high > low + 1 and high > len(prepared.scenario.profiles):
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def fewest_by_seed(
    prepared: PreparedScenario,
    policy: Policy,
    constraint: Constraint,
    seeds: int,
    *,
    progress: Callable[[], None] = lambda: None,
) -> list[float]:
    """Return the fewest servers of each seed.

    Parameters
    ----------
    progress : called after each seed.

    Raises
    ------
    ValueError
        If the number of seeds is out of range, or the scenario has no rate.
    """
    check_search(prepared, seeds)
    if prepared.scenario.rate is None:
        raise ValueError("fewest servers: need a rate, in requests per second")
    found = []
    for seed in range(seeds):
        found.append(fewest_servers(prepared, policy, constraint, seed))
        progress()
    return found
