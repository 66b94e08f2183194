"""A request as a policy sees it: it reads facts, and writes only where its methods may.

The server keeps a request in an object of its own (`ServedJob`); a policy receives a `SeenJob`,
whose facts cannot be written, and a State whose fields keep their types. So no policy changes what
the server knows.
"""

from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np

# types of the values that a field of a State of each type may take
ACCEPTED: dict[type, tuple[type, ...]] = {
    int: (int, np.integer),
    float: (int, float, np.floating, np.integer),
    bool: (bool, np.bool_),
}


class Permission:
    """Whether a policy may write to a request now; shared by the request and its State."""

    __slots__ = ("given",)

    def __init__(self) -> None:
        self.given = True


def check_type(name: str, value: Any, expected: type) -> None:
    """Raise `TypeError` if a value that a policy writes is not of its type."""
    if not isinstance(value, ACCEPTED[expected]):
        raise TypeError(f"{name}={value!r}: must be of type {expected.__name__}")


def refuse(name: str) -> None:
    """Raise the error of a policy that writes to what it may only read."""
    raise AttributeError(f"{name} must not be written here")


def _fact(name: str) -> Any:
    """Return the property that reads a fact of the server's request."""
    return property(attrgetter(f"_job.{name}"))


class SeenJob:
    """A request that a server serves, as a `policies.Job`; also a `policies.NewJob`.

    Parameters
    ----------
    job : the server's request.
    state : what `new_state` returned, or None.
    permission : whether the policy may write to `queue` now.
    """

    __slots__ = (
        "_job",
        "_permission",
        "arrival_ns",
        "index",
        "predicted_tokens",
        "prompt_tokens",
        "state",
    )

    index: int
    arrival_ns: int
    prompt_tokens: int
    predicted_tokens: int
    state: Any
    _job: Any
    _permission: Permission

    def __init__(self, job: Any, state: Any, permission: Permission) -> None:
        for name in ("index", "arrival_ns", "prompt_tokens", "predicted_tokens"):
            object.__setattr__(self, name, getattr(job, name))
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "_job", job)
        object.__setattr__(self, "_permission", permission)

    started = _fact("started")
    running = _fact("running")
    rounds = _fact("rounds")
    tokens = _fact("tokens")
    service_ns = _fact("service_ns")
    drafted = _fact("drafted")
    accepted = _fact("accepted")
    queue = _fact("queue")

    def acceptance(self, rounds: int) -> Any:
        """As `policies.Job.acceptance`."""
        return self._job.acceptance(rounds)

    def acceptances(self, last: int) -> Any:
        """As `policies.Job.acceptances`."""
        return self._job.acceptances(last)

    def acceptance_range(self, last: int) -> Any:
        """As `policies.Job.acceptance_range`."""
        return self._job.acceptance_range(last)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "queue" or not self._permission.given:
            refuse(f"job.{name}")
        check_type("job.queue", value, int)
        self._job.queue = value

    def __delattr__(self, name: str) -> None:
        refuse(f"job.{name}")


@cache
def state_types(kind: Any) -> dict[str, type]:
    """Return the type of the default of each field of a State.

    Raises
    ------
    TypeError
        If the State is not a dataclass whose fields have defaults.
    """
    state = kind()
    return {field.name: type(getattr(state, field.name)) for field in fields(state)}


@cache
def guarded(kind: Any, where: str) -> Any:
    """Return a State class whose objects take values of the right types, and only with permission.

    Messages name a field after `where`. A copy of such an object, and a comparison with one, is of
    the class itself.
    """
    types, store = state_types(kind), kind.__setattr__

    class Guarded(kind):  # type: ignore[misc]
        __slots__ = ("_permission",)
        __class__ = property(lambda self: kind)

        def __setattr__(self, name: str, value: Any) -> None:
            expected = types.get(name)
            if expected is None or not self._permission.given:
                refuse(f"{where}.{name}")
            elif type(value) is not expected:
                check_type(f"{where}.{name}", value, expected)
            store(self, name, value)

        def __delattr__(self, name: str) -> None:
            refuse(f"{where}.{name}")

    return Guarded


def new_state(kind: Any, permission: Permission, where: str = "job.state") -> Any:
    """Return a new State of a class, which its methods may write to with permission."""
    state = object.__new__(guarded(kind, where))
    object.__setattr__(state, "_permission", permission)
    state.__init__()
    return state
