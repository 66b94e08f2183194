"""The functions that the loop calls where Numba is told not to compile: a policy's methods in
Python, on the same records.
"""

import ctypes
import itertools
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from lapsd.policies import Event, Job, Policy
from lapsd.policies.contract import check_state
from lapsd.policies.seen import check_type
from lapsd.sim.engine.compiled.call import FUNCTIONS
from lapsd.sim.engine.compiled.job import EVENT_KINDS, JOB, KEYS, NOT_A_NUMBER, RAISED, WRITABLE
from lapsd.sim.engine.compiled.parameters import Parameters

PARAMETERS: WeakValueDictionary[int, Parameters] = WeakValueDictionary()
"""The records of policies by address."""

FLOATS: WeakKeyDictionary[Parameters, list[bool]] = WeakKeyDictionary()
"""Which parts of the ranks of a policy are floats."""

_addresses = itertools.count(1)


def new_address() -> int:
    """Return an address of `FUNCTIONS` that is not taken."""
    return next(_addresses)


class RecordView:
    """A record at an address, as an object."""

    __slots__ = ("_record", "_writable")

    def __init__(self, address: int, dtype: np.dtype[Any], writable: frozenset[str]) -> None:
        memory = (ctypes.c_char * dtype.itemsize).from_address(address)
        record: Any = np.frombuffer(memory, dtype=dtype)  # type: ignore[call-overload]
        object.__setattr__(self, "_record", record)
        object.__setattr__(self, "_writable", writable)

    def __getattr__(self, name: str) -> Any:
        if name not in (self._record.dtype.names or ()):
            raise AttributeError(name)
        return self._record[name][0].item()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._writable:
            raise AttributeError(f"{name} must not be written by a policy")
        check_type(name, value, type(getattr(self, name)))
        self._record[name][0] = value


class RecordJob(RecordView):
    """The record of a request, as a `policies.Job`."""

    __slots__ = ("_state",)

    def __init__(self, address: int, policy: Policy, writes: bool) -> None:
        super().__init__(address, JOB, WRITABLE if writes else frozenset())
        codes = {bool: "?", int: "i8", float: "f8"}
        fields = [(name, codes[kind]) for name, kind in check_state(type(policy)).items()]
        state = None
        if fields:
            at = self._record["state_address"][0].item()
            writable = frozenset(name for name, _ in fields) if writes else frozenset()
            state = RecordView(at, np.dtype(fields, align=True), writable)
        object.__setattr__(self, "_state", state)

    @property
    def state(self) -> Any:
        """The State that the policy keeps of the request."""
        return self._state

    def acceptance(self, rounds: int) -> float:
        """As `policies.Job.acceptance`."""
        assert 0 <= rounds <= self.rounds, "a policy may read committed rounds only"
        return self._rates()[rounds]

    def acceptances(self, last: int) -> list[float]:
        """As `policies.Job.acceptances`."""
        assert 0 <= last <= self.rounds, "a policy may read committed rounds only"
        return self._rates()[self.rounds - last + 1 :]

    def acceptance_range(self, last: int) -> float:
        """As `policies.Job.acceptance_range`."""
        assert 0 < last <= self.rounds, "a policy may read committed rounds only"
        return max(self.acceptances(last)) - min(self.acceptances(last))

    def _rates(self) -> list[float]:
        memory = (ctypes.c_double * (self.rounds + 1)).from_address(self.rates_address)
        return list(memory)


def job_at(address: int, policy: Policy, *, writes: bool = False) -> Job:
    """Return the request whose record is at an address, for a method that may write to it or
    not.
    """
    return cast(Job, RecordJob(address, policy, writes))


@dataclass(frozen=True)
class Interpreted:
    """A function in `FUNCTIONS`, and its address."""

    address: int


def interpreted(method: str) -> Interpreted:
    """Return a method of all policies behind the signature of `call`."""
    if method not in _KNOWN:
        address = new_address()
        FUNCTIONS[address] = _CALLS[method]
        _KNOWN[method] = Interpreted(address)
    return _KNOWN[method]


def _rank(policy: int, job: int, now_ns: int, out: int) -> int:
    owner = PARAMETERS[policy].owner
    try:
        rank = owner.rank(job_at(job, owner), now_ns)
        keys = (ctypes.c_int64 * KEYS).from_address(out)
        keys[:] = [0] * KEYS
        for place, part in enumerate(rank):
            if part != part:
                return NOT_A_NUMBER
            keys[place] = _key(part)
    except Exception:
        return RAISED
    _hold_to_one_kind(policy, [isinstance(part, float) for part in rank])
    return 0


def _hold_to_one_kind(policy: int, floats: list[bool]) -> None:
    """Raise if a part of a policy's ranks is a float at one time, and whole at another.

    Compiled code makes it a float; here the keys would not be comparable.
    """
    known = FLOATS.setdefault(PARAMETERS[policy], floats)
    assert known == floats, f"a part of a rank is whole or a float: {known}, {floats}"


def _key(part: Any) -> int:
    """Return an integer that is ordered as the numbers of a rank are."""
    if isinstance(part, float):
        bits = int(np.float64(part + 0.0).view(np.int64))
        return bits if bits >= 0 else bits ^ (2**63 - 1)
    return int(part)


def _on_round(policy: int, job: int, now_ns: int, out: int) -> int:
    owner = PARAMETERS[policy].owner
    try:
        owner.on_round(job_at(job, owner, writes=True), now_ns)
    except Exception:
        return RAISED
    return 0


def _on_event(policy: int, job: int, now_ns: int, out: int) -> int:
    owner = PARAMETERS[policy].owner
    kind = EVENT_KINDS[ctypes.c_int64.from_address(out).value]
    try:
        return int(owner.on_event(Event(kind, job_at(job, owner), now_ns)))
    except Exception:
        return -RAISED


def _remaining_ns(policy: int, job: int, now_ns: int, out: int) -> int:
    owner = PARAMETERS[policy].owner
    try:
        return owner.remaining_ns(job_at(job, owner)) or 0
    except Exception:
        return -RAISED


def _wake(policy: int, job: int, now_ns: int, out: int) -> int:
    owner = PARAMETERS[policy].owner
    try:
        return int(owner.wake(job_at(job, owner), now_ns))
    except Exception:
        return -RAISED


_CALLS = {
    "rank": _rank,
    "on_round": _on_round,
    "on_event": _on_event,
    "remaining_ns": _remaining_ns,
    "wake": _wake,
}
_KNOWN: dict[str, Interpreted] = {}
