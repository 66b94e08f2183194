"""The policy contract: a policy is a rank over a job's own history; the lowest rank is served
first.

After SOAP (Scully, Harchol-Balter, Scheller-Wolf, arXiv 1712.00790): FCFS, LAS, SJF, SRPT and
LAPS-SD are all ranks. A policy is a frozen dataclass; its fields are its parameters. It never knows
what drives it, a simulator or a real server, and sees only what a server would know.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.request_history import RequestHistory
from lapsd.policies.time_model import TimeModel

Rank = tuple[Any, ...]
NEVER = 2**62  # a time or a count that is not reached


class Job(Protocol):
    """What a policy may see of a request.

    Attributes
    ----------
    index : int
        Order of arrival, and the request's key in a run.
    arrival_ns, prompt_tokens : int
    predicted_tokens : int
        Predicted output length.
    started : bool
        Its prefill has begun.
    running : bool
        It ran the round that ended last. A rank must not fall by its ceasing to run.
    rounds, tokens : int
        Committed rounds, and output tokens they emitted.
    service_ns : int
        Attained service: time of its committed decoding rounds (neither prefill nor switching).
    drafted, accepted : int
        Draft tokens over its committed rounds.
    queue : int Written by `Policy.on_round`: the queue that the policy keeps the request in, from 1.
        The server notes when it changes; among equal ranks, earlier entry into the queue goes
        first.
    state : Any
        Written by `Policy.on_round`: whatever else the policy remembers of the request; None at first.
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
    state: Any

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def drafted(self) -> int: ...

    @property
    def accepted(self) -> int: ...

    def acceptance(self, rounds: int) -> float:
        """Accepted over drafted tokens in the first `rounds` committed rounds (0 if nothing was
        drafted).
        """
        ...

    def acceptances(self, last: int) -> Sequence[float]:
        """The same after each of the `last` committed rounds, the newest at the end."""
        ...

    def acceptance_range(self, last: int) -> float:
        """The largest less the smallest of those."""
        ...

    def foresee(self, key: Hashable, happens: "Callable[[Job], bool]") -> int:
        """For `run_until` only: after how many rounds `happens(job)` first holds; `NEVER` if it
        does not.

        A simulator knows from its record, and remembers the answer by `key`. `happens` may depend
        on `rounds`, `tokens`, `drafted`, `accepted` and acceptance alone, and `key` must name
        whatever else it depends on.
        """
        ...

    def ahead(self, key: Hashable, value: "Callable[[Job], float]") -> NDArray[np.float64]:
        """For `run_until` only: `value(job)` after each number of committed rounds, from 0 to the
        last but one.

        As `foresee`; `value` may depend on `predicted_tokens` too.
        """
        ...


@dataclass(frozen=True)
class PolicyContext:
    """What a server knows before a run.

    Attributes
    ----------
    mean_round_ns : int
        c̄, the cost of a round at the training half's median context.
    past_sizes_ns : sequence of int, ascending
        T̃ of the training half's requests, c̄ · r · L // (accepted + r), of all their rounds.
    history : Past Those requests, with how long they were predicted to be; of the test half, if the
        policy is clairvoyant.
    swap_out_ns, swap_in_ns : int What it takes to move the KV cache of a request of the median
        context out and back, if one that stops running has to; else 0.
    batch_slots : int
        Requests that run a round together.
    time : TimeModel or None
        How long a request takes by its lengths, fitted to those requests.
    true_prefill_ns : sequence of int, by job index
        True prefill; empty, as all that is true here, unless the policy's class says `clairvoyant`.
    true_remaining_ns : sequences of int, by job index and committed rounds
        What its further rounds take when it runs alone.
    true_tokens_per_round : sequence of float, by job index
        Output tokens over rounds.
    """

    mean_round_ns: int
    past_sizes_ns: Sequence[int]
    history: RequestHistory = field(default_factory=RequestHistory, compare=False)
    swap_out_ns: int = 0
    swap_in_ns: int = 0
    batch_slots: int = 1
    time: TimeModel | None = None
    true_prefill_ns: Sequence[int] = ()
    true_remaining_ns: Sequence[Sequence[int]] = ()
    true_tokens_per_round: Sequence[float] = ()


class Until(NamedTuple):
    """How long a served job needs no new decision: up to the first round after which any of these
    is reached.

    Attributes
    ----------
    rounds, service_ns, tokens : int
        Values of the job's own counters.
    rising : bool The rank may rise before then, though not past the best waiting one; else it does
        not rise at all.
    steady : bool
        It does not change at all before then: a server need not ask for it again.
    """

    rounds: int = NEVER
    service_ns: int = NEVER
    tokens: int = NEVER
    rising: bool = False
    steady: bool = False


TO_THE_END = Until()
STEADY = Until(steady=True)
ONE_ROUND = Until(rounds=0)  # a round is always served


class Event(NamedTuple):
    """An arrival that a decision takes in, or a completion that it sees."""

    kind: str  # "arrival" or "completion"
    job: Job
    now_ns: int


@dataclass(frozen=True)
class Policy:
    """Base of all policies: override `rank`, and what else is needed.

    `run_until` is for speed, and is a promise about all other methods: a class that overrides any
    of them without overriding it again is asked for a rank every round, as is one that never
    defines it.
    """

    name: ClassVar[str] = ""
    clairvoyant: ClassVar[bool] = False

    def bind(self, context: PolicyContext) -> Self:
        """The policy for one run, knowing `context`. Once a run."""
        return self

    def rank(self, job: Job, now_ns: int) -> Rank:
        """The job's rank: the lowest is served first. Pure, O(1).

        A served job keeps its place unless a waiting job's rank is strictly lower.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no rank")

    def on_round(self, job: Job, now_ns: int) -> None:
        """Take in the job's newly committed round; may write `job.queue` and `job.state`, nothing
        else.
        """

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        """How long the served job's rank surely stays down, and `on_round` would write nothing new.

        Optional.

        Defining it also promises that a *waiting* job's rank changes only at its `wake`, where it
        falls, and when `on_event` says so. Too early is harmless; too late changes the schedule.
        Holds until `on_event` returns True.

        Parameters
        ----------
        best_waiting : the lowest rank of those who wait; None if nobody does.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no run_until")

    def wake(self, job: Job, now_ns: int) -> int:
        """When the waiting job's rank next falls, after `now_ns`, if it goes on waiting.

        Only with `run_until`.
        """
        return NEVER

    def remaining_ns(self, job: Job) -> int | None:
        """How much more of the server the job is taken to need, for memory that plans ahead; None:
        nobody knows.
        """
        return None

    def on_event(self, event: Event) -> bool:
        """Take in an arrival or a completion, into state of the whole policy that `bind` made for
        this run.

        Returns True if the ranks of waiting jobs may have changed by it.
        """
        return False


@dataclass(frozen=True)
class Clairvoyant(Policy):
    """Base of policies that know the truth, as yardsticks and controls; every table marks them."""

    clairvoyant: ClassVar[bool] = True

    context: PolicyContext | None = field(default=None, repr=False, metadata={"bound": True})

    def bind(self, context: PolicyContext) -> Self:
        return replace(self, context=context)

    @property
    def truth(self) -> PolicyContext:
        """What the policy was bound to."""
        assert self.context is not None, "bind the policy first"
        return self.context
