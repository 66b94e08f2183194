"""Independent policies `alise` and `fastserve`, as docs/reference/model.md defines them.

They serve the second simulator, and use nothing of the first. A request is its number. `of` holds
functions of a request: `prompt`, `tokens` (emitted), `served`, `arrival`, `begun` and `predicted`
(length).
"""

import math
from bisect import bisect_left


class SecondAlise:
    """Ranks by (queue, T), or (0, arrival).

    `time` is (T_0, alpha, beta, rounds, tokens, prefill) of the time model.
    """

    def __init__(self, of, time, *, form, overrun, bounds, age):
        self.of, self.form, self.overrun, self.bounds, self.age = of, form, overrun, bounds, age
        self.t_0, self.alpha, self.beta, self.rounds, self.per, self.prefill = time
        self.longer = {}

    def remaining(self, i):
        s, t = self.of.prompt(i), self.of.tokens(i)
        n = max(0, self.longer.get(i, self.of.predicted(i)) - t)
        contexts = n * s if self.form == "published" else (s + t + s + t + n - 1) * n // 2
        before = self.t_0 * s if self.form == "published" else self.prefill(s - 1) if s > 1 else 0
        decoding = (self.alpha * contexts + n * self.beta) * self.rounds // self.per
        return decoding + (0 if self.of.begun(i) else before)

    def level_of(self, i):
        return 0  # it has no levels

    def level(self, i, now):
        queue = bisect_left(self.bounds, self.remaining(i)) + 1
        waited = now - self.of.arrival(i) - self.of.served(i)
        return queue if self.age is None else max(0, queue - waited // self.age)

    def rank(self, i, now):
        level = self.level(i, now)
        return (level, self.remaining(i)) if level else (0, self.of.arrival(i))

    def on_round(self, i, now, spent):
        length = self.longer.get(i, self.of.predicted(i))
        if self.overrun > 1 and self.of.tokens(i) >= length:
            self.longer[i] = max(self.of.tokens(i) + 1, math.ceil(length * self.overrun))

    def until_rise(self, i, now):
        if self.age is None or not self.level(i, now):
            return math.inf
        return self.age - (now - self.of.arrival(i) - self.of.served(i)) % self.age


class SecondFastServe:
    """Ranks by (level, whether it joined at the end, time of entry into the level).

    `quanta` are in ns, the last one is 2^62; `prefill` is the profile's.
    """

    def __init__(self, of, prefill, *, quanta, starve):
        self.of, self.prefill, self.quanta, self.starve = of, prefill, quanta, starve
        self.level, self.entered, self.before, self.last = {}, {}, {}, {}  # entered: in front

    def level_of(self, i):
        return self.level.get(i, 0)

    def joins(self, i):
        s = self.of.prompt(i)
        return next(
            j for j, q in enumerate(self.quanta) if (self.prefill(s - 1) if s > 1 else 0) <= q
        )

    def starves(self, i):
        return self.last.get(i, self.of.arrival(i)) + self.starve

    def rank(self, i, now):
        if self.starves(i) <= now:
            return (0, 0, -self.starves(i))
        return (
            (self.level[i], 0, -self.entered[i])
            if i in self.entered
            else (self.level.get(i, self.joins(i)), 1, self.of.arrival(i))
        )

    def remaining(self, i):
        spent = self.of.served(i) - self.before[i] if i in self.level else 0
        return max(0, self.quanta[self.level.get(i, self.joins(i))] - spent)

    def on_round(self, i, now, spent):
        """Update the request after a round that took `spent` and ends now."""
        begun = now - spent
        if i not in self.level:
            self.level[i], self.before[i] = self.joins(i), 0
        if self.starves(i) <= begun:
            self.level[i], self.entered[i], self.before[i] = 0, now, self.of.served(i) - spent
        if self.of.served(i) - self.before[i] > self.quanta[self.level[i]]:
            self.level[i], self.entered[i], self.before[i] = (
                self.level[i] + 1,
                now,
                self.of.served(i),
            )
        self.last[i] = now

    def until_rise(self, i, now):
        return self.starves(i) - now if self.starves(i) > now else math.inf
