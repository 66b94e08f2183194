"""A second simulator, following docs/simulator.md, without SimPy and without our policies.

It shares only the priced rounds with the first. Both must agree to the nanosecond.
"""

import math
import statistics
from bisect import bisect_left

from hypothesis import given, settings
from hypothesis import strategies as st

from policies import LAS, POLICIES, LapsSD, RoundRobin
from sim import simulate
from tests.builders import outlook, workloads


def schedule(work, slots, kind, *, bounds=(), gamma=1, delta=0.0, c_bar=0, sizes=(), reading=None):
    """(first service, finish, switching, preemptions) of each request."""
    trace, priced, costs = work.priced.trace, work.priced, work.priced.profile.costs
    spans = [trace.rounds_of(int(r)) for r in work.rows]
    price = [priced.round_ns[s].tolist() for s in spans]
    emits = [priced.emitted[s].tolist() for s in spans]
    drafted, accepted = ([a[s].tolist() for s in spans] for a in (trace.drafted, trace.accepted))
    prompt = [int(trace.prompt_tokens[r]) for r in work.rows]
    count, arrival = len(spans), work.arrival_ns.tolist()
    prefill = [costs.prefill(p - 1) if p > 1 else 0 for p in prompt]
    at, queue, entry = [0] * count, [1] * count, list(arrival)
    frozen: dict[int, tuple[int, float]] = {}
    turn, served_in = list(arrival), [0] * count
    first, finish, switching, preempted = ([None] * count, [None] * count, [0] * count, [0] * count)
    holders, outside, now, running = [], set(), 0, None

    def spent(i):
        return sum(price[i][: at[i]])

    def tokens(i):
        return sum(emits[i][: at[i]])

    def left(i):
        length, per_token = frozen[i]
        return per_token * max(0, length - tokens(i))

    def rank(i):
        begun = first[i] is not None
        if kind == "fcfs":
            return (not begun, i)
        if kind == "lp-sjf":
            return (not begun, int(work.predicted_tokens[i]))
        if kind == "srpt":
            return ((0 if begun else prefill[i]) + sum(price[i]) - spent(i),)
        if kind == "las":
            return (queue[i],)
        if kind == "las-round":
            return (spent(i),)
        if kind == "lp-srpt":
            return (max(0, int(work.predicted_tokens[i]) - tokens(i)),)
        if kind == "lp-sjf-mean":
            return (not begun, int(work.predicted_tokens[i]) / (sum(emits[i]) / len(emits[i])))
        if kind == "rr":
            return (at[i] % gamma == 0, turn[i])
        if kind == "gittins":
            above = [s - spent(i) for s in sizes if s > spent(i)]
            every = [sum(min(s, d) for s in above) / sum(s <= d for s in above) for d in above]
            return (min(every, default=math.inf),)
        if i not in frozen and not reading["preempt"] and served_in[i] == queue[i]:
            return (queue[i], -1, 0.0)
        if i in frozen:
            length, per_token = frozen[i]
            time = left(i) if reading["order"] == "remaining" else per_token * length
            return (queue[i], 0 if reading["perceptible_first"] else 1, time)
        if not reading["perceptible_first"]:
            return (queue[i], 0, 0)
        return (queue[i], 1, 0)

    def place(i, time):
        j = bisect_left(bounds, time) + 1
        if j != queue[i]:
            queue[i], entry[i] = j, now

    def mean_acceptance(i, rounds):
        d = sum(drafted[i][:rounds])
        return sum(accepted[i][:rounds]) / d if d else 0.0

    def learn(i):
        if kind == "las":
            place(i, spent(i))
        if kind == "rr" and at[i] % gamma == 0:
            turn[i] = now
        if kind != "laps-sd":
            return
        if i in frozen:
            length, per_token = frozen[i]
            if reading["overrun"] > 1 and tokens(i) >= length:
                frozen[i] = (max(tokens(i) + 1, math.ceil(length * reading["overrun"])), per_token)
            if reading["follow"]:
                place(i, left(i))
            return
        served_in[i] = queue[i]
        if stable(i):
            frozen[i] = (int(work.predicted_tokens[i]), c_bar * at[i] / (sum(accepted[i][: at[i]]) + at[i]))
            place(i, left(i))
        else:
            place(i, spent(i))

    def stable(i):
        if reading["count"]:
            return at[i] >= reading["count"]
        if reading["stability"] == "window":
            if at[i] < 2 * gamma - 1:
                return False
            ends = range(at[i] - gamma + 1, at[i] + 1)
            window = [(r * mean_acceptance(i, r) - (r - gamma) * mean_acceptance(i, r - gamma)) / gamma for r in ends]
        else:
            window = [mean_acceptance(i, r) for r in range(at[i] - gamma + 1, at[i] + 1)] if at[i] >= gamma else []
        if not window:
            return False
        if reading["stability"] == "sd":
            return statistics.pstdev(window) < delta
        return max(window) - min(window) < delta

    def order(i):
        return (rank(i), entry[i], i)

    while any(f is None for f in finish):
        waiting = [i for i in range(count) if arrival[i] <= now and finish[i] is None and i != running]
        if not waiting and running is None:
            now = min(a for a in arrival if a > now)
            continue
        if waiting:
            best = min(waiting, key=order)
            if running is None or rank(best) < rank(running):
                if running is not None:
                    preempted[running] += 1
                running = best
        if running not in holders:
            if slots is not None and len(holders) == slots:
                victim = max(holders, key=order)
                move = costs.swap_out(prompt[victim] + tokens(victim))
                switching[victim] += move
                now += move
                holders.remove(victim)
                outside.add(victim)
            if running in outside:
                move = costs.swap_in(prompt[running] + tokens(running))
                switching[running] += move
                now += move
                outside.remove(running)
            holders.append(running)
        if first[running] is None:
            first[running] = now
            now += prefill[running]
        now += price[running][at[running]]
        at[running] += 1
        learn(running)
        if at[running] == len(price[running]):
            finish[running] = now
            holders.remove(running)
            running = None
    return first, finish, switching, preempted


@settings(max_examples=300)
@given(
    workloads(),
    st.sampled_from([1, 2, None]),
    st.sampled_from(["fcfs", "rr", "lp-sjf", "lp-sjf-mean", "lp-srpt", "srpt", "las", "las-round", "gittins"])
    | st.just("laps-sd"),
    st.integers(1, 5),
    st.sampled_from([1.5, 2.0, 4.0]),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.05, 0.2, 1.0]),
    st.fixed_dictionaries({
        "follow": st.booleans(), "order": st.sampled_from(["remaining", "total"]), "preempt": st.booleans(),
        "perceptible_first": st.booleans(), "overrun": st.sampled_from([1.0, 1.5]),
        "stability": st.sampled_from(["range", "sd", "window"]), "count": st.sampled_from([0, 0, 0, 2]),
    }),
)  # fmt: skip
def test_both_simulators_agree_to_the_nanosecond(work, slots, kind, K, M, gamma, delta, reading):
    past = outlook(work.priced)
    policy = {"las": LAS(K=K, M=M), "laps-sd": LapsSD(K=K, M=M, gamma=gamma, delta=delta, **reading),
              "rr": RoundRobin(quantum=gamma)}.get(kind) or POLICIES[kind]()  # fmt: skip
    sizes = sorted(past.past_sizes_ns)
    middle = (sizes[(len(sizes) - 1) // 2] + sizes[len(sizes) // 2]) / 2
    bounds = [max(1, math.floor(min(middle / M ** (K / 2) * M**j, 1e18))) for j in range(K - 1)]
    expected = schedule(work, slots, kind, bounds=bounds, gamma=gamma, delta=delta, c_bar=past.mean_round_ns,
                        sizes=sizes, reading=reading)  # fmt: skip
    run = simulate(work, policy, outlook=past, kv_slots=slots)
    found = [c.tolist() for c in (run.first_service_ns, run.finish_ns, run.switch_ns, run.preemptions)]
    assert found == list(expected)
