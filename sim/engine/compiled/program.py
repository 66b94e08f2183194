"""The loop as one compiled function, and the call that runs servers to the end.

It is compiled once for all policies and capacities, which takes seconds, and kept on disk for the
user.
"""

import shutil
import sys
from contextlib import suppress
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from lapsd.sim.engine import loop
from lapsd.sim.engine.compiled.cache import DIGEST, alone_in, cache_folder, caching_in
from lapsd.sim.engine.compiled.flat_server import (
    DRAFT_FLOATS,
    SERVER,
    DraftTables,
    PrefixTables,
    Server,
    StepTables,
)
from lapsd.sim.engine.compiled.job import JOB

WORK = 500_000  # between two looks for signals: some 10 ms where decisions are expensive

_LIST = types.int64[::1]
ARRAYS = types.NamedTuple(
    [
        types.int64,
        numba.from_dtype(JOB)[::1],
        *[_LIST] * (len(Server._fields) - 5),
        types.NamedUniTuple(_LIST, len(StepTables._fields), StepTables),
        types.NamedTuple(
            [types.float64[::1] if name in DRAFT_FLOATS else _LIST for name in DraftTables._fields],
            DraftTables,
        ),
        types.NamedUniTuple(_LIST, len(PrefixTables._fields), PrefixTables),
    ],
    Server,
)
SIGNATURE = types.int64(numba.from_dtype(SERVER)[::1], ARRAYS, types.int64)

OPTIONS = {"_nrt": False, "no_cfunc_wrapper": True}


def compile_loop(function: Any, signature: Any, what: str, *modules: Any) -> Any:
    """Return a compiled loop, from disk if this user has compiled it before.

    Parameters
    ----------
    what : what messages call it.
    modules : those of its code that are not in this folder; the first one defines the function.
    """
    if numba.config.DISABLE_JIT:
        return function
    paths = [Path(str(module.__file__)) for module in modules]
    changed = str(paths[0].stat().st_mtime_ns)  # Numba compares it, too
    texts = [path.read_text(encoding="utf-8") for path in paths]
    folder = cache_folder(what, changed, *texts, DIGEST)
    if folder is None:
        # the first process of a sweep says it for all of them
        if current_process().name in ("MainProcess", "SpawnProcess-1"):
            _say(what, "at each start, up to 30 s: no folder for caches can be written")
        return numba.njit(signature, **OPTIONS)(function)
    with alone_in(folder):
        if not any(folder.rglob("*.nbc")):
            _say(what, "once per machine, up to 30 s")
        # a file of the folder may be damaged
        with caching_in(folder), suppress(Exception):
            return numba.njit(signature, cache=True, **OPTIONS)(function)
    shutil.rmtree(folder, ignore_errors=True)
    _say(what, "up to 30 s: the one on disk cannot be loaded")
    return numba.njit(signature, **OPTIONS)(function)


def _say(what: str, how: str) -> None:
    """Say on stderr that a loop is being compiled."""
    print(f"lapsd: compiling the {what} ({how})", file=sys.stderr, flush=True)


serve_all = compile_loop(loop.serve_all, SIGNATURE, "simulation loop", loop)


def serve(servers: NDArray[Any], arrays: Server) -> None:
    """Run servers until all are done or one has failed; a signal ends it within a second."""
    if numba.config.DISABLE_JIT:
        servers = servers.view(np.recarray)
        arrays = arrays._replace(jobs=arrays.jobs.view(np.recarray))
    at = 0
    while at < len(servers) and not servers[at]["error"]:
        at = serve_all(servers, arrays, WORK)
