"""The interface of a draft policy: before each step it chooses how many tokens the draft model
proposes for each request.

The order of requests is decided first; then a draft policy chooses the draft lengths of the
requests that run. A policy is a frozen dataclass; its fields are its parameters. It does not know
whether a simulator or a real server calls it, and sees only what a server knows before the draft
model runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


LONGEST = 64  # draft tokens that a draft policy may choose for a request


@dataclass(frozen=True, slots=True)
class DraftStep:
    """The requests of a step that decode, b in number, and what the step costs.

    A policy reads it, and writes at most the fields of `state`.

    Attributes
    ----------
    requests, waiting : int
        b, and the number of waiting requests.
    most : int
        The longest draft that the policy may choose.
    context : int
        Sum of the contexts of the requests, in tokens.
    contexts : int64 (b,)
        Context of each request in tokens.
    tokens, rounds, drafted, accepted, rejected : int64 (b,)
        Of the committed rounds of each request: output tokens, rounds, draft tokens, accepted draft
        tokens, and rounds in which a draft token was rejected.
    predicted_tokens : int64 (b,)
        Predicted output lengths.
    confidence : float64 (b, most)
        Probability that the j-th draft token of a request is accepted if those before it are: the
        draft model's own probability of that token, calibrated on past requests. Empty where the
        class does not set `confident`.
    acceptable : int64 (b,)
        Draft tokens that the target model would accept in a row; 0 unless the class sets
        `clairvoyant`.
    last_requests, last_drafted, last_accepted, last_length : int
        Of the latest step with decoding requests: their number, their draft tokens, the accepted
        ones, and the longest draft.
    verify_base, verify_per_token : int64 (b · (most + 1) + 1,)
        Cost of a verification by the number of tokens that are sent, without context and per token
        of the contexts, in nanoseconds times `divisor`; see `step_ns`.
    draft_base, draft_per_token, divisor : int
        The same for a pass of the draft model.
    padded : bool
        Whether each request sends as many tokens as the longest.
    state : Any
        The `DraftPolicy.State` of the policy, which `choose` may write; None where it declares
        none.

    Examples
    --------
    >>> from lapsd.policies.drafts import DraftStep
    >>> [name for name in DraftStep.__dataclass_fields__ if name.startswith("last_")]
    ['last_requests', 'last_drafted', 'last_accepted', 'last_length']
    """

    requests: int
    waiting: int
    most: int
    context: int
    contexts: Ints
    tokens: Ints
    rounds: Ints
    drafted: Ints
    accepted: Ints
    rejected: Ints
    predicted_tokens: Ints
    confidence: Floats
    acceptable: Ints
    last_requests: int
    last_drafted: int
    last_accepted: int
    last_length: int
    verify_base: Ints
    verify_per_token: Ints
    draft_base: int
    draft_per_token: int
    divisor: int
    padded: bool
    state: Any = None

    def __post_init__(self) -> None:
        for name in ARRAYS:
            getattr(self, name).flags.writeable = False


ARRAYS = tuple(name for name, kind in DraftStep.__annotations__.items() if kind in (Ints, Floats))


def step_ns(step: Any, tokens: int, longest: int) -> float:
    """Return the time of a step in nanoseconds, without the rounding of the simulated cost.

    Parameters
    ----------
    step : DraftStep
    tokens : int
        Tokens that all requests send to the verification: their drafts, and one more each.
    longest : int
        Length of the longest draft.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from lapsd.policies.drafts import step_ns
    >>> step = SimpleNamespace(
    ...     context=100,
    ...     draft_base=10,
    ...     draft_per_token=0,
    ...     verify_base=np.arange(50, 60),
    ...     verify_per_token=np.zeros(10, dtype=np.int64),
    ...     divisor=1,
    ...     padded=False,
    ...     requests=1,
    ... )
    >>> step_ns(step, tokens=4, longest=3)  # 3 draft steps and a verification
    84.0
    """
    sent = step.requests * (longest + 1) if step.padded else tokens
    base = step.verify_base[sent] + longest * step.draft_base
    per_token = step.verify_per_token[sent] + longest * step.draft_per_token
    return float((base + per_token * step.context) / step.divisor)


@dataclass(frozen=True)
class DraftContext:
    """The information that a server has before a run: the drafts of the training half.

    Attributes
    ----------
    by_place : sequence of float
        Share of the j-th draft tokens of a round that are accepted if those before are, j = 1, 2,
        ...; empty where the training half does not say.
    confidence, accepted : sequence of float, ascending
        Probabilities that the draft model gave to proposals, and the share of such proposals that
        were accepted; empty where the trace does not hold the former.

    Examples
    --------
    >>> from lapsd.policies.drafts import DraftContext
    >>> round(DraftContext(by_place=(0.8, 0.7, 0.6)).acceptance, 2)
    0.72
    """

    by_place: Sequence[float] = ()
    confidence: Sequence[float] = ()
    accepted: Sequence[float] = ()

    @property
    def acceptance(self) -> float:
        """Mean of `by_place`, weighted by how often a place is reached; 0.5 if unknown."""
        reached, total, weight = 1.0, 0.0, 0.0
        for share in self.by_place:
            total += reached * share
            weight += reached
            reached *= share
        return total / weight if weight else 0.5


@dataclass(frozen=True)
class DraftPolicy:
    """Base class of all draft policies: override `choose`.

    Attributes
    ----------
    State : type or None
        A dataclass whose fields, of int, float or bool with defaults, the policy keeps in a run as
        `step.state`; None: nothing.
    clairvoyant : bool
        Whether the policy knows what will be accepted; every table marks such a policy.
    confident : bool
        Whether the policy reads `DraftStep.confidence`, which a trace must then hold. May be a
        property.
    most : int
        The longest draft that the policy chooses: a parameter or a property.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> from lapsd.policies.drafts import DraftPolicy, DraftStep
    >>> @dataclass(frozen=True)
    ... class ShortInCrowds(DraftPolicy):
    ...     name = "short-in-crowds"
    ...     most: int = 4
    ...
    ...     def choose(self, step: DraftStep) -> np.ndarray:
    ...         length = 4 if step.requests + step.waiting <= 4 else 1
    ...         return np.full(step.requests, length)
    >>> result = lapsd.compare(
    ...     policies=[FCFS(drafts=ShortInCrowds())],
    ...     requests=10,
    ...     seeds=1,
    ...     batch=4,
    ...     engine="simpy",
    ... )
    >>> result.policies
    ['fcfs+short-in-crowds']
    """

    name: ClassVar[str] = ""
    clairvoyant: ClassVar[bool] = False
    confident: ClassVar[bool] = False
    State: ClassVar[type[Any] | None] = None
    most: int = 7

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not vars(cls).get("name"):
            cls.name = cls.__name__

    def __post_init__(self) -> None:
        if not 0 <= self.most <= LONGEST:
            raise ValueError(f"{self.name}: most={self.most}: must be between 0 and {LONGEST}")

    def bind(self, context: DraftContext) -> Self:
        """Return the policy for one run, with what it needs of `context`; called once per run."""
        return self

    def choose(self, step: DraftStep) -> Ints:
        """Return the draft length of each request, whole numbers from 0 to `most`, (b,).

        Called before each step in which requests decode. It may write `step.state`, and nothing
        else.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no choose")


def best_length(step: Any, tokens: Floats) -> int:
    """Return the draft length, the same for all requests, that makes the most tokens per second.

    Parameters
    ----------
    step : DraftStep
    tokens : expected tokens of all requests together, by draft length from 0. Of equal lengths the
        shortest is taken.
    """
    best, most = 0, 0.0
    for length in range(len(tokens)):
        rate = tokens[length] / step_ns(step, step.requests * (length + 1), length)
        if rate > most:
            best, most = length, rate
    return best


def own_acceptance(step: Any, i: int, prior: float, weight: float) -> float:
    """Return the estimated probability that a draft token of a request is accepted if those before
    it are.

    Parameters
    ----------
    step : DraftStep
    i : place of the request in the step.
    prior, weight : the estimate for a new request, and the draft tokens that it is worth.
    """
    tested = step.accepted[i] + step.rejected[i]
    return float((weight * prior + step.accepted[i]) / (weight + tested))


def bound(default: Any) -> Any:
    """Return a field that `bind` sets."""
    return field(default=default, repr=False, compare=False, metadata={"bound": True})
