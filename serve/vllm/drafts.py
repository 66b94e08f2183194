"""Draft lengths that a draft policy chooses, for an engine that identifies requests by their ids.

Knows nothing of vLLM or of memory. A draft policy is user code inside a production engine. If it
raises an exception, the exception is reported once, and the engine drafts as it does by itself.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lapsd.policies.calls import name_of
from lapsd.policies.drafts import DraftContext, DraftPolicy, DraftStep
from lapsd.policies.drafts.calls import bound_drafts, lengths_of, state_of
from lapsd.serve.vllm.job import LiveJob
from lapsd.traces import Costs, RaggedRound, ragged_round


@dataclass(frozen=True)
class BoundDrafts:
    """A draft policy for one run, and the costs of rounds by which it chooses."""

    policy: DraftPolicy
    costs: Costs

    @classmethod
    def of(
        cls, policy: DraftPolicy, context: DraftContext, costs: Costs, batch_slots: int
    ) -> "BoundDrafts":
        """Return a draft policy bound to past requests.

        Raises
        ------
        ValueError
            If it needs to know what no server knows before drafting, cannot be bound, or the costs
            do not cover it in batches of up to `batch_slots` requests.
        """
        if policy.clairvoyant or policy.confident:
            raise ValueError(
                f"draft policy {name_of(policy)}: reads what is known only after drafting: not in"
                " vLLM"
            )
        ragged_round(costs, batch_slots, policy.most)  # raises an error before the run
        return cls(bound_drafts(policy, context), costs)


@dataclass(eq=False)
class LiveDrafts:
    """The draft lengths of an engine's requests.

    Attributes
    ----------
    bound : BoundDrafts or None
        None: the engine drafts as it does by itself.
    report : callable
        Receives a line that describes a failure of the policy.
    lengths : dict of request id to int
        Draft tokens that the next round of a request may verify.
    last : (requests, drafted, accepted, longest)
        Of the latest step with decoding requests.
    """

    bound: BoundDrafts | None
    report: Callable[[str], None]
    lengths: dict[str, int] = field(default_factory=dict)
    last: tuple[int, int, int, int] = (0, 0, 0, 0)
    state: Any = None
    _rounds: dict[int, RaggedRound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = None if self.bound is None else state_of(self.bound.policy)

    def note(self, rounds: Iterable[tuple[int, int]]) -> None:
        """Remember the drafted and accepted tokens of the requests that decoded in a step."""
        if known := list(rounds):
            drafted, accepted = zip(*known, strict=True)
            self.last = len(known), sum(drafted), sum(accepted), max(drafted)

    def choose(self, jobs: Sequence[LiveJob], waiting: int, now_ns: int) -> int | None:
        """Choose the draft lengths of requests; return the longest, or None without a policy.

        Parameters
        ----------
        jobs : at least one.
        """
        if self.bound is None:
            return None
        ordered = sorted(jobs, key=lambda job: job.index)
        try:
            lengths = lengths_of(self.bound.policy, self._step(ordered, waiting), now_ns).tolist()
        except ValueError as error:
            self.report(f"{error}: vLLM drafts as it does by itself from now on")
            self.bound, self.lengths = None, {}
            return None
        self.lengths = {job.request_id: n for job, n in zip(ordered, lengths, strict=True)}
        return max(lengths)

    def _step(self, jobs: Sequence[LiveJob], waiting: int) -> DraftStep:
        assert self.bound is not None
        policy, costs = self.bound.policy, self.bound.costs
        if len(jobs) not in self._rounds:
            self._rounds[len(jobs)] = ragged_round(costs, len(jobs), policy.most)
        cost = self._rounds[len(jobs)]
        columns = {
            name: np.array([getattr(job, name) for job in jobs], dtype=np.int64)
            for name in ("tokens", "rounds", "drafted", "accepted", "rejected", "predicted_tokens")
        }
        prompts = np.array([job.prompt_tokens for job in jobs], dtype=np.int64)
        contexts = prompts + columns["tokens"]
        requests, drafted, accepted, longest = self.last
        return DraftStep(
            requests=len(jobs),
            waiting=waiting,
            most=policy.most,
            context=int(contexts.sum()),
            contexts=contexts,
            **columns,
            confidence=np.zeros((0, 0)),
            acceptable=np.zeros(len(jobs), dtype=np.int64),
            last_requests=requests,
            last_drafted=drafted,
            last_accepted=accepted,
            last_length=longest,
            verify_base=cost.verify_base,
            verify_per_token=cost.verify_per_token,
            draft_base=cost.draft_base,
            draft_per_token=cost.draft_per_token,
            divisor=cost.divisor,
            padded=False,
            state=self.state,
        )
