"""Speculative decoding of one request, with KV caches that roll back, timed part by part.

A round: the draft proposes n tokens one by one, the target verifies them in one pass over n + 1
tokens, and what was rejected is cut off both caches. Prefill caches the prompt but for its last
token, which the first round verifies together with the drafts. Knows nothing of traces, profiles or
prompts.
"""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lapsd.calibrate.decoding.acceptance import (
    Verdict,
    accept_greedy,
    accept_sampled,
    draw,
    probabilities,
)
from lapsd.calibrate.decoding.rounds import DeviceRounds
from lapsd.calibrate.models.loading import Pair


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen: greedily (temperature 0), or at a temperature with uniforms of (seed,
    request).
    """

    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise ValueError(f"temperature {self.temperature}: must be between 0 (greedy) and 100")

    def uniforms(self, request: int) -> "Uniforms":
        return Uniforms(self.seed, request)


class Uniforms:
    """Uniform numbers in [0, 1) from a CPU generator: the same whatever the device."""

    def __init__(self, seed: int, request: int) -> None:
        self._generator = torch.Generator().manual_seed((seed * 1_000_003 + request) % 2**63)

    def draw(self, count: int) -> list[float]:
        values: list[float] = torch.rand(
            count, generator=self._generator, dtype=torch.float64
        ).tolist()
        return values


@dataclass(frozen=True)
class Round:
    """One round: what it drafted and accepted, and how long its parts took.

    `context` is the prompt plus the tokens emitted before the round. `draft_ns` covers all n steps.
    """

    drafted: int
    accepted: int
    emitted: int
    context: int
    draft_ns: int
    verify_ns: int
    total_ns: int


@dataclass
class Generation:
    """A request's output tokens and rounds; `accepted` of the last round counts output tokens
    only.
    """

    prompt_tokens: int
    prefill_ns: int
    tokens: list[int] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)


def clock(device: torch.device) -> int:
    """Now, in nanoseconds, after all work given to the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter_ns()


class Decoder:
    """Speculative decoding of one sequence of up to `capacity` tokens with a pair."""

    def __init__(
        self, pair: Pair, n: int, sampling: Sampling, capacity: int, request: int = 0
    ) -> None:
        if n < 0:
            raise ValueError(f"draft tokens {n}: must be at least 0 (plain decoding)")
        self._pair, self._n, self._temperature = pair, n, sampling.temperature
        self._uniforms = sampling.uniforms(request)
        self.target = pair.target_engine.sequence(capacity)
        self.draft = pair.draft_engine.sequence(capacity)
        self._ids: list[int] = []

    @torch.inference_mode()
    def prefill(self, prompt: list[int]) -> int:
        """Cache the prompt but for its last token, in both models; nanoseconds it took."""
        assert prompt, "a prompt holds at least one token"
        self._ids = list(prompt)
        start = clock(self._pair.device)
        if len(prompt) > 1:
            self.target.extend(prompt[:-1])
            self.draft.extend(prompt[:-1])
        return clock(self._pair.device) - start

    @torch.inference_mode()
    def round(self, force: int | None = None) -> tuple[list[int], tuple[int, int, int]]:
        """One round: the accepted tokens and the target's own, and the ns of drafting, verifying
        and in all.

        `force`: accept so many drafted tokens whatever the target says.
        """
        device = self._pair.device
        start = clock(device)
        drafted, draft_probabilities = self._propose()
        proposed = clock(device)
        logits = self.target.forward([self._ids[-1], *drafted])
        verified = clock(device)
        verdict = self._judge(drafted, draft_probabilities, logits)
        if force is not None:
            verdict = Verdict(force, int(logits[force].argmax()))
        emitted = [*drafted[: verdict.accepted], verdict.token]
        self._ids += emitted
        # the token emitted last is in neither cache; after a full acceptance the draft also lacks
        # the one before
        self.target.rollback(len(self._ids) - 1)
        self.draft.rollback(len(self._ids) - 1)
        return emitted, (proposed - start, verified - proposed, clock(device) - start)

    def _propose(self) -> tuple[list[int], list[Tensor]]:
        """n tokens of the draft, each from its own last logits; with their distributions when
        sampling.
        """
        unseen, drafted, distributions = self._ids[self.draft.length :], [], []
        uniforms = self._uniforms.draw(self._n) if self._temperature else []
        for step in range(self._n):
            logits = self.draft.forward(unseen)[-1]
            if self._temperature:
                distributions.append(probabilities(logits, self._temperature))
                token = draw(distributions[-1], uniforms[step])
            else:
                token = int(logits.argmax())
            drafted.append(token)
            unseen = [token]
        return drafted, distributions

    def _judge(self, drafted: list[int], distributions: list[Tensor], logits: Tensor) -> Verdict:
        if not self._temperature:
            return accept_greedy(drafted, logits)
        target = probabilities(logits, self._temperature)
        proposed = torch.stack(distributions) if distributions else target[:0]
        return accept_sampled(drafted, proposed, target, self._uniforms.draw(self._n + 1))


class DeviceDecoder:
    """The same as `Decoder`, in rounds that stay on the device; for prompts of at least two
    tokens.
    """

    def __init__(self, rounds: DeviceRounds, sampling: Sampling, request: int = 0) -> None:
        self.rounds, self._temperature = rounds, sampling.temperature
        self._uniforms = sampling.uniforms(request)

    def prefill(self, prompt: list[int]) -> int:
        device = self.rounds.device
        ids = torch.tensor([prompt], device=device)
        start = clock(device)
        self.rounds.prefill(ids[:, :-1])
        spent = clock(device) - start
        self.rounds.place(ids[:, -2:], torch.tensor([len(prompt) - 1]))
        return spent

    def round(self, force: int | None = None) -> tuple[list[int], tuple[int, int, int]]:
        n = self.rounds.n
        start = time.perf_counter_ns()
        uniforms = (
            [*self._uniforms.draw(n), *self._uniforms.draw(n + 1)] if self._temperature else None
        )
        verdict = self.rounds.round(uniforms, force=-1 if force is None else force)
        *drafted, accepted, token = verdict[0].tolist()  # the one wait of a round
        total = time.perf_counter_ns() - start
        times = self.rounds.times()
        return [*drafted[:accepted], token], (times.draft_ns, times.verify_ns, total)


def make_decoder(
    pair: Pair,
    n: int,
    sampling: Sampling,
    capacity: int,
    request: int = 0,
    *,
    on_device: bool | None = None,
) -> Decoder | DeviceDecoder:
    """The decoder for a sequence of `capacity` tokens: on a GPU, lean engines keep their rounds
    there.

    Parameters
    ----------
    on_device : None: where it pays.
    """
    if on_device is None:
        on_device = pair.lean and pair.device.type == "cuda"
    if not on_device:
        return Decoder(pair, n, sampling, capacity, request)
    workspace, key = pair.workspace, (n, sampling.temperature)
    if capacity > workspace.capacity:
        workspace.rounds.clear()
        workspace.capacity = capacity
    if key not in workspace.rounds:
        caches: tuple[Tensor | None, Tensor | None] = (None, None)
        if pair.lean and workspace.rounds:  # all share one memory: one request is decoded at a time
            other = next(iter(workspace.rounds.values()))
            caches = other.target.key_values(), other.draft.key_values()
        rounds = DeviceRounds(
            pair, n, capacity=workspace.capacity, temperature=sampling.temperature, caches=caches
        )
        rounds.ready()
        workspace.rounds[key] = rounds
    return DeviceDecoder(workspace.rounds[key], sampling, request)


def cut(emitted: list[int], stop_ids: frozenset[int], room: int) -> tuple[list[int], bool]:
    """What of a round's tokens is output, and whether it ends there: at a stop token, which counts,
    or at the cap.
    """
    end = next((i + 1 for i, token in enumerate(emitted) if token in stop_ids), None)
    kept = emitted[: room if end is None else min(end, room)]
    return kept, end is not None or len(kept) == room


def generate(
    pair: Pair,
    prompt: list[int],
    *,
    n: int,
    max_new_tokens: int,
    sampling: Sampling,
    request: int = 0,
) -> Generation:
    """Decode one request until a stop token (which counts as output) or the cap.

    Parameters
    ----------
    prompt : token ids, at least one.
    n : draft tokens a round.
    request : with the sampling's seed, the key of this request's random numbers.

    Raises
    ------
    ValueError
        If prompt, output and look-ahead do not fit into the models' context.
    """
    need = len(prompt) + max_new_tokens + n + 1
    if need > pair.context:
        raise ValueError(
            f"a prompt of {len(prompt)} tokens with {max_new_tokens} new and {n + 1} look-ahead"
            f" tokens needs a context of {need}: the models have {pair.context}"
        )
    # a prompt of one token has no last two
    decoder = make_decoder(
        pair, n, sampling, need, request, on_device=None if len(prompt) > 1 else False
    )
    generation = Generation(len(prompt), decoder.prefill(prompt))
    stopped = False
    while not stopped:
        context = len(prompt) + len(generation.tokens)
        emitted, (draft_ns, verify_ns, total_ns) = decoder.round()
        accepted = len(emitted) - 1
        emitted, stopped = cut(emitted, pair.stop_ids, max_new_tokens - len(generation.tokens))
        generation.tokens += emitted
        generation.rounds.append(
            Round(
                n, min(accepted, len(emitted)), len(emitted), context, draft_ns, verify_ns, total_ns
            )
        )
    return generation
