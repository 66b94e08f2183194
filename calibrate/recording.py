"""Decode requests, and record the rounds of each."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lapsd.calibrate.budget import Budget
from lapsd.calibrate.decoding.decoder import Generation, generate
from lapsd.calibrate.decoding.replayable import replayable
from lapsd.calibrate.models.loading import Pair
from lapsd.calibrate.prompts import Prompt
from lapsd.calibrate.requests import Settings, Tokenized
from lapsd.traces.trace import POSITION_COLUMNS

ROUND_COLUMNS = ("drafted", "accepted", "emitted", "context", "draft_ns", "verify_ns", "total_ns")
DECODING = 0.5  # the share of a time budget after which no further requests are decoded
LEAST = 2  # requests of each prompt set that are decoded under any budget


class Progress(Protocol):
    """Is told about stages: what is done, steps done, steps in total, expected time in words."""

    def __call__(self, what: str, done: int, total: int, takes: str = "") -> None: ...


class Log(Protocol):
    """A store of records, one per decoded request, such as `lapsd.calibrate.journal.Journal`."""

    records: list[dict[str, Any]]

    def append(self, record: dict[str, Any]) -> None: ...


class MemoryLog:
    """A `Log` in memory."""

    def __init__(self, records: Sequence[dict[str, Any]] = ()) -> None:
        self.records = list(records)

    def append(self, record: dict[str, Any]) -> None:
        self.records.append(record)


def silent(what: str, done: int, total: int, takes: str = "") -> None:
    """A `Progress` that does nothing."""


def decode(
    pair: Pair,
    requests: Sequence[Tokenized],
    settings: Settings,
    log: Log,
    progress: Progress = silent,
    budget: Budget | None = None,
) -> int:
    """Decode the requests that `log` does not hold yet, and append one record for each to it.

    A record also holds the columns that allow a replay at other draft lengths (`replayable`). Each
    draft length has an equal part of the share `DECODING` of the budget. When it is used up, the
    remaining requests are left out, as many of each prompt set, but never the first `LEAST`.

    Returns
    -------
    The number of requests, from the first on, that were decoded at every draft length.
    """
    budget = budget or Budget()
    sampling, lengths = settings.sampling, settings.draft_tokens
    sets = max(1, len(requests) // settings.requests)
    have = Counter(record["draft_tokens"] for record in log.records)
    usable, total = len(requests), len(requests) * len(lengths)
    for part, n in enumerate(lengths, 1):
        until = budget.until(DECODING * part / len(lengths))
        if have[n] < usable:  # warm-up
            ids = requests[have[n]][1]
            generate(
                pair, ids, n=n, max_new_tokens=min(16, settings.max_new_tokens), sampling=sampling
            )
        for i in range(have[n], usable):
            if i % sets == 0 and i >= LEAST * sets and time.monotonic() > until:
                break
            prompt, ids = requests[i]
            progress("decoding requests", sum(have.values()), total, budget.at_most(DECODING))
            done = generate(
                pair, ids, n=n, max_new_tokens=settings.max_new_tokens, sampling=sampling, request=i
            )
            columns = replayable(pair, ids, done.tokens, sampling.temperature)
            log.append(_record(prompt, n, done) | columns._asdict())
            have[n] += 1
        usable = min(usable, have[n])
    return usable


def first_of_each(records: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return the first `count` records of each draft length, in the order of decoding."""
    seen: Counter[int] = Counter()
    kept = []
    for record in records:
        seen[record["draft_tokens"]] += 1
        if seen[record["draft_tokens"]] <= count:
            kept.append(record)
    return kept


def _record(prompt: Prompt, n: int, done: Generation) -> dict[str, Any]:
    return {
        "request_id": prompt.request_id,
        "dataset": prompt.dataset,
        "draft_tokens": n,
        "prompt_tokens": done.prompt_tokens,
        "prefill_ns": done.prefill_ns,
        "tokens": done.tokens,
        "rounds": [[getattr(r, name) for name in ROUND_COLUMNS] for r in done.rounds],
    }


def trace_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a trace for one record; older journals lack a column by position."""
    drafted, accepted = (
        [r[ROUND_COLUMNS.index(name)] for r in record["rounds"]] for name in ("drafted", "accepted")
    )
    return {
        **{
            name: record[name]
            for name in ("request_id", "dataset", "prompt_tokens", *POSITION_COLUMNS)
            if name in record
        },
        "output_tokens": len(record["tokens"]),
        "drafted": drafted,
        "accepted": accepted,
    }
