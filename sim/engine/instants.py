"""One instant, one order, where several servers share SimPy's clock.

At one time, first the steps that are over are committed, by server number; then servers report to
the router; then requests arrive, in order; then servers decide, by server number.
"""

import simpy

FIRST = 2  # SimPy's own events at a time come before: their priorities are 0 and 1


class At(simpy.Event):
    """An event after a delay, in a place among the events of that time."""

    def __init__(self, env: simpy.Environment, delay: int, place: int) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        env.schedule(self, place, delay)  # type: ignore[arg-type]  # a priority is any integer


def commit(number: int) -> int:
    """Return the place of the end of a step of a server."""
    return FIRST + number


def report(servers: int) -> int:
    """Return the place of the servers' reports."""
    return FIRST + servers


def arrival(servers: int) -> int:
    """Return the place of arrivals."""
    return FIRST + servers + 1


def decision(servers: int, number: int) -> int:
    """Return the place of a decision of a server."""
    return FIRST + servers + 2 + number
