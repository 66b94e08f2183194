"""Speculative rounds that stay on the device: drafting, verifying and judging without a word from the host.

One graph for the n draft steps and one for the verify pass and its verdict, per bucket of KV slots. A round launches
both and reads one small tensor. The draft's first step always takes the last two tokens: after a full acceptance the
draft lacks the first of them, and else it writes the same keys again. The rules are those of `calibrate.acceptance`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from calibrate.batched import LeanBatch, batch_of
from calibrate.graphs import Captured, Marks, graph_pool
from calibrate.models import Pair

# at most an eighth more slots than tokens, and few graphs: 128, 144, 160, ..., 240, 256, 288, ...
BUCKETS = tuple(16 * part * 2**power for power in range(14) for part in range(8, 16))


def bucket_for(tokens: int, most: int = 2**62) -> int:
    """The smallest bucket that holds `tokens`, and never more than `most`."""
    return min(next(b for b in BUCKETS if b >= tokens), most)


@dataclass(frozen=True)
class RoundTimes:
    """A round's parts as the device saw them, in nanoseconds."""

    draft_ns: int
    verify_ns: int


class DeviceRounds:
    """Rounds of B requests with n draft tokens, in KV buffers of `capacity` tokens a row.

    Parameters
    ----------
    n : draft tokens, 0 or more; 0 is plain decoding.
    temperature : 0 is greedy.
    capture : whether to run captured graphs where there is a GPU; models outside the lean engine cannot.
    splits : of the target's attention (`calibrate.batched.LeanBatch`).
    buffers : KV buffers of target and draft to use instead of new ones, at least as large.
    """

    def __init__(
        self, pair: Pair, n: int, rows: int = 1, *, capacity: int, temperature: float = 0.0, capture: bool = True,
        splits: int = 1, buffers: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> None:  # fmt: skip
        self.n, self.rows, self.capacity, self._temperature = n, rows, capacity, temperature
        self.device = pair.device
        self.target = batch_of(pair.target_engine, rows, capacity, buffers[0])
        self.draft = batch_of(pair.draft_engine, rows, capacity, buffers[1])
        if isinstance(self.target, LeanBatch):
            self.target.splits = splits
        self._capture = (
            capture
            and self.device.type == "cuda"
            and all(isinstance(m, LeanBatch) for m in (self.target, self.draft))
        )
        self._last_two = torch.zeros(rows, 2, dtype=torch.int64, device=self.device)
        self._position = torch.ones(rows, dtype=torch.int64, device=self.device)  # of the last token
        self._drafted = torch.zeros(rows, n, dtype=torch.int64, device=self.device)
        self._forced = torch.full((1,), -1, dtype=torch.int64, device=self.device)
        self._advance = torch.ones(1, dtype=torch.int64, device=self.device)
        self._uniforms = torch.zeros(2 * n + 1, dtype=torch.float64, device=self.device)
        self._staged = torch.zeros(2 * n + 1, dtype=torch.float64, pin_memory=self.device.type == "cuda")
        shape = (rows, n + 1, pair.vocabulary) if temperature else (0,)
        self._draft_probabilities = torch.zeros(shape, dtype=torch.float64, device=self.device)
        self._verdict = torch.zeros(rows, n + 2, dtype=torch.int64, device=self.device)
        self._graphs: dict[tuple[str, int], Captured] = {}
        self._pool = graph_pool(self.device)
        self._marks = Marks(self.device, 3)

    @torch.inference_mode()
    def prefill(self, tokens: Tensor) -> None:
        """Cache `tokens` (B, w), on the device, in both models."""
        self.target.prefill(tokens)
        self.draft.prefill(tokens)

    @torch.inference_mode()
    def place(self, last_two: Tensor, position: Tensor) -> None:
        """Set the last two tokens (B, 2) of each row, and the position (B,) of the last, at least 1."""
        self._last_two.copy_(last_two)
        self._position.copy_(position)

    @torch.inference_mode()
    def round(
        self, longest: int, uniforms: list[float] | None = None, *, force: int = -1, stay: bool = False
    ) -> Tensor:
        """One round of every row, without waiting for it; the rows then stand where the next round begins.

        Parameters
        ----------
        longest : position of the last token of the longest row.
        uniforms : 2n + 1 numbers, where sampling: n for the drafts, n + 1 for the verdict.
        force : accept so many drafted tokens whatever the target says; -1: as it says.
        stay : leave the rows where they are, for the same round again.

        Returns
        -------
        (B, n + 2) on the device: the drafted tokens, how many are accepted, and the target's own token after them.
        """
        need = longest + self.n + 1
        # without graphs there is nothing to share: what is needed, in whole cache lines
        bucket = bucket_for(need, self.capacity) if self._capture else min(-(-need // 16) * 16, self.capacity)
        if uniforms is not None:
            # free to be written again: the last round has been read
            self._staged.copy_(torch.tensor(uniforms, dtype=torch.float64))
            self._uniforms.copy_(self._staged, non_blocking=True)
        self._forced.fill_(force)
        self._advance.fill_(int(not stay))
        self._marks.mark(0)
        if self.n:
            self._graph("draft", bucket)()
        self._marks.mark(1)
        self._graph("verify", bucket)()
        self._marks.mark(2)
        return self._verdict

    def times(self) -> RoundTimes:
        """Of the last round; waits for it."""
        return RoundTimes(self._marks.between_ns(0, 1), self._marks.between_ns(1, 2))

    def part(self, name: str, longest: int) -> Captured:
        """`draft` or `verify` by itself, as a round would run it for rows of up to position `longest`; they stay."""
        self._advance.zero_()
        return self._graph(name, bucket_for(longest + self.n + 1, self.capacity))

    def _graph(self, part: str, bucket: int) -> Captured:
        if (part, bucket) not in self._graphs:
            steps = self._draft_steps if part == "draft" else self._verify
            device = self.device if self._capture else torch.device("cpu")
            advance = self._advance.clone()
            self._advance.zero_()  # capturing runs the round a few times: the rows must stand still
            self._graphs[part, bucket] = Captured(lambda: steps(bucket), device, self._pool)
            self._advance.copy_(advance)
        return self._graphs[part, bucket]

    def _draft_steps(self, bucket: int) -> None:
        tokens, position = self._last_two, self._position - 1
        for step in range(self.n):
            logits = self.draft.forward(tokens, position, bucket)[:, -1]  # (B, V)
            if self._temperature:
                weights = (logits.double() / self._temperature).softmax(-1)
                self._draft_probabilities[:, step] = weights
                token = _draw(weights, self._uniforms[step])
            else:
                token = logits.argmax(-1)
            self._drafted[:, step] = token
            tokens, position = token[:, None], self._position + 1 + step

    def _verify(self, bucket: int) -> None:
        tokens = torch.cat([self._last_two[:, 1:], self._drafted], dim=1)
        logits = self.target.forward(tokens, self._position, bucket)  # (B, n + 1, V)
        if self._temperature:
            target = (logits.double() / self._temperature).softmax(-1)
            stands = self._stands(target)
        else:
            best = logits.argmax(-1)
            stands = self._drafted == best[:, : self.n]
        accepted = stands.long().cumprod(-1).sum(-1)  # (B,)
        accepted = torch.where(self._forced >= 0, self._forced, accepted)
        row = torch.arange(self.rows, device=self.device)
        if self._temperature:
            # the row after the last draft stays zero: all of the target's distribution is then left
            left = (target[row, accepted] - self._draft_probabilities[row, accepted]).clamp_min(0)
            own = _draw(left, self._uniforms[2 * self.n])
        else:
            own = best[row, accepted]
        self._verdict.copy_(torch.cat([self._drafted, accepted[:, None], own[:, None]], dim=1))
        next_two = torch.stack([tokens[row, accepted], own], dim=1)
        self._last_two.copy_(torch.where(self._advance > 0, next_two, self._last_two))
        self._position.add_(self._advance * (accepted + 1))

    def _stands(self, target: Tensor) -> Tensor:
        """Which drafted tokens the uniforms let stand, (B, n)."""
        p, q = (
            t[:, : self.n].gather(-1, self._drafted[..., None])[..., 0] for t in (target, self._draft_probabilities)
        )
        return self._uniforms[self.n : 2 * self.n] * q < p


def _draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """A token per row from unnormalised weights (B, V), as `acceptance.draw` does."""
    sums = weights.cumsum(-1)
    index = (sums <= uniform * sums[:, -1:]).sum(-1)
    places = torch.arange(weights.shape[-1], device=weights.device)
    last = torch.where(weights > 0, places, -1).amax(-1)  # rounding at the upper end
    index = index.clamp_max(weights.shape[-1] - 1)
    fine = weights.gather(-1, index[:, None])[:, 0] > 0
    return torch.where(fine, index, last)
