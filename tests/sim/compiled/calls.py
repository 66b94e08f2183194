"""Calls of compiled functions by address, from Python."""

import numba

from lapsd.sim.engine.compiled import call as calls

call = calls.call
if not numba.config.DISABLE_JIT:
    call = numba.njit(lambda f, policy, job, now_ns, out: calls.call(f, policy, job, now_ns, out))
