"""A calibration: decode real prompts speculatively, time everything, and make a trace and a profile of it."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from calibrate import measure
from calibrate.decode import Generation, Sampling, generate
from calibrate.exactness import greedy_regret
from calibrate.fit import errors, fit_linear
from calibrate.models import Pair
from calibrate.prompts import Prompt
from calibrate.replayable import replayable
from calibrate.stamp import stamp
from traces import Costs, Profile, Trace, trace_from_rounds

GREEDY_CHECKS = 6  # requests whose greedy output is held to the target's own
Progress = Callable[[str, int, int], None]  # what is done now, how much of it, out of how much


@dataclass(frozen=True)
class Settings:
    """How a calibration runs; `requests` is per prompt set."""

    draft_tokens: int = 4
    max_new_tokens: int = 512
    requests: int = 40
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        bounds = {
            "draft tokens": (self.draft_tokens, 1_000),
            "max new tokens": (self.max_new_tokens, 2**15),
            "requests": (self.requests, 10**7),
        }
        for name, (value, most) in bounds.items():
            if not 1 <= value <= most:
                raise ValueError(f"{name} {value}: must be between 1 and {most}")

    @property
    def described(self) -> dict[str, Any]:
        """As they stand in the files."""
        return {
            "draft_tokens": self.draft_tokens,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.sampling.temperature,
            "seed": self.sampling.seed,
        }


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was measured.

    Attributes
    ----------
    rounds : DataFrame
        The raw timings, a row a round: request_id, round, drafted, accepted, context, draft_ns, verify_ns, total_ns.
    """

    trace: Trace
    profile: Profile
    rounds: pd.DataFrame


def tokenize(
    pair: Pair, prompts: Sequence[Prompt], settings: Settings, *, leave_out: bool
) -> list[tuple[Prompt, list[int]]]:
    """The first `settings.requests` prompts that fit into the models' context, as token ids.

    Parameters
    ----------
    leave_out : skip prompts that are too long instead of refusing them.

    Raises
    ------
    ValueError
        Naming the first prompt that does not fit, or if too few are there.
    """
    room = pair.context - settings.max_new_tokens - settings.draft_tokens - 1
    if room < 1:
        raise ValueError(
            f"max new tokens {settings.max_new_tokens}: leaves no room for a prompt in a context of {pair.context} "
            f"(at most {pair.context - settings.draft_tokens - 2})"
        )
    chosen = []
    for prompt in prompts:
        ids = pair.tokenizer(prompt.text)["input_ids"]
        if 1 <= len(ids) <= room:
            chosen.append((prompt, ids))
        elif not leave_out:
            raise ValueError(
                f"prompt {prompt.request_id}: {len(ids)} tokens, but a context of {pair.context} leaves room for "
                f"1 to {room} (lower the number of new tokens, or leave the prompt out)"
            )
        if len(chosen) == settings.requests:
            return chosen
    raise ValueError(f"requests {settings.requests}: only {len(chosen)} prompts of {prompts[0].dataset} are there")


def calibrate(
    pair: Pair,
    prompt_sets: Sequence[Sequence[tuple[Prompt, list[int]]]],
    settings: Settings,
    *,
    progress: Progress = lambda what, done, total: None,
    command: str = "",
) -> Calibration:
    """Decode every prompt, sets interleaved, then time what rounds do not show.

    Parameters
    ----------
    prompt_sets : tokenized prompts, one sequence a set.
    progress : called often with (phase, done, total).
    command : as the user typed it, for the record.
    """
    order = [p for group in itertools.zip_longest(*prompt_sets) for p in group if p is not None]
    n, sampling = settings.draft_tokens, settings.sampling
    generate(pair, order[0][1], n=n, max_new_tokens=16, sampling=sampling)  # warm up
    done: list[Generation] = []
    for i, (_, ids) in enumerate(order):
        progress("decoding", i, len(order))
        done.append(generate(pair, ids, n=n, max_new_tokens=settings.max_new_tokens, sampling=sampling, request=i))
    rounds = _round_frame(order, done)
    costs, fits = _costs(pair, settings, rounds, done, progress)
    told = stamp(pair, command) | settings.described | _greedy_check(pair, settings, order, done)
    metadata = {"source": f"lapsd calibrate, {pair.target_name} + {pair.draft_name}", **told}
    rows = []
    for i, ((prompt, ids), generation) in enumerate(zip(order, done, strict=True)):
        progress("looking back", i, len(order))
        columns = replayable(pair, ids, generation.tokens, sampling.temperature)
        rows.append(_trace_row(prompt, generation) | columns._asdict())
    trace = trace_from_rounds(rows, metadata)
    return Calibration(trace, Profile("measured", pair.weights, costs, fits, told), rounds)


def _greedy_check(
    pair: Pair, settings: Settings, order: Sequence[tuple[Prompt, list[int]]], done: Sequence[Generation]
) -> dict[str, Any]:
    """How the first greedy outputs compare with the target's own choices; nothing for sampled ones."""
    if settings.sampling.temperature:
        return {}
    first = list(zip(order, done, strict=True))[:GREEDY_CHECKS]
    regrets = [greedy_regret(pair, ids, g.tokens, settings.draft_tokens) for (_, ids), g in first]
    return {
        "greedy_check": {
            "exact": all(r.exact for r in regrets),
            "requests": len(regrets),
            "tokens": sum(r.tokens for r in regrets),
            "ties": sum(r.ties for r in regrets),
            "worst_regret": max(r.worst for r in regrets),
            "tolerance": max(r.tolerance for r in regrets),
        }
    }


def _trace_row(prompt: Prompt, generation: Generation) -> dict[str, Any]:
    return {
        "request_id": prompt.request_id,
        "dataset": prompt.dataset,
        "prompt_tokens": generation.prompt_tokens,
        "output_tokens": len(generation.tokens),
        "drafted": [r.drafted for r in generation.rounds],
        "accepted": [r.accepted for r in generation.rounds],
    }


def _round_frame(order: Sequence[tuple[Prompt, list[int]]], done: Sequence[Generation]) -> pd.DataFrame:
    columns = ("request_id", "round", "drafted", "accepted", "context", "draft_ns", "verify_ns", "total_ns")
    rows = [
        (prompt.request_id, i, r.drafted, r.accepted, r.context, r.draft_ns, r.verify_ns, r.total_ns)
        for (prompt, _), generation in zip(order, done, strict=True)
        for i, r in enumerate(generation.rounds)
    ]
    return pd.DataFrame(rows, columns=list(columns))


def _costs(
    pair: Pair, settings: Settings, rounds: pd.DataFrame, done: Sequence[Generation], progress: Progress
) -> tuple[Costs, dict[str, Any]]:
    """Terms of a round from the rounds themselves; the others from measurements of their own."""
    n = settings.draft_tokens
    longest = min(pair.context, 4_096) - 2 * n - 2
    ticks = itertools.count(1)
    total = measure.steps_of(longest)

    def tick() -> None:
        progress("timing", min(next(ticks), total), total)

    context = rounds["context"].to_numpy()
    draft = fit_linear(context, rounds["draft_ns"].to_numpy() // n)
    verify = fit_linear(context, rounds["verify_ns"].to_numpy(), least=1)
    host = (rounds["total_ns"] - rounds["draft_ns"] - rounds["verify_ns"]).median()
    wanted = sorted(w for w in {1, 2, n + 1, 2 * n + 1} if w < pair.context)
    widths = measure.verify_widths(pair, wanted, longest, tick)
    prefill = measure.prefills(pair, longest, tick)
    # prompts as they came weigh the fit where requests lie, a sweep over lengths gives it reach
    prompts = [(g.prompt_tokens - 1, g.prefill_ns) for g in done if g.prompt_tokens > 1]
    real = np.array(prompts, dtype=np.int64).reshape(-1, 2)
    cached, prefill_ns = np.append(real[:, 0], prefill.tokens), np.append(real[:, 1], prefill.ns)
    out, back = measure.swaps(pair, longest, tick)
    fitted = {"prefill": fit_linear(cached, prefill_ns), "swap_out": fit_linear(out.tokens, out.ns),
              "swap_in": fit_linear(back.tokens, back.ns)}  # fmt: skip
    costs = Costs(
        draft_step=draft.term,
        # passes of other widths were timed outside rounds: scaled by what the round's own width costs inside
        verify_base_ns={w: max(1, verify.term.base_ns * ns // widths[n + 1]) for w, ns in widths.items()},
        verify_per_token_ns=verify.term.per_token_ns,
        host_ns=round(host),
        **{name: fit.term for name, fit in fitted.items()},
    )
    fits = {"draft_step": draft.quality | _percentiles(rounds["draft_ns"] // n),
            f"verify_{n + 1}": verify.quality | _percentiles(rounds["verify_ns"]),
            **{name: fit.quality for name, fit in fitted.items()}}  # fmt: skip
    fits["round"] = _closure(costs, n, rounds)
    return costs, fits


def _percentiles(ns: "pd.Series[int]") -> dict[str, Any]:
    """The distribution of a term's samples, whatever their context."""
    shown = (1, 10, 50, 90, 99)
    return {"percentiles_ns": {str(p): round(v) for p, v in zip(shown, np.percentile(ns, shown), strict=True)}}


def _closure(costs: Costs, n: int, rounds: pd.DataFrame) -> dict[str, Any]:
    """How well the terms together predict the rounds: each one, and the time of all of them."""
    cost = RoundCost(costs.rounds)
    predicted = np.array([cost(n, int(c)) for c in rounds["context"]], dtype=float)
    measured = rounds["total_ns"].to_numpy(dtype=float)
    return errors(predicted, measured) | {"total_error": float(predicted.sum() / measured.sum() - 1)}
