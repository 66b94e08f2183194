"""Run a workload: which of the servers serves it, and what they are told."""

import itertools

import numpy as np
import simpy

from policies import Outlook, Policy
from sim.engine.batch import BatchServer
from sim.engine.books import Books, Run
from sim.engine.capacity import Capacity
from sim.engine.ranks import name_of, promises
from sim.engine.request import Recorded, Request, recorded_rows, with_truth
from sim.engine.single import SingleServer
from sim.engine.step import StepServer
from sim.engine.timeline import Timeline
from traces import Workload


def simulate(
    workload: Workload,
    policy: Policy,
    *,
    outlook: Outlook,
    kv_slots: int | None = 1,
    capacity: Capacity | None = None,
    skip: bool = True,
    check: bool = False,
    timeline: Timeline | None = None,
) -> Run:
    """Serve `workload` under `policy`, from an empty server until the last request is done.

    Parameters
    ----------
    outlook : what the server knows beforehand; true sizes are added here for clairvoyant policies only.
    kv_slots : requests whose KV caches fit in memory at once; None for all. At 1 every switch pays.
    capacity : batch size, KV memory and what happens when it is full; overrides `kv_slots`.
    skip : leap over rounds where nothing can change, for policies that promise what `run_until` needs. Results are
        the same to the nanosecond; False steps through every round, which is slow, and is the specification.
    check : hold the server to its invariants at every decision (slow).
    timeline : is told every decision (steps through every round).

    Raises
    ------
    ValueError
        If a request can never fit the KV memory, the profile does not cover the batch, or ranks cannot be compared.
    """
    capacity = Capacity(kv_slots=kv_slots) if capacity is None else capacity
    recorded = recorded_rows(workload)
    _refuse_what_never_fits(recorded, capacity)
    policy = policy.bind(with_truth(outlook, recorded) if policy.clairvoyant else outlook)
    env, books, profile = simpy.Environment(), Books(len(workload)), workload.priced.profile
    arrivals, predicted = workload.arrival_ns.tolist(), workload.predicted_tokens.tolist()
    loop = workload.clients, workload.think_ns
    server: StepServer | SingleServer | BatchServer
    if timeline is not None or not skip or not promises(policy):
        requests = [
            Request(*columns) for columns in zip(range(len(recorded)), arrivals, predicted, recorded, strict=True)
        ]
        server = StepServer(env, requests, profile, policy, capacity, books, check, timeline, *loop)
    else:
        kind = SingleServer if capacity.batch == 1 and capacity.kv_tokens is None else BatchServer
        server = kind(env, arrivals, predicted, recorded, profile, policy, capacity, books, check, *loop)
    try:
        env.run(env.process(server.serve()))
    except TypeError as error:
        if "not supported between instances" not in str(error):
            raise
        told = _which_two(policy, server.present(), int(env.now)) or str(error)
        raise ValueError(f"policy {name_of(policy)}: ranks are not comparable ({told})") from error
    arrived = workload.arrival_ns if workload.clients is None else np.array(server.arrived_ns, dtype=np.int64)
    return books.run(arrived, int(env.now), policy)


def _which_two(policy: Policy, requests: list[Request], now_ns: int) -> str | None:
    """Two requests whose ranks cannot be compared."""
    ranked = [(r.index, policy.rank(r, now_ns)) for r in requests]
    for (one, rank), (other, rival) in itertools.combinations(ranked, 2):
        try:
            _ = rank < rival
        except TypeError:
            return f"{rank} of request {one}, {rival} of request {other}"
    return None


def _refuse_what_never_fits(recorded: list[Recorded], capacity: Capacity) -> None:
    if capacity.kv_tokens is None:
        return
    for index, rounds in enumerate(recorded):
        need = rounds.prompt_tokens + rounds.tokens[-1] + max(rounds.round_drafted) + 1
        if need > capacity.kv_tokens:
            raise ValueError(
                f"kv_tokens {capacity.kv_tokens}: request {index} can never fit: its prompt, output and "
                f"look-ahead take {need} tokens"
            )
