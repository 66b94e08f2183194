"""Speculative decoding of one request, with times of each part of a round.

In a round, the draft proposes n tokens one by one, the target verifies them in one pass over n + 1
tokens, and both KV caches are rolled back to the accepted tokens. The prefill caches the prompt
except its last token; the first round verifies that token together with the drafted tokens. This
module knows nothing about traces, profiles or prompt sets.
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
    """How tokens are chosen: greedily (temperature 0), or by sampling at a temperature.

    The random numbers of a request depend on the seed and the request's number only.

    Examples
    --------
    >>> from lapsd.calibrate import Sampling
    >>> Sampling(temperature=0.7, seed=1).temperature
    0.7
    """

    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise ValueError(f"temperature={self.temperature}: must be between 0 (greedy) and 100")

    def uniforms(self, request: int) -> "Uniforms":
        return Uniforms(self.seed, request)


class Uniforms:
    """Uniform random numbers in [0, 1) from a CPU generator; the same for all devices."""

    def __init__(self, seed: int, request: int) -> None:
        self._generator = torch.Generator().manual_seed((seed * 1_000_003 + request) % 2**63)

    def draw(self, count: int) -> list[float]:
        values: list[float] = torch.rand(
            count, generator=self._generator, dtype=torch.float64
        ).tolist()
        return values


@dataclass(frozen=True)
class Round:
    """One round: the numbers of drafted and accepted tokens, and the times of its parts.

    `context` is the number of tokens of the prompt and of the output before the round. `draft_ns`
    is the time of all n draft steps.
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
    """The output tokens and the rounds of a request.

    `accepted` of the last round counts only tokens that belong to the output.

    Examples
    --------
    >>> from lapsd.calibrate import Sampling, generate, load_pair
    >>> pair = load_pair("reference", "reference", device="cpu")
    >>> made = generate(pair, [5, 6, 7], n=4, max_new_tokens=6, sampling=Sampling())
    >>> len(made.tokens), made.prompt_tokens
    (6, 3)
    """

    prompt_tokens: int
    prefill_ns: int
    tokens: list[int] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)


def clock(device: torch.device) -> int:
    """Wait for all work of the device, and return the time in nanoseconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter_ns()


class Decoder:
    """Speculative decoding of one sequence of up to `capacity` tokens, controlled by the host."""

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
        """Cache the prompt except its last token in both models, and return the time in ns."""
        assert prompt, "a prompt holds at least one token"
        self._ids = list(prompt)
        start = clock(self._pair.device)
        if len(prompt) > 1:
            self.target.extend(prompt[:-1])
            self.draft.extend(prompt[:-1])
        return clock(self._pair.device) - start

    @torch.inference_mode()
    def round(self, force: int | None = None) -> tuple[list[int], tuple[int, int, int]]:
        """Run one round.

        Parameters
        ----------
        force : int, optional
            Accept this number of drafted tokens, whatever the target's verdict is.

        Returns
        -------
        (emitted tokens, (draft ns, verify ns, total ns)). The emitted tokens are the accepted
        tokens and the target's own token after them.
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
        # the last emitted token is in neither cache; if all drafted tokens were accepted, the draft
        # also lacks the token before it
        self.target.rollback(len(self._ids) - 1)
        self.draft.rollback(len(self._ids) - 1)
        return emitted, (proposed - start, verified - proposed, clock(device) - start)

    def _propose(self) -> tuple[list[int], list[Tensor]]:
        """Return n tokens proposed by the draft and, when sampling, their distributions."""
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
    """A `Decoder` whose rounds stay on the device; prompts need at least two tokens."""

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
        *drafted, accepted, token = verdict[0].tolist()  # the only wait for the device in a round
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
    """Return a decoder for a sequence of up to `capacity` tokens.

    Parameters
    ----------
    pair : Pair
    n : int
        Draft tokens per round.
    sampling : Sampling
    capacity : int
    request : int
        Number of the request; determines its random numbers, together with the seed.
    on_device : bool, optional
        Whether rounds stay on the device. By default they do on a GPU with lean engines.
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
        if pair.lean and workspace.rounds:  # one request runs at a time: share memory
            other = next(iter(workspace.rounds.values()))
            caches = other.target.key_values(), other.draft.key_values()
        rounds = DeviceRounds(
            pair, n, capacity=workspace.capacity, temperature=sampling.temperature, caches=caches
        )
        rounds.ready()
        workspace.rounds[key] = rounds
    return DeviceDecoder(workspace.rounds[key], sampling, request)


def cut(emitted: list[int], stop_ids: frozenset[int], room: int) -> tuple[list[int], bool]:
    """Return the tokens of a round that belong to the output, and whether the output ends there.

    An output ends with a stop token, which belongs to it, or when `room` tokens have been added.
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
    """Decode one request until a stop token (which belongs to the output) or the cap.

    Parameters
    ----------
    pair : Pair
    prompt : list of int
        Token ids, at least one.
    n : int
        Draft tokens per round.
    max_new_tokens : int
        Cap on the length of the output, in tokens.
    sampling : Sampling
    request : int
        Number of the request; determines its random numbers, together with the seed.

    Raises
    ------
    ValueError
        If prompt, output and look-ahead do not fit into the models' context.

    Examples
    --------
    >>> from lapsd.calibrate import Sampling, generate, load_pair
    >>> pair = load_pair("reference", "reference", device="cpu")
    >>> made = generate(pair, [5, 6, 7], n=4, max_new_tokens=6, sampling=Sampling())
    >>> sum(step.accepted + 1 for step in made.rounds) >= len(made.tokens)
    True
    """
    need = len(prompt) + max_new_tokens + n + 1
    if need > pair.context:
        raise ValueError(
            f"a prompt of {len(prompt)} tokens with {max_new_tokens} new tokens and {n + 1}"
            f" look-ahead tokens needs a context of {need}, but the models have {pair.context}"
        )
    # rounds on the device start from the last two tokens of a prompt
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
