"""A policy's own methods, compiled.

The loop calls each by its address, so that it is compiled once for all policies. Policies of one
class that differ only in numbers share the compiled methods.
"""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.ccallback import CFunc
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from lapsd.policies import Policy
from lapsd.policies.calls import (
    arrived,
    at,
    commit_round,
    described,
    inform,
    name_of,
    rank_of,
    remaining_of,
    shown,
    wake_of,
)
from lapsd.policies.contract import check_class, check_state, title_of
from lapsd.policies.seen import Permission, SeenJob, new_state
from lapsd.sim.engine.compiled.cache import DIGEST, cache_folder, caching_in
from lapsd.sim.engine.compiled.call import CALL
from lapsd.sim.engine.compiled.entries import METHODS, SOURCES, entry
from lapsd.sim.engine.compiled.interpreted import PARAMETERS, interpreted, job_at
from lapsd.sim.engine.compiled.job import JOB
from lapsd.sim.engine.compiled.methods import OPTIONS, struct_of
from lapsd.sim.engine.compiled.parameters import (
    TOO_WIDE,
    Layout,
    Parameters,
    layout_of,
    owners_of,
    parameters_of,
)
from lapsd.sim.engine.compiled.reached import (
    functions_reached,
    members_of,
    names_used,
    reached_in,
    texts_of,
)
from lapsd.sim.engine.compiled.structs import SCALARS, JobStruct, StateStruct, Struct, job_type

STATE_CODES = {bool: "?", int: "i8", float: "f8"}


class NotCompilable(ValueError):
    """A policy that cannot be compiled; the message names the policy and the construct."""


@dataclass(frozen=True, eq=False)
class CompiledPolicy:
    """The compiled methods of a policy.

    Attributes
    ----------
    rank, on_round, on_event, remaining_ns, wake : int
        Addresses of the compiled methods; 0: the policy's class does not define it.
    layout : Layout
        The fields of the policy.
    state : dtype
        The State that the policy keeps of each request; without fields: none.
    kept : mapping of str to function
        The compiled functions, which live as long as this object.
    """

    rank: int
    on_round: int
    on_event: int
    remaining_ns: int
    wake: int
    layout: Layout
    state: np.dtype[Any]
    kept: Mapping[str, Any]

    def parameters(self, policy: Policy) -> Parameters:
        """Return the record of a policy of this layout, which must outlive its calls."""
        made = parameters_of(policy, self.layout)
        PARAMETERS[made.address] = made
        return made

    def states(self, policy: Policy, jobs: NDArray[Any]) -> NDArray[Any]:
        """Return the State of each request of a run, filled by `on_arrival`, and write its address
        to the request's record.

        Parameters
        ----------
        jobs : array of JOB
            The requests, in order of arrival.
        """
        size = len(jobs)
        states = np.empty(size, dtype=self.state)
        if not self.state.names:
            jobs["state_address"] = 0
            return states
        if type(policy).on_arrival is Policy.on_arrival:
            state, _ = arrived(policy, 0, 0, 0)
            for name in self.state.names:
                states[name] = getattr(state, name)
        else:
            prompts, predicted = jobs["prompt_tokens"].tolist(), jobs["predicted_tokens"].tolist()
            made = list(map(arrived, [policy] * size, range(size), prompts, predicted))
            for name in self.state.names:
                try:
                    states[name] = [getattr(state, name) for state, _ in made]
                except OverflowError as error:
                    raise ValueError(
                        f"policy {name_of(policy)}: on_arrival: job.state.{name} {TOO_WIDE}:"
                        " engine=simpy has no such limit"
                    ) from error
        jobs["state_address"] = states.ctypes.data + states.itemsize * np.arange(size)
        return states


_COMPILED: dict[Layout, CompiledPolicy | str] = {}
"""Compiled policies by layout, or why a policy cannot be compiled."""


def compile_policy(policy: Policy) -> CompiledPolicy:
    """Return the compiled methods of a policy that `bind` returned.

    With `NUMBA_DISABLE_JIT=1` they are functions that call the policy's methods.

    Raises
    ------
    NotCompilable
        Naming the policy and what prevents its compilation.
    ValueError
        If the policy's State is not one of numbers.
    """
    check_class(type(policy))
    for method in vars(policy).keys() & members_of(type(policy)).keys():
        raise NotCompilable(f"policy {name_of(policy)}: {method} is not the method of its class")
    layout = layout_of(policy, names_used(functions_reached(type(policy), METHODS)))
    found = _COMPILED.get(layout)
    if found is None:
        try:
            found = _compile(policy, layout)
        except NotCompilable as error:
            found = str(error)
        except Exception as error:  # Numba met what it does not expect
            found = f"policy {name_of(policy)}: {shown(described(error))}"
        _COMPILED[layout] = found
    if isinstance(found, str):
        raise NotCompilable(found)
    return found


def _compile(policy: Policy, layout: Layout) -> CompiledPolicy:
    """Compile each method that the policy's class defines."""
    state = state_dtype(type(policy))
    own = [m for m in METHODS if getattr(type(policy), m) is not getattr(Policy, m)]
    if numba.config.DISABLE_JIT:
        kept: dict[str, Any] = {method: interpreted(method) for method in own}
    else:
        folder = cache_folder(*keys_of(policy, METHODS, layout, repr(state), repr(JOB)))
        types_of = {method: _types_of(policy, layout, state, method) for method in own}
        title = f"policy {name_of(policy)}"
        kept = {m: compile_method(title, m, types_of[m], folder) for m in own}
    addresses = {method: kept[method].address if method in kept else 0 for method in METHODS}
    return CompiledPolicy(**addresses, layout=layout, state=state, kept=kept)


def _types_of(
    policy: Policy, layout: Layout, state: np.dtype[Any], method: str
) -> tuple[Struct, JobStruct]:
    """Return the Numba types of a policy and of a request, as a method may write to them."""
    job_writes, policy_writes = method == "on_round", method in ("on_round", "on_event")
    kept = state_struct(state, writes=job_writes) if state.names else None
    return (
        struct_of(layout, type(policy).__name__, writes=policy_writes),
        job_type(kept, writes=job_writes),
    )


def keys_of(policy: Any, methods: tuple[str, ...], layout: Layout, *records: str) -> list[str]:
    """Return texts that differ if the compiled code of a policy does."""
    names = names_used(functions_reached(type(policy), methods)) | {*methods}
    code = [text for owner in owners_of(layout) for text in texts_of(reached_in(owner, names))]
    return [DIGEST, repr(layout), *records, *code]


def compile_method(
    title: str, method: str, types_of: tuple[Struct, Struct], folder: Path | None
) -> Any:
    """Compile one method behind the common signature, or load it from a folder.

    `title` names the policy in the error that says why it cannot be compiled. Compiled code that
    cannot be loaded, such as a corrupted file, is compiled afresh.
    """
    if folder is not None:
        try:
            return _kept_in(folder, method, types_of)
        except NumbaError:
            pass  # raised again below, where nothing else can fail
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
    function = entry(method, *types_of, path=f"<{method}>")
    made = CFunc(function, (CALL.args, CALL.return_type), {}, OPTIONS)
    try:
        made.compile()
    except NumbaError as error:
        raise NotCompilable(f"{title}: {method}: {reason_of(error)}") from error
    except Exception as error:  # Numba met what it does not expect
        raise NotCompilable(f"{title}: {method}: {described(error)}") from error
    return made


def _kept_in(folder: Path, method: str, types_of: tuple[Struct, Struct]) -> Any:
    """Return a compiled method, loaded from a folder, or compiled and kept there."""
    path = folder / f"{method}.py"
    if not path.exists():
        path.write_text(SOURCES[method], encoding="utf-8")
        os.utime(path, (0, 0))  # Numba compares the time; several processes may write the file
    made = CFunc(
        entry(method, *types_of, path=str(path)), (CALL.args, CALL.return_type), {}, OPTIONS
    )
    with caching_in(folder):
        made.enable_caching()
        made.compile()
    return made


def reason_of(error: Exception) -> str:
    """Return one line that says what Numba refuses, and where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if "Failed in nopython mode pipeline" in line]
    inner = lines[starts[-1] + 1 if starts else 0 :]
    own = [line for line in inner if re.match(r"(Typing|Lowering|Unsupported)\w*: ", line)]
    reason = re.sub(r"^\w+: ", "", own[-1]) if own else (inner or [type(error).__name__])[0]
    if found := re.match(r"No implementation of function Function\((.+)\) found", reason):
        reason = f"no compiled form of {found[1]} for these arguments"
    if found := re.match(r"Untyped global name '(.+?)'", reason):
        reason = f"{found[1]} has no compiled form"
    places = [found for line in inner if (found := re.match(r'File "(.+)", line (\d+)', line))]
    place = next((p for p in places if not p[1].startswith("<")), None)
    marked = [i for i, line in enumerate(inner) if set(line) == {"^"}]
    source = f"`{inner[marked[0] - 1]}`, " if marked else ""
    return f"{reason} ({source}{place[1]}, line {place[2]})" if place else reason


def state_dtype(kind: type[Any]) -> np.dtype[Any]:
    """Return the dtype of the State of a policy, a draft policy or a router.

    Raises
    ------
    NotCompilable
        If a default exceeds 64 bits.
    """
    codes = {name: STATE_CODES[of] for name, of in check_state(kind).items()}
    for name in codes:
        default = getattr(kind.State(), name)
        if isinstance(default, int) and not -(2**63) <= default < 2**63:
            raise NotCompilable(f"{title_of(kind)} {kind.name}: State.{name}={default}: {TOO_WIDE}")
    return np.dtype(list(codes.items()), align=True)


def state_struct(dtype: np.dtype[Any], *, writes: bool) -> StateStruct:
    """Return the Numba type of a State."""
    columns = dtype.fields
    assert columns is not None
    found = {name: (column[1], SCALARS[column[0]]) for name, column in columns.items()}
    return StateStruct("State", found, frozenset(found) if writes else frozenset())


def explain(policy: Policy, jobs: NDArray[Any], index: int, now_ns: int, method: str) -> ValueError:
    """Return the error of a method that returned an error code, by calling it again in Python.

    Parameters
    ----------
    jobs : array of JOB
        The requests of the run, as they were when the method was called.
    index : int
        The request that it was called for.
    method : str
        `rank`, `on_round`, ...
    """
    assert jobs.dtype == JOB
    job = _seen_at(int(jobs.ctypes.data) + index * jobs.itemsize, policy)
    calls: dict[str, Any] = {
        "rank": rank_of,
        "on_round": commit_round,
        "on_event": partial(inform, kind="completion" if job.rounds else "arrival"),
        "remaining_ns": remaining_of,
        "wake": wake_of,
    }
    try:
        calls[method](policy, job=job, now_ns=now_ns)
    except ValueError as error:
        return error
    return ValueError(  # the compiled method has written something before
        f"policy {name_of(policy)}: {method} {at(job, now_ns)} raised an exception, which"
        " engine=simpy names"
    )


def _seen_at(address: int, policy: Policy) -> SeenJob:
    """Return the request whose record is at an address, with a copy of its State."""
    job, permission, state = job_at(address, policy, writes=True), Permission(), None
    if policy.State is not None:
        state = new_state(policy.State, permission)
        for name in check_state(type(policy)):
            setattr(state, name, getattr(job.state, name))
    permission.given = False
    return SeenJob(job, state, permission)
