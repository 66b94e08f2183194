"""Importer of public Spec-Bench answer files: a turn of a question becomes a request.

An answer file holds, per question, the tokens each round emitted (accepted draft tokens + 1) in one flat list
over all turns, and each turn's wall time; neither draft lengths nor prompt lengths. Draft lengths are
reconstructed by the schedule that made the file, prompt lengths estimated from the questions' text. A
`wall_time_fit` profile is fitted to the wall times. Format: Spec-Bench (hemingkx/Spec-Bench, Apache-2.0).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import FormatError
from traces.json_lines import json_lines
from traces.profile import Costs, Linear, Profile, RoundTerms
from traces.trace import Trace, trace_from_rounds


@dataclass(frozen=True)
class DraftSchedule:
    """How many tokens were drafted in each round of a turn.

    `constant:n`, or `heuristic:n` (transformers' own): n at the start of a turn, two more after a round that
    accepted all, else one fewer, at least 1.
    """

    kind: str
    n: int

    @classmethod
    def parse(cls, text: str) -> "DraftSchedule":
        """From `heuristic:5` or `constant:4`."""
        kind, _, number = text.partition(":")
        if kind not in ("heuristic", "constant"):
            raise ValueError(
                f"draft schedule {text!r}: known are heuristic:n and constant:n (a tree draft has no linear length)"
            )
        if not number.isdecimal() or not 1 <= int(number) <= 1_000:
            raise ValueError(f"draft schedule {text!r}: n must be an integer from 1 to 1000")
        return cls(kind, int(number))

    def __str__(self) -> str:
        return f"{self.kind}:{self.n}"

    def drafted(self, accepted: Sequence[int]) -> list[int]:
        """Draft lengths of a turn whose rounds accepted `accepted`.

        Raises
        ------
        ValueError
            Naming the first round that accepted more than was drafted.
        """
        n, lengths = self.n, []
        for i, a in enumerate(accepted):
            if a > n:
                raise ValueError(
                    f"round {i} accepted {a} draft tokens where {self} had drafted {n}: another --draft-schedule, "
                    "or a tree draft, which has no linear length"
                )
            lengths.append(n)
            if self.kind == "heuristic":
                n = n + 2 if a == n else max(1, n - 1)
        return lengths


@dataclass(frozen=True)
class Imported:
    """A trace and the profile fitted to its wall times (None where the file holds none)."""

    trace: Trace
    profile: Profile | None


def import_spec_bench(
    path: str | Path, *, questions: str | Path | None = None, draft_schedule: str = "heuristic:5"
) -> Imported:
    """Read a Spec-Bench answer file (JSON lines, `.gz` allowed).

    Parameters
    ----------
    questions : the question file, to estimate prompt lengths; None: they are 0.

    Raises
    ------
    ValueError
        Naming the file, the line and what is wrong with it.
    """
    path, schedule = Path(path), DraftSchedule.parse(draft_schedule)
    answers = list(json_lines(path))
    if not answers:
        raise FormatError(f"{path}: holds no answers")
    asked = None if questions is None else _questions(Path(questions))
    ratio = _tokens_per_character(answers)
    rows = [
        row for number, answer in answers for row in _turns(answer, schedule, asked, ratio, f"{path}, line {number}")
    ]
    metadata = {
        "source": f"Spec-Bench, {answers[0][1].get('model_id', 'unknown model')}",
        "imported_from": path.name,
        "draft_schedule": str(schedule),
        "estimated": ["drafted (reconstructed by the schedule)"]
        + ([] if asked is None else ["prompt_tokens (characters of the conversation so far, without its template)"]),
        "missing": ["prompt_tokens (0)"] if asked is None else [],
    }
    trace = trace_from_rounds(rows, metadata, source=str(path))
    wall = np.array([row["wall_time"] for row in rows], dtype=float)
    return Imported(trace, fit_wall_times(trace, wall) if np.all(wall > 0) else None)


def _questions(path: Path) -> dict[Any, list[str]]:
    found = {}
    for number, record in json_lines(path):
        turns = record.get("turns")
        if not isinstance(turns, list) or not all(isinstance(t, str) for t in turns):
            raise FormatError(f"{path}, line {number}: 'turns' is no list of texts")
        found[record.get("question_id")] = turns
    return found


def _choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _tokens_per_character(answers: Sequence[tuple[int, Mapping[str, Any]]]) -> float:
    """From the answers themselves: their texts are in the file, with their token counts."""
    tokens = characters = 0
    for _, answer in answers:
        choice = _choice(answer)
        texts, counts = choice.get("turns"), choice.get("new_tokens")
        if isinstance(texts, list) and isinstance(counts, list):
            characters += sum(len(t) for t in texts if isinstance(t, str))
            tokens += sum(c for c in counts if isinstance(c, int))
    return tokens / characters if characters else 0.25


def _turns(
    answer: Mapping[str, Any],
    schedule: DraftSchedule,
    asked: Mapping[Any, list[str]] | None,
    tokens_per_character: float,
    place: str,
) -> Iterator[dict[str, Any]]:
    choice = _choice(answer)
    steps, new, flat = (_integers(choice, key, place) for key in ("decoding_steps", "new_tokens", "accept_lengths"))
    if len(steps) != len(new):
        raise FormatError(f"{place}: {len(steps)} turns in 'decoding_steps', {len(new)} in 'new_tokens'")
    if sum(steps) != len(flat) or min(steps, default=0) < 1:
        raise FormatError(f"{place}: 'decoding_steps' adds up to {sum(steps)}, 'accept_lengths' holds {len(flat)}")
    if min(flat, default=1) < 1:
        raise FormatError(f"{place}: an element of 'accept_lengths' is below 1")
    question = answer.get("question_id")
    if asked is not None and len(asked.get(question, ())) < len(steps):
        raise FormatError(f"{place}: question {question!r} has fewer turns in the questions file than were answered")
    walls, end, context = choice.get("wall_time"), 0, 0.0
    for turn, (count, tokens) in enumerate(zip(steps, new, strict=True)):
        accepted = [length - 1 for length in flat[end : end + count]]
        end += count
        try:
            drafted = schedule.drafted(accepted)
        except ValueError as error:
            raise FormatError(f"{place}, turn {turn}: {error}") from error
        if asked is not None:
            context += len(asked[question][turn]) * tokens_per_character
        wall = walls[turn] if isinstance(walls, list) and turn < len(walls) else 0
        yield {
            "request_id": f"{question}-{turn}",
            "dataset": str(answer.get("category", "unknown")),
            "prompt_tokens": round(context),
            "output_tokens": tokens,
            "drafted": drafted,
            "accepted": accepted,
            "wall_time": wall if isinstance(wall, int | float) else 0,
        }
        context += tokens if asked is not None else 0


def _integers(choice: Mapping[str, Any], key: str, place: str) -> list[int]:
    values = choice.get(key)
    if not isinstance(values, list) or not all(type(v) is int and 0 <= v < 2**15 for v in values) or not values:
        raise FormatError(f"{place}: 'choices[0].{key}' is no list of integers from 0 to {2**15 - 1}")
    return values


def fit_wall_times(trace: Trace, wall_s: NDArray[np.float64]) -> Profile:
    """Cost of a round and of a draft token from whole requests' wall times, (R,), by non-negative least squares.

    Errors are relative to each wall time, so that long turns do not decide alone. Prefill, context and
    switching cannot be told apart in wall times: they are part of the round, or 0.
    """
    from scipy.optimize import nnls

    design = np.column_stack([trace.rounds, trace.per_request(trace.drafted)]).astype(float)
    (per_round, per_token), _ = nnls(design / wall_s[:, None], np.ones(len(wall_s)))
    error = np.abs(design @ [per_round, per_token] / wall_s - 1)
    zero = Linear(0, 0)
    costs = Costs(
        rounds={1: RoundTerms(Linear(round(per_token * 1e9), 0), {1: max(1, round(per_round * 1e9))}, {1: 0}, 0)},
        prefill=zero,
        swap_out=zero,
        swap_in=zero,
    )
    fits = {
        "request": {
            "median_error": float(np.median(error)),
            "p90_error": float(np.percentile(error, 90)),
            "samples": len(error),
        }
    }
    stamp = {"source": trace.metadata.get("source"), "missing": ["prefill", "swap_out", "swap_in", "context"]}
    return Profile("wall_time_fit", "pretrained", costs, fits, stamp)
