"""The loop over several servers as one compiled function, and the call that runs it to the end."""

from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from lapsd.sim.engine import loop, service_loop
from lapsd.sim.engine.compiled.flat_server import SERVER, Server
from lapsd.sim.engine.compiled.flat_service import SERVICE, Shared
from lapsd.sim.engine.compiled.job import JOB
from lapsd.sim.engine.compiled.program import ARRAYS, WORK, compile_loop

_LIST = types.int64[::1]
_SHARED = types.NamedTuple(
    [types.int64, numba.from_dtype(JOB)[::1], *[_LIST] * (len(Shared._fields) - 2)], Shared
)
SIGNATURE = types.int64(
    numba.from_dtype(SERVICE)[::1], _SHARED, numba.from_dtype(SERVER)[::1], ARRAYS, types.int64
)

serve_some = compile_loop(
    service_loop.serve_service, SIGNATURE, "loop over servers", service_loop, loop
)


def serve(services: NDArray[Any], shared: Shared, servers: NDArray[Any], arrays: Server) -> None:
    """Run servers until all requests are done or an error is noted; a signal ends it within a
    second.

    Parameters
    ----------
    services : one record of SERVICE.
    servers : records of SERVER, and at last that of the queue of all servers.
    """
    if numba.config.DISABLE_JIT:
        services, servers = services.view(np.recarray), servers.view(np.recarray)
        jobs = arrays.jobs.view(np.recarray)
        arrays = arrays._replace(jobs=jobs)
        shared = shared._replace(jobs=jobs)
    while serve_some(services, shared, servers, arrays, WORK):
        pass
