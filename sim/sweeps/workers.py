"""Who does chunks: this process, others of this machine, or a Dask cluster. They return records; they write nothing.

A worker that dies costs the chunk it was at, which another does again.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sim.sweeps.grid import Chunk
from sim.sweeps.work import Work

if TYPE_CHECKING:
    from distributed import Client

DEATHS = 5  # of workers in a row, with no chunk done between them
AHEAD = 4  # chunks handed out a worker
SECONDS_TO_CONNECT = 8

Done = tuple[int, pa.Table]

_work: Work


def do_here(work: Work, places: Sequence[int]) -> Iterator[Done]:
    """One after the other."""
    for place in places:
        yield place, work.do(work.chunks[place])


def do_in_processes(work: Work, places: Sequence[int], workers: int) -> Iterator[Done]:
    """In so many processes of this machine, in whatever order they are done.

    Raises
    ------
    ValueError
        If workers die again and again.
    """
    left, deaths = deque(places), 0
    while left:
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (work,))
        under_way: dict[Future[Done], int] = {}
        try:
            while left or under_way:
                while left and len(under_way) < AHEAD * workers:
                    place = left[0]
                    under_way[pool.submit(_do, place, work.chunks[place])] = place
                    left.popleft()  # only now: a pool that breaks takes nothing
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    yield future.result()
                    del under_way[future]
                    deaths = 0
        except BrokenProcessPool:
            left.extendleft(sorted(under_way.values(), reverse=True))
            deaths += 1
            if deaths == DEATHS:
                raise ValueError(
                    f"workers died {DEATHS} times in a row: is memory short? Try fewer --workers"
                ) from None
        finally:
            _stop(pool)


def _begin(work: Work) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(place: int, chunk: Chunk) -> Done:
    return place, _work.do(chunk)


def _stop(pool: ProcessPoolExecutor) -> None:
    """At once, whatever its workers are at."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def do_on_cluster(work: Work, places: Sequence[int], client: "Client") -> Iterator[Done]:
    """On a Dask cluster, in whatever order chunks are done."""
    from distributed import as_completed

    shared = client.scatter(work, broadcast=True)
    width = AHEAD * max(1, sum(client.nthreads().values()))
    left = deque(places)

    def submit() -> Any:
        place = left.popleft()
        return client.submit(_do_of, shared, place, work.chunks[place], pure=False)

    done = as_completed([submit() for _ in range(min(width, len(left)))])
    for future in done:
        yield future.result()
        future.release()
        if left:
            done.add(submit())


def _do_of(work: Work, place: int, chunk: Chunk) -> Done:
    return place, work.do(chunk)


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
        raise ValueError("--dask needs dask and distributed: pip install 'lapsd[dask]'") from None
    import logging

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is told here, in one line
    try:
        return Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"--dask {address}: no scheduler answers ({reason})") from error
