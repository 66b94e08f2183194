"""The loop as one compiled function, and the call that runs servers to the end.

It is compiled once for all policies and capacities, which takes seconds, and kept on disk for the
user.
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from lapsd.sim.engine import loop
from lapsd.sim.engine.compiled.flat_server import SERVER, Server, StepTables
from lapsd.sim.engine.compiled.job import JOB

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

serve_all = numba.njit(SIGNATURE, _nrt=False, no_cfunc_wrapper=True)(loop.serve_all)


def serve(servers: NDArray[Any], arrays: Server) -> None:
    """Run servers until all are done or one has failed; a signal ends it within a second."""
    if numba.config.DISABLE_JIT:
        servers = servers.view(np.recarray)
        arrays = arrays._replace(jobs=arrays.jobs.view(np.recarray))
    at = 0
    while at < len(servers) and not servers[at]["error"]:
        at = serve_all(servers, arrays, WORK)
