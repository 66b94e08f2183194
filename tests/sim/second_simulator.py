"""A second simulator, written from docs/reference/model.md, without SimPy and without our policies.

The two simulators share only the costs of rounds.
"""

import math
import re
import statistics
from bisect import bisect_left
from types import SimpleNamespace

from tests.sim.second_offload import SecondOffload


def schedule(
    work,
    limits,
    kind,
    *,
    bounds=(),
    gamma=1,
    delta=0.0,
    c_bar=0,
    sizes=(),
    interpretation=None,
    age=None,
    second=None,
    drafts=None,
):
    """Return (first service, first token, finish, switching, preemptions, cached tokens), each by
    request.

    `second` makes a policy of functions of a request. `drafts` decides draft lengths: its
    `choose(facts, last, waiting)`, `most`, and how the engine verifies them.
    """
    trace, priced, costs = work.priced.trace, work.priced, work.priced.profile.costs
    spans = [trace.rounds_of(int(r)) for r in work.rows]
    price = [priced.round_ns[s].tolist() for s in spans]
    emits = [priced.emitted[s].tolist() for s in spans]
    drafted, accepted = ([a[s].tolist() for s in spans] for a in (trace.drafted, trace.accepted))
    prompt = [int(trace.prompt_tokens[r]) for r in work.rows]
    output = [int(trace.output_tokens[r]) for r in work.rows]
    if drafts:
        places = [slice(*trace.output_offsets[r : r + 2]) for r in work.rows.tolist()]
        runs_at = [trace.acceptable[s].tolist() for s in places]
        emits, drafted, accepted = ([[] for _ in spans] for _ in range(3))
        before, last = (0, 0, 0, 0), (0, 0, 0, 0)
    count, arrival = len(spans), work.arrival_ns.tolist()
    sent = count if work.clients is None else min(count, work.clients)
    arrival[sent:] = [math.inf] * (count - sent)
    prefill = [costs.prefill(p - 1) if p > 1 else 0 for p in prompt]
    at, queue, entry = [0] * count, [1] * count, list(arrival)
    frozen: dict[
        int, tuple[int, int, int]
    ] = {}  # predicted length, rounds and accepted tokens then
    turn, served_in = list(arrival), [0] * count
    first, token, finish, switching, preempted = (
        *([None] * count for _ in range(3)),
        [0] * count,
        [0] * count,
    )
    resident, swapped_out, now, running, served = [], set(), 0, [], [0] * count
    in_steps = limits.prefill in ("mixed", "chunked")
    uncomputed = [max(0, p - 1) if in_steps else 0 for p in prompt]
    name, *options = re.split("[:+=]", limits.manager)
    option = dict(zip(options[::2], options[1::2], strict=True))
    size = int(option.get("block", 16))
    line = [None] * (
        int(option["blocks"]) if "blocks" in option else (limits.kv_tokens or 0) // size
    )
    blocks, total_blocks = [0] * count, len(line)
    hit, cached = [0] * count, limits.prefix_cache and Prefixes(trace, work.rows, size)

    own = second and second(
        SimpleNamespace(
            prompt=prompt.__getitem__,
            tokens=lambda i: tokens(i),
            served=served.__getitem__,
            arrival=arrival.__getitem__,
            begun=lambda i: first[i] is not None,
            predicted=lambda i: int(work.predicted_tokens[i]),
        )
    )

    def spent(i):
        return served[i]

    def tokens(i):
        return sum(emits[i][: at[i]])

    def left(i):
        return time_of(i, max(0, frozen[i][0] - tokens(i)))

    def time_of(i, some_tokens):
        _, rounds, taken = frozen[i]
        return c_bar * rounds * some_tokens // (taken + rounds)

    def rank(i):
        begun = first[i] is not None
        if own:
            return own.rank(i, now)
        if kind == "fcfs":
            return (not begun, i)
        if kind == "lp-sjf":
            return (not begun, int(work.predicted_tokens[i]))
        if kind == "srpt":
            return ((0 if begun else prefill[i]) + sum(price[i][at[i] :]),)
        if kind == "las":
            return (level(i),)
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
        if i not in frozen and not interpretation["preempt"] and served_in[i] == queue[i]:
            return (level(i), -1, 0)
        if i in frozen:
            time = left(i) if interpretation["order"] == "remaining" else time_of(i, frozen[i][0])
            return (level(i), 0 if interpretation["perceptible_first"] else 1, time)
        if not interpretation["perceptible_first"]:
            return (level(i), 0, 0)
        return (level(i), 1, 0)

    def level(i):
        if age is None:
            return queue[i]
        return max(1, queue[i] - (now - arrival[i] - served[i]) // age)

    def remaining_of(i):
        if own:
            return own.remaining(i)
        return 7 * max(0, int(work.predicted_tokens[i]) - tokens(i)) if kind == "lp-srpt" else 0

    def until_rise(i):
        if own:
            return own.until_rise(i, now)
        if age is None or kind not in ("las", "laps-sd") or level(i) == 1:
            return math.inf
        waited = now - arrival[i] - served[i]
        return (waited // age + 1) * age - waited

    def place(i, time):
        j = bisect_left(bounds, time) + 1
        if j != queue[i]:
            queue[i], entry[i] = j, now

    def mean_acceptance(i, rounds):
        d = sum(drafted[i][:rounds])
        return sum(accepted[i][:rounds]) / d if d else 0.0

    def on_round(i, spent_now):
        if own:
            level = own.level_of(i)
            own.on_round(i, now, spent_now)
            entry[i] = now if own.level_of(i) != level else entry[i]
        if kind == "las":
            place(i, spent(i))
        if kind == "rr" and at[i] % gamma == 0:
            turn[i] = now
        if kind != "laps-sd":
            return
        if i in frozen:
            length, *rate = frozen[i]
            if interpretation["overrun"] > 1 and tokens(i) >= length:
                frozen[i] = (
                    max(tokens(i) + 1, math.ceil(length * interpretation["overrun"])),
                    *rate,
                )
            if interpretation["follow"]:
                place(i, left(i))
            return
        served_in[i] = queue[i]
        if stable(i):
            frozen[i] = (int(work.predicted_tokens[i]), at[i], sum(accepted[i][: at[i]]))
            place(i, left(i))
        else:
            place(i, spent(i))

    def stable(i):
        if interpretation["count"]:
            return at[i] >= interpretation["count"]
        if interpretation["stability"] == "posterior":
            a, b = (
                1 + sum(accepted[i][: at[i]]),
                1 + sum(drafted[i][: at[i]]) - sum(accepted[i][: at[i]]),
            )
            return at[i] >= gamma and math.sqrt(a * b / (a + b + 1)) / (a + b) < delta
        if interpretation["stability"] == "window":
            if at[i] < 2 * gamma - 1:
                return False
            ends = range(at[i] - gamma + 1, at[i] + 1)
            window = [
                (r * mean_acceptance(i, r) - (r - gamma) * mean_acceptance(i, r - gamma)) / gamma
                for r in ends
            ]
        else:
            window = (
                [mean_acceptance(i, r) for r in range(at[i] - gamma + 1, at[i] + 1)]
                if at[i] >= gamma
                else []
            )
        if not window:
            return False
        if interpretation["stability"] == "sd":
            return statistics.pstdev(window) < delta
        return max(window) - min(window) < delta

    def lookahead(i):
        return prompt[i] + tokens(i) + widest(i)

    def widest(i):
        return (drafts.most if drafts else drafted[i][at[i]]) + 1

    def known(i):
        """What a draft policy knows of a request."""
        some = at[i] - (1 if drafts.late and at[i] else 0)
        rejected = sum(a < d for a, d in list(zip(accepted[i], drafted[i], strict=True))[:some])
        so_far = sum(emits[i][:some])
        return SimpleNamespace(
            context=prompt[i] + so_far,
            tokens=so_far,
            rounds=some,
            drafted=sum(drafted[i][:some]),
            accepted=sum(accepted[i][:some]),
            rejected=rejected,
            predicted=int(work.predicted_tokens[i]),
        )

    def draft(decoding):
        """Append a round to each request; return the time of a switch to another length."""
        nonlocal before, last
        decoding = sorted(decoding)
        lengths = drafts.choose(
            [known(i) for i in decoding], before if drafts.late else last, len(here) - len(running)
        )
        for i, length in zip(decoding, lengths, strict=True):
            place = tokens(i)
            taken = min(length, runs_at[i][place])
            drafted[i].append(length)
            accepted[i].append(taken)
            emits[i].append(min(taken + 1, output[i] - place))
        step = len(decoding), sum(lengths), sum(accepted[i][-1] for i in decoding), max(lengths)
        changed = last[0] and last[3] != step[3]
        before, last = last, step
        return drafts.switch_ns if changed else 0

    def ragged_time(decoding):
        b, n = len(decoding), max(drafted[i][at[i]] for i in decoding)
        sent = b * (n + 1) if drafts.padded else sum(drafted[i][at[i]] + 1 for i in decoding)
        sent = min([s for s in drafts.graphs if s >= sent], default=sent)
        context = sum(prompt[i] + tokens(i) for i in decoding)
        ends = []
        for size in (1, 3):
            term = costs.rounds[size]
            at_width = [
                table_value(t, sent, b) for t in (term.verify_base_ns, term.verify_per_token_ns)
            ]
            ends.append(
                (
                    n * term.draft_step.base_ns + at_width[0] + term.host_ns,
                    n * term.draft_step.per_token_ns + at_width[1],
                )
            )
        base, slope = (low + (high - low) * (b - 1) // 2 for low, high in zip(*ends, strict=True))
        return base + slope * context

    def needed(i):
        return max(blocks[i], math.ceil(lookahead(i) / size))

    def fit(runs, waiting):
        if cached:
            return cached.units(runs, needed) <= total_blocks
        if name == "paged":
            return sum(map(needed, runs)) + sum(blocks[i] for i in waiting) <= total_blocks
        if offload is not None:
            return offload.fit(runs, waiting)
        if name == "reserve":
            return sum(reserved(i) for i in [*runs, *waiting]) <= limits.kv_tokens
        held = sum(map(lookahead, runs)) + sum(prompt[i] + tokens(i) for i in waiting)
        return fits(len(runs) + len(waiting), held)

    def reserved(i):
        most = int(option["context"]) - prompt[i]
        power = next(2**k for k in range(20) if 2**k >= output[i])
        room = {"max": most, "pow2": min(power, most), "oracle": output[i]}[option["output"]]
        return prompt[i] + room + (drafts.most if drafts else max(drafted[i])) + 1

    def page_out_and_in():
        """Evict, bring back and grow caches in blocks; return the time that this takes."""
        pay, waiting = (
            0,
            sorted(
                (i for i in here if blocks[i] and i not in running),
                key=lambda i: (rank(i), entry[i], i),
            ),
        )
        always = limits.evict == "recompute" and option.get("park") != "true"
        while waiting and (always or not fit(running, waiting)):
            i = waiting.pop()
            if limits.evict == "swap":
                pay += pay_for(i, costs.swap_out(prompt[i] + tokens(i) - uncomputed[i]))
                if offload is not None:
                    offload.done(i)
                    switching[i] = offload.spent.get(i, 0)
                line.extend([None] * blocks[i])
            else:
                whole = (prompt[i] + tokens(i) - 1 - uncomputed[i]) // size
                line.extend([None] * (blocks[i] - whole) + [i] * whole)
            blocks[i] = 0
            swapped_out.add(i)
        for i in running:
            if i in swapped_out:
                if limits.evict == "swap":
                    pay += pay_for(i, costs.swap_in(prompt[i] + tokens(i) - uncomputed[i]))
                else:
                    uncomputed[i] = uncomputed_of(i)
                    blocks[i] = line.count(i)
                    line[:] = [owner for owner in line if owner != i]
                    if not in_steps:
                        pay += pay_for(i, costs.prefill(uncomputed[i]) if uncomputed[i] else 0)
                        uncomputed[i] = 0
                swapped_out.remove(i)
        for i in running:
            more = needed(i) - blocks[i]
            blocks[i] += more
            del line[:more]
        return pay

    def page_prefixes():
        """The same where prefixes are cached."""
        pay = 0
        idle = (i for i in here if i in cached.live and i not in running)
        for i in sorted(idle, key=lambda i: (rank(i), entry[i], i), reverse=True):
            blocks[i] = 0
            cached.leave(i)
        for i in running:
            if i not in cached.live:
                if not in_steps:
                    left = look(i)
                    pay += 0 if first[i] is None or not left else pay_for(i, costs.prefill(left))
                    uncomputed[i] = 0
                    cached.ready.update(cached.own[i])
                cached.enter(i)
        for i in running:
            blocks[i] = needed(i)
        cached.drop(total_blocks - cached.units(running, blocks.__getitem__))
        return pay

    def look(i):
        """Note what a request finds in the cache; return the tokens that it does not find."""
        uncomputed[i] = max(0, prompt[i] + tokens(i) - 1) - cached.found(i)
        if first[i] is None:
            hit[i] = cached.found(i)
        return uncomputed[i]

    def uncomputed_of(i):
        if cached:
            return uncomputed[i]
        if name == "paged" and limits.evict == "recompute" and i in swapped_out:
            return prompt[i] + tokens(i) - 1 - size * line.count(i)
        return uncomputed[i]

    def pay_for(i, ns):
        switching[i] += ns
        return ns

    def fits(some, total):
        return (limits.slots is None or some <= limits.slots) and (
            limits.kv_tokens is None or total <= limits.kv_tokens
        )

    def swap_out_and_in():
        """Evict and bring back caches in slots or tokens; return the time that this takes."""
        pay, idle = (
            0,
            sorted(
                (i for i in here if i in resident and i not in running),
                key=lambda i: (rank(i), entry[i], i),
            ),
        )
        while idle and not fit(running, idle):
            victim = idle.pop()
            if limits.evict == "swap":
                pay += pay_for(
                    victim, costs.swap_out(prompt[victim] + tokens(victim) - uncomputed[victim])
                )
            elif in_steps:
                uncomputed[victim] = max(0, prompt[victim] + tokens(victim) - 1)
            resident.remove(victim)
            swapped_out.add(victim)
        for i in running:
            if i in swapped_out:
                held = prompt[i] + tokens(i)
                if limits.evict == "swap":
                    pay += pay_for(i, costs.swap_in(held - uncomputed[i]))
                elif not in_steps:
                    pay += pay_for(i, costs.prefill(held - 1) if held > 1 else 0)
                swapped_out.remove(i)
            if i not in resident:
                resident.append(i)
        return pay

    def step_time():
        held = sum(prompt[i] + tokens(i) - 1 - uncomputed[i] for i in chunks) + sum(
            prompt[i] + tokens(i) for i in decoding
        )
        computed = sum(given[i] for i in chunks) + sum(drafted[i][at[i]] + 1 for i in decoding)
        if not costs.steps:
            timed = ragged_time if drafts else batch_time
            rounds = timed(decoding) if decoding else 0
            return rounds + costs.prefill.several([given[i] for i in chunks])
        longest = max((drafted[i][at[i]] for i in decoding), default=0)
        decoded = sum(prompt[i] + tokens(i) for i in decoding)
        low, high = (
            table_value(costs.steps[b].base_ns, computed)
            + table_value(costs.steps[b].per_context_ns, computed) * held
            + longest * (draft.base_ns + draft.per_token_ns * decoded)
            for b in (1, 3)
            for draft in [costs.steps[b].draft_step]
        )
        return low + (high - low) * (len(part) - 1) // 2

    def round_time(decoding):
        if drafts:
            return ragged_time(decoding)
        return price[decoding[0]][at[decoding[0]]] if len(decoding) == 1 else batch_time(decoding)

    def batch_time(decoding):
        n = max(drafted[i][at[i]] for i in decoding)
        context = sum(prompt[i] + tokens(i) for i in decoding)
        ends = []
        for size in (1, 3):  # the sizes that the generated profiles hold
            term = costs.rounds[size]
            at_width = [
                table_value(t, n + 1) for t in (term.verify_base_ns, term.verify_per_token_ns)
            ]
            ends.append(
                (
                    n * term.draft_step.base_ns + at_width[0] + term.host_ns,
                    n * term.draft_step.per_token_ns + at_width[1],
                )
            )
        base, slope = (
            low + (high - low) * (len(decoding) - 1) // 2 for low, high in zip(*ends, strict=True)
        )
        return base + slope * context

    offload = None
    if name in ("fastserve", "alise"):
        offload = SecondOffload(
            name,
            option,
            limits.batch,
            tokens=lambda i: prompt[i] + tokens(i) - uncomputed[i],
            look_ahead=lookahead,
            left=remaining_of,
            until_rise=until_rise,
            move=lambda way, some: (costs.swap_out if way == "out" else costs.swap_in)(some),
        )

    while any(f is None for f in finish):
        here = [i for i in range(count) if arrival[i] <= now and finish[i] is None]
        if not here:
            now = min(a for a in arrival if a > now)
            continue
        here.sort(key=lambda i: (rank(i), i not in running, entry[i], i))
        chosen = []
        for i in here if offload is None else offload.decide(here, running, now):
            if len(chosen) == limits.batch or not fit([*chosen, i], []):
                break
            chosen.append(i)
        given, budget = {}, limits.token_budget if limits.prefill == "chunked" else math.inf
        for i in [i for i in chosen if i in running] + [i for i in chosen if i not in running]:
            if cached and in_steps and i not in cached.live:
                look(i)
            want = uncomputed_of(i) or widest(i)
            given[i] = min(want, budget) if uncomputed_of(i) or want <= budget else 0
            budget -= given[i]
            if cached and in_steps and uncomputed[i]:
                cached.compute(i, prompt[i] + tokens(i) - 1 - uncomputed[i] + given[i])
        if in_steps:
            chosen = [i for i in chosen if given[i] or i in running]
        for i in running:
            preempted[i] += i not in chosen
        running = chosen
        if offload is not None:
            if not running:
                now = min([a for a in arrival if a > now] + [offload.next_end(now)])
                assert now < math.inf, "no request can ever run"
                continue
            idle = sorted(
                (i for i in here if i not in running), key=lambda i: (rank(i), entry[i], i)
            )
            now = offload.batch_slot(idle, running, now)
        else:
            paged = page_prefixes if cached else page_out_and_in
            now += paged() if name == "paged" else swap_out_and_in()
        begin = now
        fresh = [i for i in running if first[i] is None]
        if in_steps:
            for i in fresh:
                first[i] = now
        elif limits.prefill == "batched":
            lacking = [prompt[i] - 1 - hit[i] for i in fresh if prompt[i] - 1 > hit[i]]
            now += costs.prefill.several(lacking) if lacking else 0
            for i in fresh:
                first[i] = begin
        else:
            for i in fresh:
                first[i] = now
                now += costs.prefill(prompt[i] - 1 - hit[i]) if prompt[i] - 1 > hit[i] else 0
        part = [i for i in running if given[i] or not in_steps]
        chunks = [i for i in part if uncomputed[i]]
        decoding = [i for i in part if not uncomputed[i]]
        stall = draft(decoding) if drafts and decoding else 0
        spent_now = stall + (step_time() if chunks else round_time(decoding))
        now += spent_now
        for i in chunks:
            uncomputed[i] -= given[i]
        for i in decoding:
            served[i] += spent_now
            at[i] += 1
            token[i] = now if at[i] == 1 else token[i]
            on_round(i, spent_now)
            if tokens(i) == output[i]:
                finish[i] = now
                resident[:] = [other for other in resident if other != i]
                if offload is not None:
                    offload.done(i)
                    switching[i] = offload.spent.get(i, 0)
                line.extend([None] * blocks[i])
                blocks[i] = 0
                running.remove(i)
                if sent < count:
                    arrival[sent] = entry[sent] = turn[sent] = now + work.think_ns
                    sent += 1
        for i in sorted(cached.live if cached else ()):
            if finish[i] is not None:
                cached.leave(i)
    return first, token, finish, switching, preempted, hit


class Prefixes:
    """Cached blocks of prompts: which requests use each, which are computed, and which are unused.

    Parameters
    ----------
    size : tokens of a block of memory.
    """

    def __init__(self, trace, rows, size):
        self.tokens, self.blocks = trace.prefixes.block, trace.prefixes.block // size
        self.own = [
            [h for k, h in enumerate(trace.prefixes.of_row(r).tolist(), 1) if k * self.tokens < p]
            for r, p in zip(rows.tolist(), trace.prompt_tokens[rows].tolist(), strict=True)
        ]
        self.live, self.ready, self.shelf = set(), set(), []

    def found(self, i):
        return self.tokens * next(
            (k for k, h in enumerate(self.own[i]) if h not in self.ready), len(self.own[i])
        )

    def units(self, some, total):
        shared = len({h for i in some for h in self.own[i]})
        return sum(total(i) - self.blocks * len(self.own[i]) for i in some) + self.blocks * shared

    def compute(self, i, end):
        self.ready.update(h for k, h in enumerate(self.own[i], 1) if k * self.tokens <= end)

    def enter(self, i):
        self.live.add(i)
        self.shelf = [h for h in self.shelf if h not in self.own[i]]

    def leave(self, i):
        self.live.remove(i)
        still = {h for other in self.live for h in self.own[other]}
        gone = [h for h in self.own[i][::-1] if h not in still]
        self.shelf += [h for h in gone if h in self.ready]

    def drop(self, room):
        while self.shelf and self.blocks * len(self.shelf) > room:
            self.ready.remove(self.shelf.pop(0))


def table_value(table, width, of=1):
    """The value of a table at the width `width` / `of`."""
    known = sorted(table)
    assert known[0] == 1
    if width >= known[-1] * of:
        low, high = known[-2:]
        grown = (table[high] - table[low]) * (width - low * of) // ((high - low) * of)
        return max(table[low] + grown, table[high]) if width > high * of else table[high]
    if width <= of:
        return table[1]
    low = max(w for w in known if w * of <= width)
    high = min(w for w in known if w * of > width)
    return table[low] + (table[high] - table[low]) * (width - low * of) // ((high - low) * of)
