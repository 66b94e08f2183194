"""The compiled loop run as Python, with changes to its source, for mutants."""

import ctypes
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np

from lapsd.sim.engine.compiled import call
from lapsd.sim.engine.compiled.flat_server import Server

PACKAGE = "lapsd.sim.engine.compiled"
# each imports only modules before it
MODULES = (
    *(
        f"{PACKAGE}.{name}"
        for name in (
            *("order", "drafts", "costs", "remaining", "line", "prefixes"),
            *("memory", "transfers", "plans", "choice"),
        )
    ),
    "lapsd.sim.engine.loop",
)
OF_SERVERS = (f"{PACKAGE}.guardrails", f"{PACKAGE}.reports", "lapsd.sim.engine.service_loop")
MOST_CALLS = 5  # each does so much work that a few suffice for the cases of the tests
STEPS = ("mixed", "chunked")  # ways to prefill in which prompts share steps
FUNCTION = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 5)


def _call(function: int, policy: int, job: int, now_ns: int, out: int) -> int:
    """Call the compiled method of a policy from Python."""
    if numba.config.DISABLE_JIT:
        return call.call(function, policy, job, now_ns, out)
    return FUNCTION(int(function))(int(policy), int(job), int(now_ns), int(out))


def _stand_in() -> ModuleType:
    """Return the module `call` as it is where nothing is compiled."""
    module = ModuleType(call.__name__)
    for name in ("compiled", "inlined", "pointer"):
        setattr(module, name, lambda it: it)
    module.call = _call  # type: ignore[attr-defined]
    return module


def python_loop(module: str = "", old: str = "", new: str = "") -> Callable[[Any, Server], None]:
    """Return `program.serve` with the loop's source as Python, `old` in a module replaced by `new`.

    The text `old` must occur once in the module.
    """
    serve_all = _executed(MODULES, module, old, new).serve_all

    def serve(servers: Any, arrays: Server) -> None:
        records = servers.view(np.recarray)
        serve_all(records, arrays._replace(jobs=arrays.jobs.view(np.recarray)), 2_000)

    return serve


def python_service(module: str = "", old: str = "", new: str = "") -> Callable[..., None]:
    """Return `service_program.serve` in the same way."""
    serve_service = _executed((*MODULES, *OF_SERVERS), module, old, new).serve_service

    def serve(services: Any, shared: Any, servers: Any, arrays: Server) -> None:
        jobs = arrays.jobs.view(np.recarray)
        both = shared._replace(jobs=jobs), servers.view(np.recarray), arrays._replace(jobs=jobs)
        for _ in range(MOST_CALLS):
            if not serve_service(services.view(np.recarray), *both, 2_000):
                return
        raise ArithmeticError("a mutant that goes on for ever")

    return serve


def _executed(modules: tuple[str, ...], module: str, old: str, new: str) -> ModuleType:
    """Return the last of the modules, executed as Python with what it imports of them."""
    kept = {name: sys.modules.get(name) for name in (call.__name__, *modules)}
    sys.modules[call.__name__] = _stand_in()
    try:
        for name in modules:
            source = Path(str(importlib.util.find_spec(name).origin)).read_text(encoding="utf-8")
            if name.endswith(f".{module}"):
                assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times"
                source = source.replace(old, new)
            sys.modules[name] = ModuleType(name)
            exec(compile(source, name, "exec"), vars(sys.modules[name]))
        return sys.modules[modules[-1]]
    finally:
        sys.modules.update({name: kept_module for name, kept_module in kept.items() if kept_module})
