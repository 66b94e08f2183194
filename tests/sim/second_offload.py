"""Independent managers with asynchronous KV transfers, as docs/reference/memory-managers.md
defines them.

It serves the second simulator, and uses nothing of the first. A request is its number.
"""

import itertools
import math


class SecondOffload:
    """The manager `fastserve` or `alise` with the parameters `option`, for batches of b requests.

    `tokens`, `look_ahead`, `left` and `until_rise` are functions of a request. `move` gives the
    time of a KV transfer by direction and tokens.
    """

    def __init__(self, name, option, b, *, tokens, look_ahead, left, until_rise, move):
        self.name, self.b = name, b
        self.blocks, self.size = int(option["blocks"]), int(option["block"])
        self.int8, self.quantise = option.get("int8", "none"), int(option.get("quantise_ns", 0))
        if self.int8 == "all":
            self.size *= 2
        if name == "alise":
            self.high, self.low = (
                math.floor(float(option[k]) * self.blocks) for k in ("high", "low")
            )
        self.host, self.waits_for_moves = (
            int(option.get("host", 0)),
            option.get("overlap") == "false",
        )
        self.tokens, self.look_ahead, self.left, self.until_rise, self.move = (
            tokens,
            look_ahead,
            left,
            until_rise,
            move,
        )
        self.where, self.holds, self.end, self.engine = {}, {}, {}, {"out": 0, "in": 0}
        self.spent = {}

    def in_state(self, *places):
        return [i for i, place in self.where.items() if place in places]

    def need(self, i):
        return max(self.holds.get(i, 0), math.ceil(self.look_ahead(i) / self.size))

    def free(self):
        return self.blocks - sum(self.holds.values())

    def soon(self):
        return self.free() + sum(self.holds[i] for i in self.in_state("leaving"))

    def ask(self, i, way, now):
        tokens = self.tokens(i)
        took = self.move(way, tokens if self.int8 == "none" else math.ceil(tokens / 2))
        took += 0 if self.int8 == "none" else tokens * self.quantise
        self.engine[way] = self.end[i] = max(now, self.engine[way]) + took
        self.spent[i] = self.spent.get(i, 0) + took
        self.where[i] = "leaving" if way == "out" else "coming"
        if way == "in":
            self.holds[i] = math.ceil(self.look_ahead(i) / self.size)

    def over(self, now):
        done = [i for i in self.in_state("leaving", "coming") if self.end[i] <= now]
        for i in done:
            if self.where[i] == "leaving":
                self.where[i] = "outside"
                del self.holds[i]
            else:
                self.where[i] = "here"
        return done

    def decide(self, order, running, now):
        """Return the requests that can run, in order."""
        self.over(now)
        plan = self.fastserve if self.name == "fastserve" else self.alise
        plan(order, running, now)
        if self.over(now):
            plan(order, running, now)
            self.over(now)
        return [
            i
            for i in order
            if self.where.get(i) == "here" or (i not in self.where and not self.closed())
        ]

    def closed(self):
        away = sum(self.tokens(i) for i in self.in_state("outside", "leaving"))
        return self.host and self.host - away < self.host / 10

    def fastserve(self, order, running, now):
        here, moved = [i for i in order if self.where.get(i) == "here"], False
        while self.soon() < self.b and len(here) >= 2:
            self.ask(here.pop(), "out", now)
            moved = True
        able = [i for i in order if i in self.where or not self.closed()]
        for i in [] if moved else [i for i in able[: self.b] if self.where.get(i) == "outside"]:
            spare = self.b if self.in_state("here", "coming") else 0
            if self.free() - math.ceil(self.look_ahead(i) / self.size) < spare:
                break
            self.ask(i, "in", now)

    def alise(self, order, running, now):
        first = []
        while (
            len(first) < min(self.b, len(order))
            and sum(map(self.need, order[: len(first) + 1])) <= self.blocks
        ):
            first.append(order[len(first)])

        before = [0, *itertools.accumulate(map(self.left, order))]

        def key(i):
            turn = order.index(i)
            wait = 0 if i in first else before[turn] // len(first)
            return (wait if i in running else min(wait, self.until_rise(i)), turn)

        keys, full = {i: key(i) for i in order}, self.blocks - self.soon() > self.high

        def others():
            return sorted(
                (i for i in self.in_state("here") if i not in first), key=keys.get, reverse=True
            )

        for i in others() if full else []:
            if i not in running and self.blocks - self.soon() > self.low:
                self.ask(i, "out", now)
        short = False
        for i in sorted(self.in_state("outside"), key=keys.get):
            room = math.ceil(self.look_ahead(i) / self.size)
            if i in first:
                while self.soon() < room and others():
                    self.ask(others()[0], "out", now)
                if self.free() >= room:
                    self.ask(i, "in", now)
                else:
                    short = True
            elif not short and not full and self.blocks - self.free() + room <= self.low:
                self.ask(i, "in", now)

    def fit(self, runs, waits):
        return (
            sum(map(self.need, runs))
            + sum(self.holds[i] for i in [*waits, *self.in_state("coming")])
            <= self.blocks
        )

    def batch_slot(self, order, running, now):
        """Give the running requests their blocks; return the time when their step may begin."""
        idle = [i for i in order if self.where.get(i) == "here" and i not in running]
        while idle and not self.fit(running, idle):
            self.ask(idle.pop(), "out", now)
        for i in running:
            self.where[i], self.holds[i] = "here", self.need(i)
        begin, lacking = now, -self.free()
        for i in sorted(self.in_state("leaving"), key=self.end.get):
            if lacking > 0:
                begin, lacking = max(begin, self.end[i]), lacking - self.holds[i]
        return max(begin, *self.engine.values()) if self.waits_for_moves else begin

    def next_end(self, now):
        return min(
            [self.end[i] for i in self.in_state("leaving", "coming") if self.end[i] > now],
            default=math.inf,
        )

    def done(self, i):
        del self.where[i], self.holds[i]
