"""Compiled methods of policies equal the methods in Python, on generated sequences of rounds."""

import random
from dataclasses import replace

import numpy as np
import pytest

import lapsd
from lapsd.policies import POLICIES, Event, Policy, parse_policy
from lapsd.policies.calls import arrived
from lapsd.policies.seen import SeenJob
from lapsd.sim.engine.compiled.job import JOB, KEYS
from lapsd.sim.engine.compiled.policy import compile_policy
from lapsd.sim.engine.recorded import recorded_rows, with_truth
from lapsd.sim.engine.request import Request
from tests.sim.compiled.calls import call

ROUNDS = 12
PROFILE = lapsd.load_profile("reference")
TRAIN, TEST = (lapsd.price(half, PROFILE) for half in lapsd.load_trace("reference").split(0))
WORK = lapsd.draw_workload(TEST, requests=12, seed=1, arrivals=lapsd.Arrivals(load=0.9))
RECORDED = recorded_rows(WORK)
NOT_COMPILED = ("kernel-gittins-online",)  # it learns during the run
SPECS = {
    "las": ["las:age_s=0.01"],
    "lp-srpt": ["lp-srpt:c=0.3", "lp-srpt:switch_penalty=2"],
    "rr": ["rr:quantum=3"],
    "laps-sd": [
        "laps-sd:gamma=3,delta=0.2",
        "laps-sd:gamma=2,delta=0.3,follow=true,overrun=1.3",
        "laps-sd:order=total,perceptible_first=false,gamma=2,delta=0.4",
        "laps-sd:preempt=false,gamma=4",
        "laps-sd:switch_penalty=1,gamma=2,delta=0.5",
        "laps-sd:stability=sd,gamma=3,delta=0.1",
        "laps-sd:stability=window,gamma=2,delta=0.4",
        "laps-sd:stability=posterior,delta=0.12",
        "laps-sd:count=4,age_s=0.01",
    ],
    "laps-sd-adapted": [f"laps-sd-adapted:rule={rule}" for rule in ("quantiles", "both")],
    "kernel-gittins": ["kernel-gittins:index=mean,age_weight=0.5"],
    "fastserve": ["fastserve:starve_s=auto", "fastserve:starve_s=0.02,quantum_ms=3"],
    "alise": ["alise:overrun=1", "alise:model=exact,age_s=0.02"],
}


def bound(spec: str) -> Policy:
    policy = parse_policy(spec)
    context = replace(lapsd.policy_context(TRAIN), swap_out_ns=300, swap_in_ns=500)
    return policy.bind(with_truth(context, RECORDED) if policy.clairvoyant else context)


class Pair:
    """A policy in Python and its compiled methods, on the same requests."""

    def __init__(self, policy: Policy, other: Policy | None = None) -> None:
        """The policy whose methods are compiled is `other`: an equal one, with a state of its
        own.
        """
        self.policy = policy
        self.other = policy if other is None else other
        self.compiled = compile_policy(self.other)
        self.jobs = np.zeros(len(WORK), dtype=JOB)
        self.requests = [
            Request(i, at_ns, length, RECORDED[i], at_ns)
            for i, (at_ns, length) in enumerate(
                zip(WORK.arrival_ns.tolist(), WORK.predicted_tokens.tolist(), strict=True)
            )
        ]
        self.rates = [np.array(r.recorded.rates) for r in self.requests]
        for i, request in enumerate(self.requests):
            state, permission = arrived(policy, i, request.prompt_tokens, request.predicted_tokens)
            permission.given = True
            request.seen = SeenJob(request, state, permission)
            self.jobs[i]["rates_address"] = self.rates[i].ctypes.data
            self.copy(i)
        self.states = self.compiled.states(self.other, self.jobs)
        self.parameters = self.compiled.parameters(self.other)
        self.out = np.zeros(KEYS, dtype=np.int64)

    def copy(self, i: int) -> None:
        """Write what the server keeps of a request to its record."""
        request, job = self.requests[i], self.jobs[i]
        for name in ("index", "arrival_ns", "prompt_tokens", "predicted_tokens", "rounds"):
            job[name] = getattr(request, name)
        for name in ("tokens", "service_ns", "drafted", "accepted", "started", "running"):
            job[name] = getattr(request, name)
        job["queue"] = max(1, job["queue"])

    def call(self, method: str, i: int, now_ns: int) -> int:
        job = int(self.jobs.ctypes.data) + i * self.jobs.itemsize
        address = getattr(self.compiled, method)
        assert address, method
        return call(address, self.parameters.address, job, now_ns, int(self.out.ctypes.data))

    def keys(self, i: int, now_ns: int) -> tuple[int, ...]:
        assert self.call("rank", i, now_ns) == 0
        return tuple(self.out.tolist())

    def serve(self, i: int, now_ns: int) -> None:
        """Serve a round of a request on both sides."""
        request = self.requests[i]
        request.started = request.running = True
        request.service_ns += request.recorded.round_ns[request.rounds]
        request.tokens += request.recorded.emitted[request.rounds]
        request.rounds += 1
        self.copy(i)
        self.policy.on_round(request.seen, now_ns)
        if self.compiled.on_round:
            assert self.call("on_round", i, now_ns) == 0


def assert_same_order(pair: Pair, now_ns: int) -> None:
    """Both sides order all requests alike, equal ranks included."""
    ranks = [pair.policy.rank(r, now_ns) for r in pair.requests]
    keys = [pair.keys(i, now_ns) for i in range(len(ranks))]
    for one in range(len(ranks)):
        for other in range(one):
            assert (ranks[one] < ranks[other]) == (keys[one] < keys[other])
            assert (ranks[one] == ranks[other]) == (keys[one] == keys[other])
    for i, rank in enumerate(ranks):
        for part, key in zip(rank, keys[i], strict=False):
            assert part in (key, float_of(key))


def float_of(key: int) -> float:
    """The float that a key stands for, if the compiled rank is one."""
    return float(np.int64(key if key >= 0 else key ^ (2**63 - 1)).view(np.float64))


@pytest.mark.parametrize(
    "spec", [s for n in POLICIES for s in (n, *SPECS.get(n, [])) if n not in NOT_COMPILED]
)
def test_compiled_methods_equal_those_in_python(spec):
    policy, other = bound(spec), bound(spec)
    pair = Pair(policy, other)
    draw, now_ns = random.Random(spec), 0
    for _ in range(60):
        i = draw.randrange(len(WORK))
        request = pair.requests[i]
        if request.rounds + 1 >= request.recorded.rounds:
            continue
        now_ns += draw.choice([0, 1, 10**5, 10**7])
        now_ns = max(now_ns, request.arrival_ns)
        for active in pair.requests:
            active.running = draw.random() < 0.2
            pair.copy(active.index)
        pair.serve(i, now_ns)
        assert pair.jobs["queue"].tolist() == [r.queue for r in pair.requests]
        if pair.compiled.on_event:
            kind = draw.choice([0, 0, 1])
            pair.out[0] = kind
            event = Event(("arrival", "completion")[kind], request, now_ns)
            assert pair.call("on_event", i, now_ns) == policy.on_event(event)
        assert_same_order(pair, now_ns)
        if pair.compiled.remaining_ns:
            assert pair.call("remaining_ns", i, now_ns) == policy.remaining_ns(request)
        if pair.compiled.wake:
            assert pair.call("wake", i, now_ns) == policy.wake(request, now_ns)
