"""Rows of KV memory on the device: prefill, rounds over some rows, and KV transfers to the host.

Keeps the tokens of each request (prompt and output so far), even while it has no row. Knows nothing
of policies or arrivals.
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
    """The tokens and random numbers of a request, and the place of its keys and values, if any.

    `read` is the number of tokens at the start that the draft model has read.
    """

    ids: list[int]
    uniforms: Uniforms
    read: int = 0
    row: int | None = None
    host: Pool | None = None


class Emitted(NamedTuple):
    """Tokens of a request in a round: accepted draft tokens and one token of the target."""

    tokens: list[int]

    @property
    def accepted(self) -> int:
        return len(self.tokens) - 1


class Rows:
    """KV memory of both models for `rows` requests of up to `capacity` tokens each.

    Up to `batch` of them run in one round.

    Raises
    ------
    ValueError
        If the models do not run in the lean engine, which rows of different lengths require.
    """

    def __init__(
        self, pair: Pair, sampling: Sampling, *, rows: int, capacity: int, batch: int
    ) -> None:
        engines = [e for e in (pair.target_engine, pair.draft_engine) if isinstance(e, LeanEngine)]
        if len(engines) < 2:
            raise ValueError(
                f"models {pair.target_name} and {pair.draft_name}: serving needs the lean engine"
                " for both"
            )
        self.pair, self.sampling = pair, sampling
        self.rows, self.capacity, self.batch = rows, capacity, batch
        self._engines = engines
        self._caches = [engine.new_cache(rows, capacity) for engine in engines]
        self._rounds: dict[tuple[int, int], DeviceRounds] = {}  # by batch and draft length
        self._places = {
            b: torch.zeros(b, dtype=torch.int64, device=pair.device) for b in range(1, batch + 1)
        }
        self._zero = torch.zeros(1, dtype=torch.int64, device=pair.device)
        self._hosts: list[Pool] = []
        self._staging: Tensor | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all requests."""
        self._sequences: dict[int, _Sequence] = {}
        self._free = list(range(self.rows - 1, -1, -1))
        self._placed: tuple[int, ...] = ()  # longest draft and requests of the latest round

    def enter(self, key: int, prompt: Sequence[int], stream: int) -> None:
        """Add a request; `stream` is the key of its random numbers."""
        self._sequences[key] = _Sequence(list(prompt), self.sampling.uniforms(stream))

    def leave(self, key: int) -> None:
        """Remove a finished request and free its row."""
        self._release(self._sequences.pop(key))

    def drop(self, key: int) -> None:
        """Discard the keys and values of a request and free its row."""
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
        """Compute the keys and values of a request in a free row of both models.

        All tokens of the request but the last are computed. Returns the time in nanoseconds.
        """
        device = self.pair.device
        start = clock(device)
        sequence = self._sequences[key]
        row = sequence.row = self._free.pop()
        tokens = torch.tensor([sequence.ids[:-1]], device=device)
        for engine, cache in zip(self._engines, self._caches, strict=True):
            engine.run(tokens, self._zero, cache[:, :, row : row + 1], start=True)
        sequence.read = len(sequence.ids) - 1
        return clock(device) - start

    @torch.inference_mode()
    def swap_out(self, key: int) -> int:
        """Copy the keys and values of a request to the host and free its row.

        Returns the time in nanoseconds.
        """
        start = clock(self.pair.device)
        sequence = self._sequences[key]
        host = self._hosts.pop() if self._hosts else self._new_host()
        host.out(self._pieces(sequence))
        spent = clock(self.pair.device) - start
        self._release(sequence)
        sequence.host = host
        return spent

    @torch.inference_mode()
    def swap_in(self, key: int) -> int:
        """Copy the keys and values of a request back into a free row.

        Returns the time in nanoseconds.
        """
        start = clock(self.pair.device)
        sequence = self._sequences[key]
        assert sequence.host is not None, "only a swapped-out request can be swapped in"
        sequence.row = self._free.pop()
        sequence.host.back(self._pieces(sequence))
        spent = clock(self.pair.device) - start
        self._hosts.append(sequence.host)
        sequence.host = None
        return spent

    def _pieces(self, sequence: _Sequence) -> list[Tensor]:
        """Return the cached keys and values of a request in both models.

        They cover all tokens but the last, which the models have not processed yet.
        """
        held = len(sequence.ids) - 1
        return [cache[:, :, sequence.row, :, :held] for cache in self._caches]

    def _new_host(self) -> Pool:
        size = sum(cache[:, :, 0].numel() for cache in self._caches)
        cuda = self.pair.device.type == "cuda"
        made = Pool(
            size, self._caches[0].dtype, self.pair.device, pinned=cuda, staging=self._staging
        )
        self._staging = made.staging  # shared: only one transfer runs at a time
        return made

    def is_ready(self, batch: int, longest: int) -> bool:
        """Whether rounds of so many requests and draft tokens have been made ready."""
        return (batch, longest) in self._rounds

    def make_ready(self, keys: Sequence[int], longest: int) -> None:
        """Make rounds ready for batches of this size and longest draft, outside of any timing.

        Parameters
        ----------
        keys : requests that have rows. A capture writes only behind their tokens.
        """
        target, draft = self._caches
        rounds = self._rounds[len(keys), longest] = DeviceRounds(
            self.pair,
            longest,
            len(keys),
            capacity=self.capacity,
            temperature=self.sampling.temperature,
            caches=(target, draft),
            places=self._places[len(keys)],
        )
        self._place(rounds, sorted(keys, key=self._row_of))
        rounds.ready()

    @torch.inference_mode()
    def round(self, keys: Sequence[int], lengths: Sequence[int]) -> tuple[list[Emitted], int, int]:
        """Run a round of requests that have rows, each with its draft length.

        The pass has the width of the longest draft; shorter ones are padded. Returns the tokens of
        each request, and the times of drafting and of verifying in nanoseconds.
        """
        wanted, longest = dict(zip(keys, lengths, strict=True)), max(lengths)
        order = sorted(keys, key=self._row_of)  # the batch is in the order of rows in memory
        rounds = self._rounds[len(order), longest]
        if longest:
            self._read_drafts(order)
        if self._placed != (longest, *order):
            self._place(rounds, order)
        drawn = None
        if self.sampling.temperature:
            drawn = [self._uniforms(key, wanted[key], longest) for key in order]
        # `tolist` is the only synchronization of a round
        verdict = rounds.round(drawn, lengths=[wanted[key] for key in order]).tolist()
        emitted: dict[int, Emitted] = {}
        for key, (*drafted, accepted, token) in zip(order, verdict, strict=True):
            emitted[key] = Emitted([*drafted[:accepted], token])
            self._sequences[key].ids += emitted[key].tokens
            if longest:
                self._sequences[key].read = len(self._sequences[key].ids) - 2
        times = rounds.times()
        return [emitted[key] for key in keys], times.draft_ns, times.verify_ns

    def _read_drafts(self, keys: Sequence[int]) -> None:
        """Let the draft model read the tokens that rounds without drafts have emitted.

        Each round with drafts reads the last two tokens itself.
        """
        engine, cache, device = self._engines[1], self._caches[1], self.pair.device
        for key in keys:
            sequence, row = self._sequences[key], self._row_of(key)
            if unread := sequence.ids[sequence.read : -2]:
                position = torch.tensor([sequence.read], device=device)
                engine.run(
                    torch.tensor([unread], device=device), position, cache[:, :, row : row + 1]
                )
                sequence.read += len(unread)

    def _row_of(self, key: int) -> int:
        row = self._sequences[key].row
        assert row is not None, f"request {key} has no row"
        return row

    def _place(self, rounds: DeviceRounds, keys: Sequence[int]) -> None:
        """Set the rows of a batch of requests; later rounds of the same batch do not set them."""
        ids = [self._sequences[key].ids for key in keys]
        self._places[len(keys)].copy_(torch.tensor([self._row_of(key) for key in keys]))
        rounds.place(
            torch.tensor([tokens[-2:] for tokens in ids]), torch.tensor([len(t) - 1 for t in ids])
        )
        self._placed = (rounds.n, *keys)

    def _uniforms(self, key: int, length: int, longest: int) -> list[float]:
        """Return the random numbers of a request's round, with padding behind its own drafts."""
        draw, padding = self._sequences[key].uniforms.draw, [0.0] * (longest - length)
        drafts, (*verdicts, own) = draw(length), draw(length + 1)
        return [*drafts, *padding, *verdicts, *padding, own]
