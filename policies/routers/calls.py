"""The calls of a router's methods, and the errors in what they return, write or raise.

Each error is a `ValueError` of one line that names the router, the method, the request and the
time.
"""

import copy
from typing import Any

import numpy as np

from lapsd.policies.calls import TRUTH, dividing_as_python, name_of, raised, shown
from lapsd.policies.contract import check_class, check_values
from lapsd.policies.routers.base import MOST_DRAWS, Routed, Router, RouterContext, Servers
from lapsd.policies.seen import Permission, new_state

LEAST_AGE_MS, MOST_AGE_MS = 0.1, 1e9  # each report of a server is an event


def bound_router(router: Router, context: RouterContext) -> Router:
    """Return a router for one run: `bind` of a copy, so that no run changes another one.

    Raises
    ------
    ValueError
        If its class is not as `check_class` says, or `bind` or a property raises or returns what it
        must not.
    """
    check_class(type(router))
    check_values(router)
    method = "bind"
    try:
        made = copy.deepcopy(router).bind(context)
        if not isinstance(made, Router):
            raise TypeError(f"it must return a router, and returns {shown(made)}")
        method = "clairvoyant"
        if not isinstance(made.clairvoyant, TRUTH):
            raise TypeError(f"it must be True or False, and is {shown(made.clairvoyant)}")
        method, draws = "draws", made.draws
        if type(draws) is not int or not 0 <= draws <= MOST_DRAWS:
            raise ValueError(
                f"must be a whole number from 0 to {MOST_DRAWS}, and is {shown(draws)}"
            )
        method, signal_age_ms = "signal_age_ms", made.signal_age_ms
        if not isinstance(signal_age_ms, int | float) or not 0 <= signal_age_ms <= MOST_AGE_MS:
            raise ValueError(f"must be from 0 to {MOST_AGE_MS:g}, and is {shown(signal_age_ms)}")
        if 0 < signal_age_ms < LEAST_AGE_MS:
            raise ValueError(f"must be 0, or at least {LEAST_AGE_MS}, and is {signal_age_ms}")
    except BaseException as error:
        raise raised(router, method, error) from error
    for value in vars(made).values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return made


def state_of(router: Router) -> Any:
    """Return the State that a router keeps in a run; None where it declares none."""
    if router.State is None:
        return None
    return new_state(router.State, Permission(), "servers.state")


def server_of(router: Router, request: Routed, servers: Servers, now_ns: int) -> int:
    """Return the number of the server that a request is sent to.

    Raises
    ------
    ValueError
        If the router raises, or does not return the number of a server that is allowed.
    """
    where = f"route of request {request.index} at {now_ns} ns"
    try:
        with dividing_as_python():
            chosen = router.route(request, servers, now_ns)
    except BaseException as error:
        raise raised(router, where, error) from error
    title = f"router {name_of(router)}: {where} returned {shown(chosen)}"
    if not isinstance(chosen, int | np.integer) or isinstance(chosen, bool):
        raise ValueError(f"{title}: must be the number of a server")
    if not 0 <= chosen < servers.count:
        raise ValueError(f"{title}: must be from 0 to {servers.count - 1}")
    if not servers.allowed[chosen]:
        raise ValueError(f"{title}: guardrails do not allow that server")
    return int(chosen)
