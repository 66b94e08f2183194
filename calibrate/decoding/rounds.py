"""Speculative rounds that run on the device: drafting, verifying and accepting without the host.

A round consists of two graphs: the n draft steps, and the verify pass with its verdict. Each graph
serves all contexts. A round launches both and reads one small tensor. The first draft step always
takes the last two tokens: if the previous round accepted all drafted tokens, the draft lacks the
first of the two; otherwise the step writes the same keys again. The acceptance rules are the same
as in `lapsd.calibrate.decoding.acceptance`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lapsd.calibrate.models.batch import batch_of
from lapsd.calibrate.models.graphs import Marks
from lapsd.calibrate.models.lean import LeanBatch
from lapsd.calibrate.models.loading import Pair


@dataclass(frozen=True)
class RoundTimes:
    """Times of the parts of a round, measured on the device, in nanoseconds."""

    draft_ns: int
    verify_ns: int


class DeviceRounds:
    """Rounds of B requests with n draft tokens, in KV memory of `capacity` tokens per row.

    Rounds run as captured graphs if the pair has any (`Pair.graphs`), and otherwise operation by
    operation.

    Parameters
    ----------
    pair : Pair
    n : int
        Draft tokens per round, at least 0; 0 is plain decoding.
    rows : int
        Number of requests B.
    capacity : int
        Tokens that each row can hold.
    temperature : float
        Temperature of sampling; 0 is greedy.
    caches : pair of Tensor, optional
        KV memory of target and draft, at least as large as needed. By default it is allocated.
    places : Tensor, optional
        (B,), on the device: the row of the caches that belongs to each request, read at each round.
        By default request i has row i.
    """

    def __init__(
        self,
        pair: Pair,
        n: int,
        rows: int = 1,
        *,
        capacity: int,
        temperature: float = 0.0,
        caches: tuple[Tensor | None, Tensor | None] = (None, None),
        places: Tensor | None = None,
    ) -> None:
        self.n, self.rows, self.capacity, self._temperature = n, rows, capacity, temperature
        self.device = pair.device
        self.target = batch_of(pair.target_engine, rows, capacity, caches[0], places)
        self.draft = batch_of(pair.draft_engine, rows, capacity, caches[1], places)
        self._vocabulary, self._graphs = pair.vocabulary, pair.graphs
        self._last_two = torch.zeros(rows, 2, dtype=torch.int64, device=self.device)
        # of the last token of each row
        self._position = torch.ones(rows, dtype=torch.int64, device=self.device)
        self._drafted = torch.zeros(rows, n, dtype=torch.int64, device=self.device)
        self._lengths: tuple[int, ...] = ()
        self._limits = torch.zeros(rows, dtype=torch.int64, device=self.device)
        # by accepted tokens: the draft token that was rejected; n if none was
        self._rejected = torch.zeros(rows, n + 1, dtype=torch.int64, device=self.device)
        self._set_lengths((n,) * rows)
        self._forced = torch.full((1,), -1, dtype=torch.int64, device=self.device)
        self._advance = torch.ones(1, dtype=torch.int64, device=self.device)
        self._uniforms = torch.zeros(rows, 2 * n + 1, dtype=torch.float64, device=self.device)
        self._staged = torch.zeros(
            rows, 2 * n + 1, dtype=torch.float64, pin_memory=self.device.type == "cuda"
        )
        shape = (rows, n + 1, pair.vocabulary) if temperature else (0,)
        self._draft_probabilities = torch.zeros(shape, dtype=torch.float64, device=self.device)
        self._verdict = torch.zeros(rows, n + 2, dtype=torch.int64, device=self.device)
        self._parts: dict[str, Callable[[], None]] = {}
        self._marks = Marks(self.device, 3)

    @torch.inference_mode()
    def ready(self) -> None:
        """Capture the parts of a round, if this has not been done yet.

        Call it before any timing starts, and not between `prefill` and `place`.
        """
        if self._parts:
            return
        # capturing runs each part a few times: meanwhile the rows must not advance
        advance = self._advance.clone()
        self._advance.zero_()
        parts = (
            {"draft": self._draft_steps, "verify": self._verify}
            if self.n
            else {"verify": self._verify}
        )
        capture = torch.inference_mode() if self._graphs is None else self._graphs.capture
        self._parts = {name: capture(part) for name, part in parts.items()}
        self._advance.copy_(advance)

    @torch.inference_mode()
    def prefill(self, tokens: Tensor) -> None:
        """Cache `tokens` (B, w), which are on the device, in both models."""
        self.target.prefill(tokens)
        self.draft.prefill(tokens)

    @torch.inference_mode()
    def place(self, last_two: Tensor, position: Tensor) -> None:
        """Set the last two tokens (B, 2) of each row, and the position (B,) of the last token.

        Positions must be at least 1.
        """
        self._last_two.copy_(last_two)
        self._position.copy_(position)

    @torch.inference_mode()
    def stand(self, contexts: Sequence[int]) -> None:
        """Give each row a context of the given number of tokens, for timing.

        The keys and values of the lean engine are filled with random numbers, which take the same
        time as real ones (zeros would not). Other engines prefill random tokens.
        """
        generator = torch.Generator().manual_seed(sum(contexts))
        tokens = torch.randint(
            self._vocabulary, (self.rows, max(contexts)), generator=generator
        ).to(self.device)
        for batch in (self.target, self.draft):
            if isinstance(batch, LeanBatch):
                batch.key_values().normal_()
            else:
                batch.prefill(tokens[:, :-1])
        self.place(tokens[:, -2:], torch.tensor(contexts) - 1)

    @torch.inference_mode()
    def round(
        self,
        uniforms: list[float] | list[list[float]] | None = None,
        *,
        lengths: Sequence[int] | None = None,
        force: int = -1,
        stay: bool = False,
    ) -> Tensor:
        """Start one round of every row, without waiting for its result.

        Parameters
        ----------
        uniforms : list of float or list of list of float, optional
            2n + 1 numbers for sampling: n for drafting and n + 1 for the verdict. Either one list
            per row, or one list for all rows.
        lengths : sequence of int, optional
            Draft length of each row, at most n; further draft tokens are padding, which is never
            accepted. By default, n for every row.
        force : int
            Accept this number of drafted tokens, whatever the target's verdict is; -1: use the
            verdict.
        stay : bool
            Do not advance the rows, so that the next round repeats this one.

        Returns
        -------
        (B, n + 2) on the device: the drafted tokens, the number of accepted tokens, and the
        target's own token after them.
        """
        self.ready()
        if uniforms is not None:
            # the previous round has been read, so its buffer may be overwritten
            self._staged.copy_(torch.tensor(uniforms, dtype=torch.float64))
            self._uniforms.copy_(self._staged, non_blocking=True)
        self._set_lengths((self.n,) * self.rows if lengths is None else tuple(lengths))
        self._forced.fill_(force)
        self._advance.fill_(int(not stay))
        self._marks.mark(0)
        if self.n:
            self._parts["draft"]()
        self._marks.mark(1)
        self._parts["verify"]()
        self._marks.mark(2)
        return self._verdict

    def _set_lengths(self, lengths: tuple[int, ...]) -> None:
        """Set the draft length of each row, if it is not set."""
        if lengths != self._lengths:
            self._lengths = lengths
            self._limits.copy_(torch.tensor(lengths))
            places = range(self.n + 1)
            self._rejected.copy_(
                torch.tensor([[j if j < own else self.n for j in places] for own in lengths])
            )

    def times(self) -> RoundTimes:
        """Wait for the last round and return its times."""
        return RoundTimes(self._marks.between_ns(0, 1), self._marks.between_ns(1, 2))

    def part(self, name: str) -> Callable[[], None]:
        """Return the part `draft` or `verify` of a round, to run it alone; rows do not advance."""
        self.ready()
        self._advance.zero_()
        return self._parts[name]

    def _draft_steps(self) -> None:
        tokens, position = self._last_two, self._position - 1
        for step in range(self.n):
            logits = self.draft.forward(tokens, position)[:, -1]  # (B, V)
            if self._temperature:
                weights = (logits.double() / self._temperature).softmax(-1)
                self._draft_probabilities[:, step] = weights
                token = _draw(weights, self._uniforms[:, step])
            else:
                token = logits.argmax(-1)
            self._drafted[:, step] = token
            tokens, position = token[:, None], self._position + (1 + step)

    def _verify(self) -> None:
        tokens = torch.cat([self._last_two[:, 1:], self._drafted], dim=1)
        logits = self.target.forward(tokens, self._position)  # (B, n + 1, V)
        if self._temperature:
            target = (logits.double() / self._temperature).softmax(-1)
            stands = self._stands(target)
        else:
            best = logits.argmax(-1)
            stands = self._drafted == best[:, : self.n]
        accepted = stands.long().cumprod(-1).sum(-1).minimum(self._limits)  # (B,)
        accepted = torch.where(self._forced >= 0, self._forced, accepted)
        row = torch.arange(self.rows, device=self.device)
        if self._temperature:
            # draft probabilities after the last draft token are 0: all of the target's remain
            place = self._rejected[row, accepted]
            left = (target[row, accepted] - self._draft_probabilities[row, place]).clamp_min(0)
            own = _draw(left, self._uniforms[:, 2 * self.n])
        else:
            own = best[row, accepted]
        self._verdict.copy_(torch.cat([self._drafted, accepted[:, None], own[:, None]], dim=1))
        next_two = torch.stack([tokens[row, accepted], own], dim=1)
        self._last_two.copy_(torch.where(self._advance > 0, next_two, self._last_two))
        self._position.add_(self._advance * (accepted + 1))

    def _stands(self, target: Tensor) -> Tensor:
        """Return which drafted tokens are accepted at the given uniforms, (B, n)."""
        p, q = (
            t[:, : self.n].gather(-1, self._drafted[..., None])[..., 0]
            for t in (target, self._draft_probabilities)
        )
        return self._uniforms[:, self.n : 2 * self.n] * q < p


def _draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Draw one token per row from unnormalised weights (B, V) at uniforms (B,).

    The result is the same as that of `acceptance.draw`.
    """
    sums = weights.cumsum(-1)
    index = (sums <= uniform[:, None] * sums[:, -1:]).sum(-1)
    places = torch.arange(weights.shape[-1], device=weights.device)
    last = torch.where(weights > 0, places, -1).amax(-1)  # in case rounding exceeds the end
    index = index.clamp_max(weights.shape[-1] - 1)
    fine = weights.gather(-1, index[:, None])[:, 0] > 0
    return torch.where(fine, index, last)
