"""Who runs chunks: this process, others of this machine, or a Dask cluster.

They return records; they write nothing.

A worker that dies costs the chunk it was at, which another does again.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.grid import Chunk

if TYPE_CHECKING:
    from distributed import Client

DEATHS = 5  # of workers in a row, with no chunk done between them
AHEAD = 3  # chunks given to a worker: it finds the next one when it is done
SECONDS_TO_CONNECT = 8

Done = tuple[int, pa.Table]


def check_workers(workers: int | None) -> None:
    """See that there is at least one.

    Raises
    ------
    ValueError
        If not.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers {workers}: must be at least 1")


def run_here(runner: ChunkRunner, chunks: Sequence[int]) -> Iterator[Done]:
    """One after the other."""
    for index in chunks:
        yield index, runner.run(runner.chunks[index])


def run_in_processes(runner: ChunkRunner, chunks: Sequence[int], workers: int) -> Iterator[Done]:
    """In so many processes of this machine, in whatever order they are done.

    Each has a pipe of its own: in a queue that all share, one that is killed while it writes would
    block all others.

    Raises
    ------
    ValueError
        If workers die again and again.
    """
    left, deaths = deque(chunks), 0
    hands: dict[Connection, _Hand] = {}
    try:
        while left or any(hand.under_way for hand in hands.values()):
            while len(hands) < workers:
                hand = _hire(runner)
                hands[hand.pipe] = hand
            for hand in hands.values():
                while left and len(hand.under_way) < AHEAD:
                    hand.under_way.append(left.popleft())
                    with suppress(OSError):  # it has died: its pipe says so below
                        hand.pipe.send((hand.under_way[-1], runner.chunks[hand.under_way[-1]]))
            for pipe in wait(list(hands)):
                assert isinstance(pipe, Connection)
                try:
                    done = pipe.recv()
                except (EOFError, OSError):
                    hand = hands.pop(pipe)
                    left.extendleft(reversed(hand.under_way))
                    _dismiss(hand)
                    deaths += 1
                    if deaths == DEATHS:
                        raise ValueError(
                            f"workers died {DEATHS} times in a row: is memory short?"
                        ) from None
                    continue
                if isinstance(done, Exception):
                    raise done
                hands[pipe].under_way.remove(done[0])
                deaths = 0
                yield done
    finally:
        for hand in hands.values():
            _dismiss(hand)


class _Hand(NamedTuple):
    """A worker process, our end of its pipe, and the indices of the chunks that it was given."""

    process: BaseProcess
    pipe: Connection
    under_way: list[int]


def _hire(runner: ChunkRunner) -> _Hand:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, runner), daemon=True)
    process.start()
    theirs.close()  # so that its death ends the pipe
    return _Hand(process, ours, [])


def _dismiss(hand: _Hand) -> None:
    """At once, whatever it is at."""
    hand.process.kill()
    hand.process.join()
    hand.pipe.close()


def _serve(pipe: Connection, runner: ChunkRunner) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            index, chunk = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((index, runner.run(chunk)))
        except Exception as error:
            pipe.send(error)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_on_cluster(runner: ChunkRunner, chunks: Sequence[int], client: "Client") -> Iterator[Done]:
    """On a Dask cluster, in whatever order chunks are done."""
    from distributed import as_completed

    shared = client.scatter(runner, broadcast=True)
    width = AHEAD * max(1, sum(client.nthreads().values()))
    left = deque(chunks)

    def submit() -> Any:
        index = left.popleft()
        return client.submit(_run_chunk, shared, index, runner.chunks[index], pure=False)

    done = as_completed([submit() for _ in range(min(width, len(left)))])
    for future in done:
        yield future.result()
        future.release()
        if left:
            done.add(submit())


def _run_chunk(runner: ChunkRunner, index: int, chunk: Chunk) -> Done:
    return index, runner.run(chunk)


def connect(address: str) -> "Client":
    """A client of the Dask scheduler at `address`.

    Raises
    ------
    ValueError
        If none answers there within some seconds, or dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(
            "a Dask cluster needs dask and distributed: pip install 'lapsd[dask]'"
        ) from None
    import logging

    logging.getLogger("distributed").setLevel(
        logging.CRITICAL
    )  # what goes wrong is told here, in one line
    try:
        return Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{address}: no scheduler answers ({reason})") from error
