"""The interface of a policy: it ranks each job by the job's own history; the lowest rank is served
first.

After SOAP (Scully, Harchol-Balter, Scheller-Wolf, arXiv 1712.00790): FCFS, LAS, SJF, SRPT and
LAPS-SD can all be written as ranks. A policy is a frozen dataclass; its fields are its parameters.
It does not know whether a simulator or a real server calls it, and sees only what a server knows.
"""

import dis
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from lapsd.policies.drafts.base import DraftContext, DraftPolicy
from lapsd.policies.request_history import RequestHistory
from lapsd.policies.routers.base import RouterContext
from lapsd.policies.time_model import TimeModel

Rank = tuple[Any, ...]
"""A rank: a tuple of fixed length, compared as Python compares tuples; lower is served first.

Examples
--------
>>> from lapsd.policies import Rank
>>> lower: Rank = (0, 17)
>>> higher: Rank = (1, 3)
>>> lower < higher  # the request of the lower rank is served first
True
"""
NEVER = 2**62  # a time or a count that no run reaches
"""A time in nanoseconds, 2**62, that no run reaches: `Policy.wake` returns it if the rank never
falls.

Examples
--------
>>> from lapsd.policies import NEVER
>>> NEVER == 2**62
True
"""


class Job(Protocol):
    """The part of a request that a policy may see.

    Attributes
    ----------
    index : int
        Number of the request in order of arrival; it identifies the request in a run.
    arrival_ns, prompt_tokens : int
        Time of arrival in nanoseconds, and length of the prompt in tokens.
    predicted_tokens : int
        Predicted output length.
    started : bool
        Whether its prefill has begun.
    running : bool
        Whether it ran in the latest round. A rank must not fall when the request stops running.
    rounds, tokens : int
        Number of committed rounds, and of the output tokens that they emitted.
    service_ns : int
        Attained service: time of its committed decoding rounds, without prefill and switching.
    drafted, accepted : int
        Draft tokens proposed and accepted in its committed rounds.
    queue : int
        The queue that the policy keeps the request in, from 1; written by `Policy.on_round`. The
        server records when it changes: among equal ranks, the request that entered its queue
        earlier goes first.
    state : Any
        The `Policy.State` that the policy keeps of the request, made when it arrives; its fields
        are written by `Policy.on_arrival` and `Policy.on_round`. None where the policy declares no
        State.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import lapsd
    >>> from lapsd.policies import Job, Policy, Rank
    >>> @dataclass(frozen=True)
    ... class MostAcceptedFirst(Policy):
    ...     name = "most-accepted-first"
    ...
    ...     def rank(self, job: Job, now_ns: int) -> Rank:
    ...         return (not job.started, -job.accepted, job.arrival_ns)
    >>> lapsd.compare(
    ...     policies=[MostAcceptedFirst()], requests=10, seeds=1, engine="simpy"
    ... ).policies
    ['most-accepted-first']
    """

    index: int
    arrival_ns: int
    predicted_tokens: int
    started: bool
    running: bool
    rounds: int
    tokens: int
    service_ns: int
    queue: int

    @property
    def state(self) -> Any: ...

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def drafted(self) -> int: ...

    @property
    def accepted(self) -> int: ...

    def acceptance(self, rounds: int) -> float:
        """Return accepted over drafted tokens in the first `rounds` committed rounds; 0 if none
        were drafted.
        """
        ...

    def acceptances(self, last: int) -> Sequence[float]:
        """Return `acceptance` after each of the `last` latest committed rounds, oldest first."""
        ...

    def acceptance_range(self, last: int) -> float:
        """Return the largest minus the smallest of `acceptances(last)`."""
        ...


@dataclass(frozen=True)
class PolicyContext:
    """The information that a server has before a run.

    The fields `true_...` are empty unless the class of the policy sets `clairvoyant`.

    Attributes
    ----------
    mean_round_ns : int
        c̄: time of a round at the median context of the training half.
    past_sizes_ns : sequence of int, ascending
        T̃ of each request of the training half, c̄ · r · L // (accepted + r), over all its rounds.
    history : RequestHistory
        The requests of the training half, with their predicted lengths; for a clairvoyant policy,
        the requests of the test half.
    swap_out_ns, swap_in_ns : int
        Time to swap the KV cache of a request of median context out and in, if a request that stops
        running is swapped out; else 0.
    batch_slots : int
        Number of requests that run in one round.
    time : TimeModel or None
        Time of a request by its lengths, fitted to the training half.
    drafts : DraftContext
        The drafts of the training half, for draft policies.
    routing : RouterContext
        The predicted times of the training half, for routers.
    true_prefill_ns : sequence of int, by job index
        True time of the prefill.
    true_remaining_ns : sequences of int, by job index and committed rounds
        True time of the remaining rounds when the request runs alone.
    true_tokens_per_round : sequence of float, by job index
        True number of output tokens per round.

    Examples
    --------
    >>> from lapsd.policies import LAS, PolicyContext
    >>> context = PolicyContext(
    ...     mean_round_ns=1_000_000, past_sizes_ns=[10**9, 2 * 10**9, 4 * 10**9]
    ... )
    >>> LAS(K=2).bind(context).derived_values()
    {'thresholds_s': [1.0]}
    """

    mean_round_ns: int
    past_sizes_ns: Sequence[int]
    history: RequestHistory = field(default_factory=RequestHistory, compare=False)
    swap_out_ns: int = 0
    swap_in_ns: int = 0
    batch_slots: int = 1
    time: TimeModel | None = None
    drafts: DraftContext = field(default_factory=DraftContext, compare=False)
    routing: RouterContext = field(default_factory=RouterContext, compare=False)
    true_prefill_ns: Sequence[int] = ()
    true_remaining_ns: Sequence[Sequence[int]] = ()
    true_tokens_per_round: Sequence[float] = ()

    def __post_init__(self) -> None:
        # tuples, because several policies see them; a row that is a tuple stays the same object
        for name in ("past_sizes_ns", "true_prefill_ns", "true_tokens_per_round"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "true_remaining_ns", tuple(map(tuple, self.true_remaining_ns)))


class NewJob(Protocol):
    """The part of a request that a policy may see when the request arrives.

    Attributes
    ----------
    index, prompt_tokens, predicted_tokens : int
        As in `Job`.
    state : Any
        The `Policy.State` of the request, with its defaults.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import lapsd
    >>> from lapsd.policies import Job, NewJob, Policy, Rank
    >>> @dataclass
    ... class Work:
    ...     tokens: int = 0
    >>> @dataclass(frozen=True)
    ... class ShortestPromptAndOutput(Policy):
    ...     State = Work
    ...     name = "shortest-prompt-and-output"
    ...
    ...     def on_arrival(self, job: NewJob) -> None:
    ...         job.state.tokens = job.prompt_tokens + job.predicted_tokens
    ...
    ...     def rank(self, job: Job, now_ns: int) -> Rank:
    ...         return (job.state.tokens,)
    >>> result = lapsd.compare(
    ...     policies=[ShortestPromptAndOutput()], requests=10, seeds=1, engine="simpy"
    ... )
    >>> result.policies
    ['shortest-prompt-and-output']
    """

    @property
    def index(self) -> int: ...

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def predicted_tokens(self) -> int: ...

    @property
    def state(self) -> Any: ...


class Lengths(NamedTuple):
    """The largest numbers of tokens and rounds of the requests of a run."""

    prompt_tokens: int
    output_tokens: int
    predicted_tokens: int
    rounds: int


class Event(NamedTuple):
    """An arrival or a completion that precedes a decision.

    Examples
    --------
    >>> from lapsd.policies import POLICIES, Event, Policy
    >>> Event._fields
    ('kind', 'job', 'now_ns')
    >>> [
    ...     name
    ...     for name, policy in POLICIES.items()
    ...     if policy.on_event is not Policy.on_event
    ... ]
    ['laps-sd-adapted', 'kernel-gittins-online']
    """

    kind: str  # "arrival" or "completion"
    job: Job
    now_ns: int


def reads_time(rank: Callable[..., Any]) -> bool:
    """Return whether a method `rank(self, job, now_ns)` reads `now_ns`; True if unknown."""
    code = getattr(rank, "__code__", None)
    if code is None or code.co_argcount < 3 or code.co_varnames[2] in code.co_cellvars:
        return True
    loads = (i.argval for i in dis.get_instructions(code) if i.opname.startswith("LOAD_FAST"))
    name = code.co_varnames[2]
    return any(name in argval if isinstance(argval, tuple) else name == argval for argval in loads)


@dataclass(frozen=True)
class Policy:
    """Base class of all policies: override `rank`, and other methods if needed.

    Attributes
    ----------
    name : str
        What users type and results say; by default the name of the class.
    State : type or None
        A dataclass whose fields, of int, float or bool with defaults, the policy keeps of each
        request as `job.state`; None: nothing.
    ages : bool
        Whether the rank of a waiting request may change with time alone. If False, it changes only
        when `on_event` returns True. By default, whether `rank` reads the time that it is given. A
        class that defines `rank` may define `ages` too, as a property if it depends on parameters.
    drafts : DraftPolicy or None
        Chooses the draft lengths of the requests that run; None: the recorded draft lengths.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import lapsd
    >>> @dataclass(frozen=True)
    ... class FewestTokensLeft(lapsd.Policy):
    ...     name = "fewest-tokens-left"
    ...
    ...     def rank(self, job, now_ns):
    ...         return (job.predicted_tokens - job.tokens,)
    >>> result = lapsd.compare(
    ...     policies=[FewestTokensLeft()], requests=20, seeds=2, engine="simpy"
    ... )
    >>> result.policies
    ['fewest-tokens-left']
    """

    name: ClassVar[str] = ""
    clairvoyant: ClassVar[bool] = False
    State: ClassVar[type[Any] | None] = None
    ages: ClassVar[bool] = False

    drafts: DraftPolicy | None = field(
        default=None, kw_only=True, repr=False, metadata={"bound": True}
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not vars(cls).get("name"):
            cls.name = cls.__name__  # not that of a base, which is another policy
        if "rank" in vars(cls) and "ages" not in vars(cls):
            cls.ages = reads_time(cls.rank)

    def bind(self, context: PolicyContext) -> Self:
        """Return the policy for one run, with what it needs of `context`; called once per run."""
        return self

    def on_arrival(self, job: NewJob) -> None:
        """Fill the state of a new job by what depends on its prompt and its prediction alone.

        Called once per job, before its first rank. It may write to `job.state`, and nothing else.
        """

    def rank(self, job: Job, now_ns: int) -> Rank:
        """Return the rank of the job, a tuple of fixed length whose parts are numbers, each always
        whole or always a float. The lowest rank is served first. Pure, O(1).

        A running job keeps its batch slot unless the rank of a waiting job is strictly lower.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no rank")

    def on_round(self, job: Job, now_ns: int) -> None:
        """Update what the policy keeps of the job after a committed round.

        It may write `job.queue` and the fields of `job.state`, and nothing else.
        """

    def wake(self, job: Job, now_ns: int) -> int:
        """Return the next time after `now_ns` at which the rank of the waiting job falls, if the
        job keeps waiting; an estimate for memory managers that plan ahead.
        """
        return NEVER

    def remaining_ns(self, job: Job) -> int | None:
        """Return the estimated remaining time of the job, for memory managers that plan ahead;
        None: unknown.
        """
        return None

    def largest_ns(self, lengths: Lengths) -> int:
        """Return a bound of the whole numbers that the policy, once bound, computes of requests of
        up to these lengths. A run in which it may exceed 2**62 is refused, as compiled code has
        64-bit integers.
        """
        return 0

    def derived_values(self) -> dict[str, Any]:
        """Return the values that `bind` derived, which results list with the parameters."""
        return {}

    def on_event(self, event: Event) -> bool:
        """Update the state of the whole policy, made by `bind` for this run, after an arrival or a
        completion.

        Returns True if the ranks of waiting jobs may have changed.
        """
        return False


def _refuse_write(policy: Policy, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


# a class without the decorator would inherit a method that refuses only the fields of `Policy`
Policy.__setattr__ = _refuse_write  # type: ignore[method-assign,assignment]


@dataclass(frozen=True)
class Clairvoyant(Policy):
    """Base class of policies that know true lengths, as references; every table marks them.

    Examples
    --------
    >>> from lapsd.policies import FCFS, SRPT, Clairvoyant
    >>> isinstance(SRPT(), Clairvoyant), isinstance(FCFS(), Clairvoyant)
    (True, False)
    """

    clairvoyant: ClassVar[bool] = True

    context: PolicyContext | None = field(default=None, repr=False, metadata={"bound": True})

    def bind(self, context: PolicyContext) -> Self:
        return replace(self, context=context)

    @property
    def truth(self) -> PolicyContext:
        """Return the context that `bind` received."""
        assert self.context is not None, "bind the policy first"
        return self.context
