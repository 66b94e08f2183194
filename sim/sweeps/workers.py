"""Run the chunks of a sweep: in this process, in other processes of this machine, or on a Dask
cluster.

Workers return records and write no files. A warning about a slow run in a worker is given again in
this process, so that it is seen once. When a worker process dies, the chunks that were not done
are run again.
"""

import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lapsd.policies.own import kinds_of, spec_name
from lapsd.sim.engine import SlowEngine
from lapsd.sim.experiment.scenario_field import whole
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.grid import Chunk

if TYPE_CHECKING:
    from multiprocessing import SimpleQueue

    from distributed import Client

DEATHS = 5  # broken pools in a row, without any chunk done between them
AHEAD = 3  # chunks submitted per worker, so that a worker finds its next chunk without waiting
SECONDS_TO_NOTICE = 5.0  # without any result, before we look for dead workers ourselves
SECONDS_TO_CONNECT = 8
MAIN_SCRIPT = ("__file__", "__spec__")  # attributes by which a new process finds the main script

Done = tuple[int, pa.Table]


def check_workers(workers: int | None) -> None:
    """Check that the number of workers is None or at least 1.

    Raises
    ------
    ValueError
        If not.
    """
    if workers is not None and whole(workers, "workers") < 1:
        raise ValueError(f"workers={workers}: must be at least 1")


def run_here(runner: ChunkRunner, chunks: Sequence[int]) -> Generator[Done, None, None]:
    """Run the chunks in this process, one after the other."""
    for index in chunks:
        yield index, runner.run(runner.chunks[index])


def run_in_processes(
    runner: ChunkRunner, chunks: Sequence[int], workers: int
) -> Generator[Done, None, None]:
    """Run the chunks in `workers` processes of this machine; yield them as they are done.

    An exception of a chunk is raised here. When this generator is closed, its processes end at
    once.

    Raises
    ------
    ValueError
        If a policy's class is in the main script, which no other process runs; or if worker
        processes died `DEATHS` times in a row and no chunk was done in between.
    """
    for kind in kinds_of(runner.policies):
        if kind.__module__ == "__main__":
            raise ValueError(
                f"policy {spec_name(kind)}: worker processes cannot import it: define it in another"
                " module, or give workers=1"
            )
    missing, deaths = dict.fromkeys(chunks), 0
    while missing:
        try:
            with closing(_run_in_pool(runner, list(missing), workers)) as results:
                for index, records in results:
                    del missing[index]
                    deaths = 0
                    yield index, records
        except BrokenProcessPool:
            deaths += 1
            if deaths == DEATHS:
                raise ValueError(
                    f"worker processes died {DEATHS} times in a row: is there enough memory?"
                ) from None


def _run_in_pool(
    runner: ChunkRunner, chunks: Sequence[int], workers: int
) -> Generator[Done, None, None]:
    """Run the chunks in one pool of processes; BrokenProcessPool if one of them dies."""
    context = get_context("spawn")
    with _without_current_folder():  # a queue starts a process that cleans up
        recipes = context.SimpleQueue()
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_start_worker, initargs=(recipes,)
        )
    sender = threading.Thread(target=_send, args=(recipes, runner.recipe, workers), daemon=True)
    sender.start()
    waiting = deque(chunks)
    submitted: dict[Future[tuple[pa.Table, list[str]]], int] = {}
    try:
        while waiting or submitted:
            while waiting and len(submitted) < AHEAD * workers:
                index = waiting.popleft()
                with _starting_processes(), _without_current_folder():
                    future = pool.submit(_run_in_worker, runner.chunks[index])
                submitted[future] = index
            done, _ = wait(submitted, SECONDS_TO_NOTICE, FIRST_COMPLETED)
            if not done and _has_died(pool):
                raise BrokenProcessPool("a worker died while it sent a result")
            for future in sorted(done, key=lambda future: future.exception() is not None):
                index, (records, slow) = submitted.pop(future), future.result()
                warn(slow)
                yield index, records
    finally:
        _stop(pool)
        recipes.close()


@contextmanager
def _starting_processes() -> Iterator[None]:
    """Start the processes of a pool in this block.

    They inherit that interrupts are blocked, so that Ctrl-C on a terminal, which reaches them too,
    is left to this process. They do not receive its command line: the start of a process that dies
    before it has read what it is sent blocks for ever if that exceeds the 64 KiB of a pipe. Nor do
    they run the main script again, which may have begun the sweep itself.
    """
    arguments, blocked = sys.argv, signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    main = vars(sys.modules["__main__"])
    of_main = {name: main.get(name) for name in MAIN_SCRIPT}
    try:
        sys.argv = arguments[:1]
        main.update(dict.fromkeys(of_main))
        yield
    finally:
        sys.argv = arguments
        main.update(of_main)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _send(recipes: "SimpleQueue[Any]", recipe: tuple[Any, ...], workers: int) -> None:
    """Send the recipe to each worker, in a thread: it may exceed what a pipe holds."""
    with suppress(OSError, TypeError):  # the queue is closed, perhaps during a call
        for _ in range(workers):
            recipes.put(recipe)


@contextmanager
def _without_current_folder() -> Iterator[None]:
    """Let new processes import no file of the current folder in place of a library."""
    name = "PYTHONSAFEPATH"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _has_died(pool: ProcessPoolExecutor) -> bool:
    """Return whether one of the processes is dead.

    The pool notices by itself, except when the process died in the middle of sending a result: then
    the pool waits for the rest of the result for ever.
    """
    return bool(connection.wait([process.sentinel for process in pool._processes.values()], 0))


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool at once, whatever they do."""
    for process in list(pool._processes.values()):
        process.kill()
    pool._result_queue._writer.close()  # type: ignore[attr-defined]  # no process sends the rest
    pool.shutdown(cancel_futures=True)


_runner: ChunkRunner | Exception  # in a worker process: the sweep that it works for


def _start_worker(recipes: "SimpleQueue[Any]") -> None:
    """Prepare a worker process: ignore interrupts, end with the parent, and make the runner.

    If the runner cannot be made, the first chunk raises the error.
    """
    global _runner
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        make_runner, arguments = recipes.get()
        _runner = make_runner(*arguments)
    except (ValueError, OSError) as error:
        _runner = error
    except Exception as error:
        _runner = ValueError(f"a worker cannot start: {type(error).__name__}: {error}")


def _run_in_worker(chunk: Chunk) -> tuple[pa.Table, list[str]]:
    if isinstance(_runner, Exception):
        raise _runner
    with keeping_warnings() as slow:
        return _runner.run(chunk), slow


@contextmanager
def keeping_warnings() -> Iterator[list[str]]:
    """Keep the texts of warnings about slow runs, instead of showing them."""
    kept: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def keep(message: Warning | str, category: type[Warning], *at: Any, **how: Any) -> None:
            if issubclass(category, SlowEngine):
                kept.append(str(message))
            else:
                show(message, category, *at, **how)

        warnings.showwarning = keep
        yield kept


def warn(slow: Sequence[str]) -> None:
    """Give warnings about slow runs."""
    for text in slow:
        warnings.warn(text, SlowEngine, stacklevel=2)


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_on_cluster(
    runner: ChunkRunner, chunks: Sequence[int], client: "Client"
) -> Generator[Done, None, None]:
    """Run the chunks on a Dask cluster; yield them as they are done."""
    from distributed import as_completed

    shared = client.scatter(runner, broadcast=True)
    limit = AHEAD * max(1, sum(client.nthreads().values()))
    waiting = deque(chunks)

    def submit() -> Any:
        index = waiting.popleft()
        return client.submit(_run_chunk, shared, index, runner.chunks[index], pure=False)

    done = as_completed([submit() for _ in range(min(limit, len(waiting)))])
    for future in done:
        (index, records), slow = future.result()
        warn(slow)
        yield index, records
        future.release()
        if waiting:
            done.add(submit())


def _run_chunk(runner: ChunkRunner, index: int, chunk: Chunk) -> tuple[Done, list[str]]:
    with keeping_warnings() as slow:
        return (index, runner.run(chunk)), slow


def connect(address: str) -> "Client":
    """Return a client of the Dask scheduler at `address`.

    Raises
    ------
    ValueError
        If no scheduler answers within some seconds, or Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(
            "a Dask cluster needs dask and distributed: pip install 'lapsd[dask]'"
        ) from None
    import logging

    # we report errors ourselves, in one line
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        return Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{address}: no scheduler answers ({reason})") from error
