"""Requests on the models: rows of KV memory that they take and leave, rounds over some of them,
moves to the host.

Whatever a row holds, the tokens of a request are known here: prompt and output so far. Knows
nothing of policies, arrivals, or why a request moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lapsd.calibrate import Pair, Sampling
from lapsd.calibrate.decoding.decoder import Uniforms, clock
from lapsd.calibrate.decoding.rounds import DeviceRounds
from lapsd.calibrate.models.lean import LeanEngine
from lapsd.calibrate.timing.kv_transfers import Pool


@dataclass(eq=False)
class _Sequence:
    """A request's tokens, its random numbers, and where its keys and values are, if anywhere."""

    ids: list[int]
    uniforms: Uniforms
    row: int | None = None
    host: Pool | None = None


class Emitted(NamedTuple):
    """What a round gave a request: accepted draft tokens and the target's own."""

    tokens: list[int]

    @property
    def accepted(self) -> int:
        return len(self.tokens) - 1


class Rows:
    """KV memory of both models for `rows` requests of up to `capacity` tokens, of which up to
    `batch` run together.

    Parameters
    ----------
    n : draft tokens of a round.

    Raises
    ------
    ValueError
        If the models do not run in the lean engine, whose rows may be of different lengths.
    """

    def __init__(
        self, pair: Pair, n: int, sampling: Sampling, *, rows: int, capacity: int, batch: int
    ) -> None:
        engines = [e for e in (pair.target_engine, pair.draft_engine) if isinstance(e, LeanEngine)]
        if len(engines) < 2:
            raise ValueError(
                f"models {pair.target_name} and {pair.draft_name}: serving needs the lean engine"
                " for both"
            )
        self.pair, self.n, self.sampling = pair, n, sampling
        self.rows, self.capacity, self.batch = rows, capacity, batch
        self._engines = engines
        self._caches = [engine.new_cache(rows, capacity) for engine in engines]
        self._rounds: dict[int, DeviceRounds] = {}
        self._places = {
            b: torch.zeros(b, dtype=torch.int64, device=pair.device) for b in range(1, batch + 1)
        }
        for b, places in self._places.items():
            target, draft = self._caches
            self._rounds[b] = DeviceRounds(
                pair,
                n,
                b,
                capacity=capacity,
                temperature=sampling.temperature,
                caches=(target, draft),
                places=places,
            )
            self._rounds[b].ready()  # captured while no row holds anything
        self._zero = torch.zeros(1, dtype=torch.int64, device=pair.device)
        self._hosts: list[Pool] = []
        self._staging: Tensor | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all requests."""
        self._sequences: dict[int, _Sequence] = {}
        self._free = list(range(self.rows - 1, -1, -1))
        self._standing: tuple[int, ...] = ()

    def enter(self, key: int, prompt: Sequence[int], stream: int) -> None:
        """A request comes; `stream` is that of its random numbers."""
        self._sequences[key] = _Sequence(list(prompt), self.sampling.uniforms(stream))

    def leave(self, key: int) -> None:
        """A request is done: its row is free."""
        self._release(self._sequences.pop(key))

    def drop(self, key: int) -> None:
        """A request's keys and values are forgotten, and its row is free."""
        self._release(self._sequences[key])

    def _release(self, sequence: _Sequence) -> None:
        if sequence.row is not None:
            self._free.append(sequence.row)
            sequence.row = None
        if sequence.host is not None:
            self._hosts.append(sequence.host)
            sequence.host = None

    @torch.inference_mode()
    def prefill(self, key: int) -> int:
        """Read a request's tokens, but for the last, into a free row of both models; nanoseconds it
        took.
        """
        device = self.pair.device
        start = clock(device)
        sequence = self._sequences[key]
        row = sequence.row = self._free.pop()
        tokens = torch.tensor([sequence.ids[:-1]], device=device)
        for engine, cache in zip(self._engines, self._caches, strict=True):
            engine.run(tokens, self._zero, cache[:, :, row : row + 1], start=True)
        return clock(device) - start

    @torch.inference_mode()
    def out(self, key: int) -> int:
        """Move a request's keys and values to the host; its row is free. Nanoseconds it took."""
        start = clock(self.pair.device)
        sequence = self._sequences[key]
        host = self._hosts.pop() if self._hosts else self._new_host()
        host.out(self._pieces(sequence))
        spent = clock(self.pair.device) - start
        self._release(sequence)
        sequence.host = host
        return spent

    @torch.inference_mode()
    def back(self, key: int) -> int:
        """Move them back, into any free row; nanoseconds it took."""
        start = clock(self.pair.device)
        sequence = self._sequences[key]
        assert sequence.host is not None, "only what went out comes back"
        sequence.row = self._free.pop()
        sequence.host.back(self._pieces(sequence))
        spent = clock(self.pair.device) - start
        self._hosts.append(sequence.host)
        sequence.host = None
        return spent

    def _pieces(self, sequence: _Sequence) -> list[Tensor]:
        """What a row holds of a request, in both models: all its tokens but the last, which no
        model has seen.
        """
        held = len(sequence.ids) - 1
        return [cache[:, :, sequence.row, :, :held] for cache in self._caches]

    def _new_host(self) -> Pool:
        size = sum(cache[:, :, 0].numel() for cache in self._caches)
        cuda = self.pair.device.type == "cuda"
        made = Pool(
            size, self._caches[0].dtype, self.pair.device, pinned=cuda, staging=self._staging
        )
        self._staging = made.staging  # one for all: they never move at once
        return made

    def round(self, keys: Sequence[int]) -> tuple[list[Emitted], int, int]:
        """One round of some requests that have rows: what each emitted, and the ns of drafting and
        of verifying.
        """
        order = sorted(keys, key=self._row_of)  # neighbours in memory are neighbours in a batch
        rounds = self._rounds[len(order)]
        if self._standing != tuple(order):
            self._place(rounds, order)
        drawn = [self._uniforms(key) for key in order] if self.sampling.temperature else None
        verdict: list[list[int]] = rounds.round(drawn).tolist()  # the one wait of a round
        emitted: dict[int, Emitted] = {}
        for key, (*drafted, accepted, token) in zip(order, verdict, strict=True):
            emitted[key] = Emitted([*drafted[:accepted], token])
            self._sequences[key].ids += emitted[key].tokens
        times = rounds.times()
        return [emitted[key] for key in keys], times.draft_ns, times.verify_ns

    def _row_of(self, key: int) -> int:
        row = self._sequences[key].row
        assert row is not None, f"request {key} has no row"
        return row

    def _place(self, rounds: DeviceRounds, keys: Sequence[int]) -> None:
        """Set rounds to where these requests are; afterwards they go on by themselves."""
        ids = [self._sequences[key].ids for key in keys]
        self._places[len(keys)].copy_(torch.tensor([self._row_of(key) for key in keys]))
        rounds.place(
            torch.tensor([tokens[-2:] for tokens in ids]), torch.tensor([len(t) - 1 for t in ids])
        )
        self._standing = tuple(keys)

    def _uniforms(self, key: int) -> list[float]:
        draw = self._sequences[key].uniforms.draw
        return [*draw(self.n), *draw(self.n + 1)]
