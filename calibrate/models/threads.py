"""The number of torch's threads on the CPU: one, unless all are clearly faster.

Threads of one pass wait for each other many times per layer. Where other programs use the cores, or
where the models are small, the waits take longer than the work: on two busy cores, rounds of the
bundled pair took several times as long with two threads as with one. The choice is measured,
because it depends on the models, on the machine and on what else runs there.
"""

import time
from dataclasses import dataclass

import torch

from lapsd.calibrate.models.loading import Pair

FASTER = 1.1  # all threads are used if a round is more than this many times as fast with them
CONTEXT = 256
ROUNDS, MOST_TURNS, SECONDS = 3, 10, 1.0


@dataclass(frozen=True)
class Threads:
    """The result of a measurement.

    Attributes
    ----------
    available : int
        All threads that torch may use.
    one_s, all_s : float
        Mean seconds of a round with one thread, and with all.
    """

    available: int
    one_s: float
    all_s: float

    @property
    def chosen(self) -> int:
        return self.available if self.one_s > FASTER * self.all_s else 1

    def __str__(self) -> str:
        return (
            f"{self.chosen} of {self.available} (a round takes {1e3 * self.one_s:,.1f} ms with one"
            f" thread and {1e3 * self.all_s:,.1f} ms with all)"
        )


def choose_threads(pair: Pair, n: int, batch: int = 1) -> Threads | None:
    """Measure rounds with one thread and with all in turn, and keep the better number.

    It takes about a second, or one round of each kind where a round takes longer.

    Parameters
    ----------
    pair : Pair
    n : int
        Draft tokens per round.
    batch : int
        Requests per round.

    Returns
    -------
    The measurement, or None without one: on a GPU, or where torch may use only one thread.
    """
    available = torch.get_num_threads()
    if pair.device.type != "cpu" or available == 1:
        return None
    seconds, rounds = {1: 0.0, available: 0.0}, 0
    work = _Work(pair, n, batch)
    work.round()  # warm-up
    begun = time.monotonic()
    for turn in range(MOST_TURNS):
        count = ROUNDS if turn else 1
        for threads in seconds:
            torch.set_num_threads(threads)
            start = time.perf_counter()
            for _ in range(count):
                work.round()
            seconds[threads] += time.perf_counter() - start
        rounds += count
        if time.monotonic() - begun > SECONDS:
            break
    measured = Threads(available, seconds[1] / rounds, seconds[available] / rounds)
    torch.set_num_threads(measured.chosen)
    return measured


class _Work:
    """The passes of a round, after a context of fixed length.

    A batch is timed as one sequence of as many tokens, which has the same matrix products.
    """

    def __init__(self, pair: Pair, n: int, batch: int) -> None:
        self._n, self._batch = n, min(batch, max(1, pair.context // (2 * (n + 1))))
        self._context = min(CONTEXT, pair.context - self._batch * (n + 1) - 1)
        self._tokens = [i % pair.vocabulary for i in range(pair.context)]
        capacity = self._context + self._batch * (n + 1)
        self._target = pair.target_engine.sequence(capacity)
        self._draft = pair.draft_engine.sequence(capacity)
        with torch.inference_mode():
            for sequence in (self._target, self._draft):
                sequence.extend(self._tokens[: self._context])

    @torch.inference_mode()
    def round(self) -> None:
        for _ in range(self._n):
            self._draft.forward(self._tokens[: self._batch])
            self._draft.rollback(self._context)
        self._target.forward(self._tokens[: self._batch * (self._n + 1)])
        self._target.rollback(self._context)
