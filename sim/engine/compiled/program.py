"""The loop as one compiled function, and the call that runs servers to the end.

It is compiled once for all policies and capacities, which takes seconds, and kept on disk for the
user.
"""

import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from lapsd.sim.engine import loop
from lapsd.sim.engine.compiled import (
    call,
    choice,
    costs,
    flat_server,
    job,
    line,
    memory,
    order,
    plans,
    transfers,
)
from lapsd.sim.engine.compiled.cache import cache_folder, caching_in
from lapsd.sim.engine.compiled.flat_server import SERVER, Server, StepTables
from lapsd.sim.engine.compiled.job import JOB

MODULES = (loop, call, choice, costs, flat_server, job, line, memory, order, plans, transfers)
WORK = 5_000_000  # between two looks at the keyboard: well below a second

_LIST = types.int64[::1]
_ARRAYS = types.NamedTuple(
    [
        types.int64,
        numba.from_dtype(JOB)[::1],
        *[_LIST] * (len(Server._fields) - 3),
        types.NamedUniTuple(_LIST, len(StepTables._fields), StepTables),
    ],
    Server,
)
SIGNATURE = types.int64(numba.from_dtype(SERVER)[::1], _ARRAYS, types.int64)

OPTIONS = {"_nrt": False, "no_cfunc_wrapper": True}


def _compile() -> Any:
    """Return the compiled loop, from disk if this user has compiled it before."""
    folder = cache_folder("loop", *(Path(str(m.__file__)).read_text() for m in MODULES))
    if folder is None or not any(folder.rglob("*.nbc")):
        print("compiling the simulation loop, which takes about 20 s ...", file=sys.stderr)
    if folder is not None:
        # a file of the folder may be damaged, or be removed by another process meanwhile
        with caching_in(folder), suppress(Exception):
            return numba.njit(SIGNATURE, cache=True, **OPTIONS)(loop.serve_all)
        shutil.rmtree(folder, ignore_errors=True)
    return numba.njit(SIGNATURE, **OPTIONS)(loop.serve_all)


serve_all = loop.serve_all if numba.config.DISABLE_JIT else _compile()


def serve(servers: NDArray[Any], arrays: Server) -> None:
    """Run servers until all are done or one has failed; a signal ends it within a second."""
    if numba.config.DISABLE_JIT:
        servers = servers.view(np.recarray)
        arrays = arrays._replace(jobs=arrays.jobs.view(np.recarray))
    at = 0
    while at < len(servers) and not servers[at]["error"]:
        at = serve_all(servers, arrays, WORK)
