"""Draft lengths that a draft policy decides, in the specification.

`Positions` are the rounds of a request whose draft lengths are decided during the run: what is
accepted depends on the position in the output. `Drafting` says how an engine verifies drafts;
`Drafter` asks the policy before each step. The compiled loop has the same in `compiled/drafts.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import Policy
from lapsd.policies.calls import name_of
from lapsd.policies.drafts import DraftContext, DraftPolicy, DraftStep, Fixed
from lapsd.policies.drafts.calls import bound_drafts, lengths_of, state_of
from lapsd.sim.engine.recorded import Recorded, RoundsSoFar, cacheable
from lapsd.sim.engine.request import Request
from lapsd.traces import (
    Costs,
    PricedTrace,
    RaggedRound,
    Trace,
    Workload,
    accepted_runs,
    ragged_round,
)
from lapsd.traces.pricing import progress

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Drafting:
    """How an engine verifies drafts whose lengths a policy decides.

    Parameters
    ----------
    padded : whether each request sends as many tokens to the verification as the longest draft;
        else each sends its own drafts and one more.
    graph_sizes : numbers of tokens, ascending, for which the engine captured a graph; a
        verification takes the time of the next one. None: each number has its own time.
    switch_ns : time that a step takes longer if its longest draft differs from that of the step
        before.
    late : whether the policy sees requests as they were a round ago.
    """

    padded: bool = False
    graph_sizes: tuple[int, ...] = ()
    switch_ns: int = 0
    late: bool = False


AS_SENT = Drafting()


def parse_graph_sizes(text: str | None) -> tuple[int, ...]:
    """Return the numbers of tokens that a text such as `8/16/32` lists.

    Raises
    ------
    ValueError
        If they are not whole numbers of at least 1, each above the one before.
    """
    try:
        sizes = tuple(int(part) for part in text.split("/")) if text is not None else ()
    except ValueError:
        sizes = (0,)
    if any(b <= a for a, b in zip((0, *sizes), sizes, strict=False)):
        raise ValueError(
            f"graph_sizes={text}: must be whole numbers of at least 1, ascending, as in 8/16/32"
        )
    return sizes


class Positions(RoundsSoFar):
    """The rounds of a request so far, made from the positions at which they began.

    Parameters
    ----------
    runs : by output position, how many proposals from there are accepted in a row.
    most : the longest draft, for which memory is reserved.
    """

    def __init__(self, priced: PricedTrace, row: int, runs: Sequence[int], most: int) -> None:
        trace = priced.trace
        super().__init__(int(trace.prompt_tokens[row]), most, cacheable(trace, row))
        self.prefill_ns, self.runs = int(priced.prefill_ns[row]), runs

    @property
    def output_tokens(self) -> int:
        return len(self.runs)

    @property
    def acceptable(self) -> int:
        """Proposals that would be accepted in a row from the present position."""
        return self.runs[self.tokens[-1]]

    def draft(self, length: int) -> None:
        """Append the next round, with so many draft tokens."""
        accepted = min(length, self.acceptable)
        left = len(self.runs) - self.tokens[-1]
        emitted = min(accepted + 1, left)
        self.add(length, emitted, accepted, last=emitted == left)


_RUNS: WeakKeyDictionary[PricedTrace, Ints] = WeakKeyDictionary()
ACCEPTANCE_STREAM = 7  # of the random draws that decide which proposals are accepted


def runs_of(priced: PricedTrace, drafts: DraftPolicy) -> Ints:
    """Return, by output position of all rows, how many proposals are accepted in a row.

    A trace without columns by position says enough for some policies; see `runs_of_rounds`.

    Raises
    ------
    ValueError
        If the trace does not say it.
    """
    trace = priced.trace
    if trace.accept_prob is None and trace.acceptable is None:
        return runs_of_rounds(trace, drafts)
    if priced not in _RUNS:
        rng = np.random.default_rng(ACCEPTANCE_STREAM)
        _RUNS[priced] = np.ascontiguousarray(accepted_runs(trace, rng), dtype=np.int64)
    return _RUNS[priced]


def runs_of_rounds(trace: Trace, drafts: DraftPolicy) -> Ints:
    """Return the runs that recorded rounds of one draft length n tell.

    A round tells what is accepted at its own positions, but not after n accepted tokens. Rounds of
    a fixed length k never begin or end there if k + 1 divides n + 1; so only such a length, or
    none, can be cut out of the recorded rounds.

    Raises
    ------
    ValueError
        For any other policy.
    """
    lengths = np.unique(trace.drafted).tolist()
    fits = isinstance(drafts, Fixed) and (lengths[0] + 1) % (drafts.most + 1) == 0
    if drafts.most and not (fits and len(lengths) == 1):
        recorded = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else str(lengths[0])
        raise ValueError(
            f"draft policy {name_of(drafts)}: the trace holds neither 'acceptable' nor"
            f" 'accept_prob'; its rounds of {recorded} draft tokens only tell what off accepts, or"
            " fixed:most=K where K + 1 divides that number + 1"
        )
    runs = np.zeros(int(trace.output_tokens.sum()), dtype=np.int64)
    emitted, context = progress(trace)
    starts = context - np.repeat(trace.prompt_tokens, trace.rounds)
    starts += np.repeat(trace.output_offsets[:-1], trace.rounds)
    for start, accepted, length in zip(
        starts.tolist(), trace.accepted.tolist(), emitted.tolist(), strict=True
    ):
        taken = min(accepted, length)
        runs[start : start + taken] = np.arange(taken, 0, -1)
    return runs


def positions_of(priced: PricedTrace, rows: Sequence[int], drafts: DraftPolicy) -> list[Recorded]:
    """Return the rounds of each request of some rows, none of which has run."""
    offsets, runs = priced.trace.output_offsets, runs_of(priced, drafts)
    return [
        Positions(priced, row, runs[offsets[row] : offsets[row + 1]].tolist(), drafts.most)
        for row in rows
    ]


@dataclass(frozen=True, eq=False)
class Confidence:
    """Acceptance of proposals, predicted from the draft model's own probabilities.

    Attributes
    ----------
    by_position : float64 (output positions of all rows,)
        Probability that the proposal at a position is accepted.
    beyond : float
        The same for proposals beyond the end of the output, of which a server does not know that
        they lie there.
    """

    by_position: NDArray[np.float64]
    beyond: float


NO_CONFIDENCE = Confidence(np.zeros(0), 0.0)


def confidence_of(priced: PricedTrace, drafts: DraftPolicy, context: DraftContext) -> Confidence:
    """Return the calibrated confidences of a trace; an empty array if the policy reads none.

    Raises
    ------
    ValueError
        If the trace or its training half holds none.
    """
    if not drafts.confident:
        return NO_CONFIDENCE
    probabilities = priced.trace.draft_prob
    if probabilities is None or not len(context.confidence):
        raise ValueError(
            f"draft policy {name_of(drafts)}: needs the column draft_prob, which the trace lacks:"
            " record it with lapsd calibrate"
        )
    known = np.interp(probabilities, context.confidence, context.accepted)
    return Confidence(np.ascontiguousarray(known), context.acceptance)


class LastStep(NamedTuple):
    """A step with decoding requests: their number, their drafts, and the longest draft."""

    requests: int = 0
    drafted: int = 0
    accepted: int = 0
    longest: int = 0


NO_STEP = LastStep()


@dataclass(eq=False)
class Drafter:
    """The draft policy of a run: asked before each step in which requests decode.

    Parameters
    ----------
    policy : bound.
    costs : what steps take.
    starts : first output position of each request in `confidence`, by index.
    known : what the policy takes the costs of steps for; None: `costs`.
    """

    policy: DraftPolicy
    drafting: Drafting
    costs: Costs
    confidence: Confidence = NO_CONFIDENCE
    starts: Sequence[int] = ()
    known: Costs | None = None
    last: LastStep = NO_STEP
    before: LastStep = NO_STEP
    state: Any = None
    _rounds: dict[tuple[int, bool], RaggedRound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = state_of(self.policy)

    @classmethod
    def of(
        cls, workload: Workload, policy: DraftPolicy, context: DraftContext, drafting: Drafting
    ) -> "Drafter":
        """Return the drafter of a workload.

        Raises
        ------
        ValueError
            If the trace or the profile does not say what the policy needs.
        """
        policy = bound_drafts(policy, context)
        refuse_late(policy, drafting)
        priced = workload.priced
        confidence = confidence_of(priced, policy, context)
        starts = priced.trace.output_offsets[workload.rows].tolist()
        return cls(policy, drafting, priced.profile.costs, confidence, starts)

    def draft(self, requests: Sequence[Request], waiting: int, now_ns: int) -> int:
        """Choose the draft lengths of the requests that decode; return the time of a switch."""
        lengths = self.choose(requests, waiting, now_ns)
        for request, length in lengths.items():
            assert isinstance(request.recorded, Positions)
            request.recorded.draft(length)
        switches = self.last.requests > 0 and max(lengths.values()) != self.last.longest
        self.note(lengths)
        return self.drafting.switch_ns if switches else 0

    def choose(self, requests: Sequence[Request], waiting: int, now_ns: int) -> dict[Request, int]:
        """Return the draft length of each request that decodes in the next step, by index."""
        ordered = sorted(requests, key=lambda request: request.index)
        lengths = lengths_of(self.policy, self._step(ordered, waiting), now_ns).tolist()
        return dict(zip(ordered, lengths, strict=True))

    def note(self, lengths: Mapping[Request, int]) -> None:
        """Remember a step with these draft lengths, whose rounds the requests have recorded."""
        accepted = sum(r.recorded.accepted[-1] - r.recorded.accepted[-2] for r in lengths)
        longest = max(lengths.values())
        step = LastStep(len(lengths), sum(lengths.values()), accepted, longest)
        self.before, self.last = self.last, step

    def round_ns(self, drafted: Sequence[int], contexts: int) -> int:
        """Return the time of a round of requests with these draft lengths."""
        longest, requests = max(drafted), len(drafted)
        tokens = requests * (longest + 1) if self.drafting.padded else sum(drafted) + requests
        return self._round_cost(requests)(tokens, longest, contexts)

    def _round_cost(self, batch: int, *, known: bool = False) -> RaggedRound:
        """Return the cost of rounds of so many requests, or what the policy takes it for; made once
        for each number.
        """
        costs = (self.known if known else None) or self.costs
        key = batch, costs is self.costs
        if key not in self._rounds:
            sizes = self.drafting.graph_sizes
            self._rounds[key] = ragged_round(costs, batch, self.policy.most, sizes)
        return self._rounds[key]

    def _step(self, requests: Sequence[Request], waiting: int) -> DraftStep:
        """Return what the policy sees of a step."""
        late, most = self.drafting.late, self.policy.most
        last = self.before if late else self.last
        cost = self._round_cost(len(requests), known=True)
        seen = [max(0, r.rounds - late) for r in requests]
        recorded: list[Any] = [r.recorded for r in requests]

        def column(values: Iterable[int]) -> Ints:
            return np.array(list(values), dtype=np.int64)

        def totals(name: str) -> Ints:
            return column(getattr(r, name)[k] for r, k in zip(recorded, seen, strict=True))

        tokens = totals("tokens")
        contexts = column(r.prompt_tokens for r in requests) + tokens
        sees_truth = self.policy.clairvoyant
        return DraftStep(
            requests=len(requests),
            waiting=waiting,
            most=most,
            context=int(contexts.sum()),
            contexts=contexts,
            tokens=tokens,
            rounds=column(seen),
            drafted=totals("drafted"),
            accepted=totals("accepted"),
            rejected=totals("rejected"),
            predicted_tokens=column(r.predicted_tokens for r in requests),
            confidence=self._confidences(requests),
            acceptable=column(r.acceptable if sees_truth else 0 for r in recorded),
            last_requests=last.requests,
            last_drafted=last.drafted,
            last_accepted=last.accepted,
            last_length=last.longest,
            verify_base=cost.verify_base,
            verify_per_token=cost.verify_per_token,
            draft_base=cost.draft_base,
            draft_per_token=cost.draft_per_token,
            divisor=cost.divisor,
            padded=self.drafting.padded,
            state=self.state,
        )

    def _confidences(self, requests: Sequence[Request]) -> NDArray[np.float64]:
        """Return `DraftStep.confidence`."""
        known, most = self.confidence, self.policy.most
        if not len(known.by_position):
            return np.zeros((0, 0))
        found = np.full((len(requests), most), known.beyond)
        for k, request in enumerate(requests):
            start = self.starts[request.index]
            here = known.by_position[
                start + request.tokens : start + request.recorded.output_tokens
            ][:most]
            found[k, : len(here)] = here
        return found


def refuse_late(policy: DraftPolicy, drafting: Drafting) -> None:
    """Raise `ValueError` for a policy that reads confidences where it sees requests late."""
    if drafting.late and policy.confident:
        raise ValueError(
            f"draft policy {name_of(policy)}: reads confidences of the present drafts, and"
            " draft_lag=1 hides them"
        )


def refuse_truth(policy: Policy) -> None:
    """Raise `ValueError` for a policy that knows true remaining times, together with drafts whose
    lengths are not known beforehand.
    """
    if policy.clairvoyant and policy.drafts is not None:
        raise ValueError(
            f"policy {name_of(policy)}: knows the true remaining time of"
            " recorded rounds only; not with a draft policy"
        )
