"""The interface of a router: it chooses the server of each request when the request arrives.

A router is a frozen dataclass; its fields are its parameters. It does not know whether a simulator
or a real service calls it, and sees only what the servers report.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MOST_DRAWS = 1_024  # random numbers that a router may use for a request


class Routed(Protocol):
    """The part of a request that a router may see.

    Attributes
    ----------
    index, arrival_ns, prompt_tokens, predicted_tokens : int
        As in `policies.Job`.
    random : int64 (draws,)
        Random whole numbers from 0 to 2**62 - 1, as many as `Router.draws` asks for.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from lapsd.policies.routers import Routed
    >>> request: Routed = SimpleNamespace(
    ...     index=0,
    ...     arrival_ns=0,
    ...     prompt_tokens=120,
    ...     predicted_tokens=40,
    ...     random=np.array([7]),
    ... )
    >>> int(request.random[0] % 3)  # a random one of three servers
    1
    """

    @property
    def index(self) -> int: ...

    @property
    def arrival_ns(self) -> int: ...

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def predicted_tokens(self) -> int: ...

    @property
    def random(self) -> Ints: ...


@dataclass(frozen=True, slots=True)
class Servers:
    """The reports of S servers to the router.

    A router reads it, and writes at most the fields of `state`. Requests that were sent to a server
    since its last report count as waiting there. Arrays of A entries list the active requests of
    server 0, then those of server 1, and so on, those of each server in order of arrival.

    Attributes
    ----------
    count : int
        S.
    allowed : int64 (S,)
        1 where the request may be sent to, else 0; at least one entry is 1.
    slots : int64 (S,)
        Requests that run a round together.
    waiting, running : int64 (S,)
        Active requests: those that wait, and those that ran the latest round.
    work_ns : int64 (S,)
        Sum of the predicted remaining times of the active requests: `size_ns` before their first
        round, then `RouterContext.token_ns` times the predicted output tokens that are left.
    size_ns : int64 (S,)
        Predicted time of this request: its prefill, and `RouterContext.token_ns` times its
        predicted output tokens.
    prefill_ns : int64 (S,)
        Time of this request's prefill alone, without prefix caches.
    true_work_ns : int64 (S,)
        True remaining time of the active requests when each runs alone, without the part of the
        present step that is over; 0 unless the class sets `clairvoyant`.
    kv_tokens : int64 (S,)
        Contexts of the running requests, in tokens.
    kv_capacity : int64 (S,)
        Tokens whose keys and values fit in memory; 0: no limit.
    cached_tokens : int64 (S,)
        Leading tokens of this request's prompt that are in the server's prefix cache now.
    filled_tokens : int64 (S,)
        Tokens that the server's prefix cache holds now.
    begin : int64 (S + 1,)
        Server k has the active requests from entry `begin[k]` to before entry `begin[k + 1]`.
    active_tokens : int64 (A,)
        Predicted output tokens that are left; 0 where a request is longer than predicted.
    active_prefill_ns : int64 (A,)
        As `prefill_ns`, before the first round is committed; then 0.
    active_runs : int64 (A,)
        1 if the request ran the latest round, else 0.
    state : Any
        The `Router.State` of the router, which `route` may write; None where it declares none.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.policies.routers import Servers
    >>> arrays = [np.array([n, n]) for n in (1, 8, 3, 4, 10**9, 10**8, 10**7, 0, 900, 4000, 0, 0)]
    >>> tokens, prefills_ns, runs = np.array([40, 9]), np.zeros(2, int), np.array([1, 0])
    >>> servers = Servers(2, *arrays, np.array([0, 1, 2]), tokens, prefills_ns, runs)
    >>> servers.waiting + servers.running  # active requests of each server
    array([7, 7])
    """

    count: int
    allowed: Ints
    slots: Ints
    waiting: Ints
    running: Ints
    work_ns: Ints
    size_ns: Ints
    prefill_ns: Ints
    true_work_ns: Ints
    kv_tokens: Ints
    kv_capacity: Ints
    cached_tokens: Ints
    filled_tokens: Ints
    begin: Ints
    active_tokens: Ints
    active_prefill_ns: Ints
    active_runs: Ints
    state: Any = None

    def __post_init__(self) -> None:
        for name in (*COLUMNS, *OF_ACTIVE):
            getattr(self, name).flags.writeable = False


OF_ACTIVE = ("begin", "active_tokens", "active_prefill_ns", "active_runs")
COLUMNS = tuple(
    name for name, kind in Servers.__annotations__.items() if kind is Ints and name not in OF_ACTIVE
)


@dataclass(frozen=True)
class RouterContext:
    """The information that a router has before a run.

    Attributes
    ----------
    servers : int
        Number of servers.
    past_sizes_ns : sequence of int, ascending
        Predicted times of the requests of the training half, as `Servers.size_ns`.
    token_ns : int
        Mean time per output token in the training half, of a request that shares rounds with a full
        batch, which it takes an equal part of.
    batch_token_ns : sequence of sequences of int
        For each server, the time between two output tokens of a request in a batch of 1, 2, ...
        requests: that of all rounds of the training half at their draft lengths and at its median
        context, over all its output tokens.

    Examples
    --------
    >>> from lapsd.policies.routers import RouterContext
    >>> RouterContext(servers=4, past_sizes_ns=(10**9, 2 * 10**9)).servers
    4
    """

    servers: int = 1
    past_sizes_ns: Sequence[int] = ()
    token_ns: int = 0
    batch_token_ns: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class Router:
    """Base class of all routers: override `route`.

    Attributes
    ----------
    State : type or None
        A dataclass whose fields, of int, float or bool with defaults, the router keeps in a run as
        `servers.state`; None: nothing.
    clairvoyant : bool
        Whether the router knows true remaining times; every table marks such a router.
    draws : int
        Random numbers that it uses for each request. May be a property.
    signal_age_ms : float
        Time between two reports of a server in milliseconds, so that what the router knows is at
        most so old, where the scenario gives no other; 0: the router sees servers as they are. May
        be a parameter.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from lapsd.policies.routers import Routed, Router, Servers
    >>> @dataclass(frozen=True)
    ... class FewestWaiting(Router):
    ...     name = "fewest-waiting"
    ...
    ...     def route(self, request: Routed, servers: Servers, now_ns: int) -> int:
    ...         return int(np.argmin(servers.waiting))
    >>> reports = SimpleNamespace(waiting=np.array([2, 0, 1]))
    >>> FewestWaiting().route(None, reports, now_ns=0)
    1
    """

    name: ClassVar[str] = ""
    clairvoyant: ClassVar[bool] = False
    State: ClassVar[type[Any] | None] = None
    draws: ClassVar[int] = 0
    signal_age_ms: ClassVar[float] = 0.0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not vars(cls).get("name"):
            cls.name = cls.__name__

    def bind(self, context: RouterContext) -> Self:
        """Return the router for one run, with what it needs of `context`; called once per run."""
        return self

    def route(self, request: Routed, servers: Servers, now_ns: int) -> int:
        """Return the number of the server, from 0, that the request is sent to.

        Called when the request arrives. It may write `servers.state`, and nothing else.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no route")


def bound(default: Any) -> Any:
    """Return a field that `bind` sets."""
    return field(default=default, repr=False, compare=False, metadata={"bound": True})


def allowed_count(servers: Any) -> int:
    """Return the number of servers that the request may be sent to."""
    count: int = 0
    for k in range(servers.count):
        count += servers.allowed[k]
    return count


def nth_allowed(servers: Any, n: int) -> int:
    """Return the number of the n-th server, from 0, of those that the request may be sent to."""
    for k in range(servers.count):
        if servers.allowed[k]:
            if n == 0:
                return k
            n -= 1
    return int(servers.count)


def least(servers: Any, values: Any) -> int:
    """Return the allowed server with the smallest value; of equal ones the first."""
    best: int = -1
    for k in range(servers.count):
        if servers.allowed[k] and (best < 0 or values[k] < values[best]):
            best = k
    return best
