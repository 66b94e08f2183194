"""Policies in Python behind the addresses that the compiled loop calls, so that tests can run the
loop with any policy, compiled or not.
"""

import ctypes
import struct
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import numba
import numpy as np

from lapsd.policies import Event, Policy
from lapsd.policies.calls import rank_of
from lapsd.sim.engine.compiled.call import FUNCTIONS
from lapsd.sim.engine.compiled.job import EVENT_KINDS, JOB, KEYS, RAISED
from tests.builders import state_of

TYPE = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 5)
METHODS = ("rank", "on_round", "on_event", "remaining_ns", "wake")
RATES = JOB.fields["rates_address"][1]
ROUNDS = JOB.fields["rounds"][1]


class JobView:
    """A request's record as a policy sees it."""

    def __init__(self, address):
        self.__dict__["address"] = address
        self.__dict__["state"] = None

    def _raw(self, name):
        dtype, offset = JOB.fields[name][:2]
        kind = ctypes.c_bool if dtype == np.bool_ else ctypes.c_int64
        return kind.from_address(self.address + offset)

    def __getattr__(self, name):
        if name not in JOB.fields:
            raise AttributeError(name)
        return self._raw(name).value

    def __setattr__(self, name, value):
        if name == "state":
            self.__dict__["state"] = value
        else:
            assert name == "queue"
            self._raw(name).value = value

    def acceptance(self, rounds):
        assert 0 <= rounds <= self.rounds
        return ctypes.c_double.from_address(self.rates_address + 8 * rounds).value

    def acceptances(self, last):
        assert 0 <= last <= self.rounds
        return [self.acceptance(r) for r in range(self.rounds - last + 1, self.rounds + 1)]

    def acceptance_range(self, last):
        window = self.acceptances(last)
        return max(window) - min(window)


def key_of(part):
    """The order-preserving integer of a part of a rank, which may be an int in one and a float in
    another; exact below 2**53.
    """
    bits = struct.unpack("<q", struct.pack("<d", float(part) + 0.0))[0]
    return bits if bits >= 0 else bits ^ (2**63 - 1)


@dataclass(eq=False)
class Bridged:
    """A policy in Python, with the addresses of its methods."""

    policy: Policy
    errors: list[BaseException] = field(default_factory=list)
    address: int = 0
    layout: ClassVar[Any] = SimpleNamespace(changeable=True)  # it may write to anything

    def __post_init__(self):
        self.views: dict[int, JobView] = {}
        self.kept = []
        for method in METHODS:
            overridden = getattr(type(self.policy), method) is not getattr(Policy, method)
            setattr(self, method, self._address_of(method) if overridden else 0)

    def _address_of(self, method):
        def safely(policy, job, now_ns, out):
            try:
                return getattr(self, f"call_{method}")(self.view(job), now_ns, out)
            except Exception as error:
                self.errors.append(error)
                return RAISED if method in ("rank", "on_round") else -RAISED

        if numba.config.DISABLE_JIT:
            address = id(safely)
            FUNCTIONS[address] = safely
            self.kept.append(safely)
            return address
        self.kept.append(TYPE(safely))
        return ctypes.cast(self.kept[-1], ctypes.c_void_p).value

    def parameters(self, policy):
        return self

    def states(self, policy, jobs):
        """The states are made when a request is first seen."""

    def view(self, address):
        if address not in self.views:
            view = self.views[address] = JobView(address)
            lengths = view.prompt_tokens, view.predicted_tokens
            view.state = state_of(self.policy, view.index, *lengths)
        return self.views[address]

    def call_rank(self, job, now_ns, out):
        rank = rank_of(self.policy, job, now_ns)
        keys = [*map(key_of, rank), *[0] * KEYS][:KEYS]
        assert len(rank) <= KEYS
        ctypes.memmove(out, np.array(keys, dtype=np.int64).ctypes.data, 8 * KEYS)
        return 0

    def call_on_round(self, job, now_ns, out):
        self.policy.on_round(job, now_ns)
        return 0

    def call_on_event(self, job, now_ns, out):
        kind = EVENT_KINDS[ctypes.c_int64.from_address(out).value]
        return int(self.policy.on_event(Event(kind, job, now_ns)))

    def call_remaining_ns(self, job, now_ns, out):
        return self.policy.remaining_ns(job) or 0

    def call_wake(self, job, now_ns, out):
        return self.policy.wake(job, now_ns)


def bridged_runs(
    workloads: list[Any], policies: list[Policy], capacity: Any, past: Any = None
) -> Any:
    """Runs of bound policies by the compiled loop; `past` is the context of draft policies."""
    from lapsd.sim.engine.compiled.draft_policy import bind_drafts
    from lapsd.sim.engine.compiled.runs import BoundPolicy, PlannedRun, serve_planned

    bridges = [Bridged(p) for p in policies]
    try:
        return serve_planned(
            [
                PlannedRun(
                    w,
                    BoundPolicy(p, b),
                    p.drafts and bind_drafts(p.drafts, past.drafts, capacity.drafting),
                )
                for w, p, b in zip(workloads, policies, bridges, strict=True)
            ],
            capacity,
        )
    finally:
        for b in bridges:
            if b.errors:
                raise b.errors[0]
