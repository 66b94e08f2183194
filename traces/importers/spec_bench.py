"""Public answer files of Spec-Bench: each turn of a question becomes a request.

For each question, an answer file holds the tokens that each round emitted (accepted draft tokens +
1), in one flat list over all turns, and the wall time of each turn. It holds neither draft lengths
nor prompt lengths. Draft lengths are reconstructed from the schedule that made the file, and prompt
lengths are estimated from the text of the questions. A `wall_time_fit` profile is fitted to the
wall times. Format: Spec-Bench (hemingkx/Spec-Bench, Apache-2.0).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lapsd.traces.derived.draft_schedule import DraftSchedule
from lapsd.traces.errors import FormatError
from lapsd.traces.files.json_lines import json_lines
from lapsd.traces.importers.importer import Imported, Importer
from lapsd.traces.importers.wall_times import fit_wall_times
from lapsd.traces.invariants import trace_from_rounds
from lapsd.traces.provenance import Provenance

SHORTEST_S, LONGEST_S = 1e-6, 1e6  # wall time of a turn


@dataclass(frozen=True)
class SpecBench(Importer):
    """Import a public Spec-Bench answer file as a trace, and fit a profile to its wall times.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> from lapsd.traces.importers import SpecBench
    >>> turn = {
    ...     "turns": ["Blue."],
    ...     "decoding_steps": [3],
    ...     "new_tokens": [10],
    ...     "wall_time": [0.3],
    ... }
    >>> document = {"question_id": 1, "choices": [turn | {"accept_lengths": [6, 3, 1]}]}
    >>> done = Path("answers.jsonl").write_text(json.dumps(document))
    >>> SpecBench().read("answers.jsonl").trace.drafted
    array([5, 7, 6])
    """

    name: ClassVar[str] = "spec-bench"
    file: ClassVar[str] = "A Spec-Bench answer file (JSON lines, .gz allowed)."

    questions: Path | None = field(
        default=None, metadata={"help": "The question file, to estimate prompt lengths."}
    )
    draft_schedule: str = field(
        default="heuristic:5",
        metadata={
            "help": (
                "How draft lengths were chosen: heuristic:n (transformers' default) or constant:n."
            )
        },
    )

    def __post_init__(self) -> None:
        DraftSchedule.parse(self.draft_schedule)

    def read(self, path: str | Path) -> Imported:
        """See `Importer.read`."""
        path, schedule = Path(path), DraftSchedule.parse(self.draft_schedule)
        answers = list(json_lines(path))
        if not answers:
            raise FormatError(f"{path}: holds no answers")
        turns = [
            turn for number, answer in answers for turn in _turns(answer, f"{path}, line {number}")
        ]
        longest = max(max(turn.accepted) for turn in turns)
        prompts = [0] * len(turns)
        if self.questions is not None:
            prompts = _prompt_tokens(
                turns, _questions(self.questions), _tokens_per_character(answers)
            )
        rows = [
            {
                "request_id": f"{turn.question}-{turn.number}",
                "dataset": turn.category,
                "prompt_tokens": prompt,
                "output_tokens": turn.tokens,
                "drafted": _drafted(turn, schedule, longest),
                "accepted": turn.accepted,
            }
            for turn, prompt in zip(turns, prompts, strict=True)
        ]
        known = self.questions is not None
        estimate = "prompt_tokens (characters of the conversation so far, without its template)"
        provenance = Provenance(
            source=f"Spec-Bench, {answers[0][1].get('model_id', 'unknown model')}",
            imported_from=path.name,
            estimated=("drafted (reconstructed by the schedule)", *([estimate] if known else [])),
            missing=() if known else ("prompt_tokens (0)",),
            notes={"draft_schedule": str(schedule)},
        )
        trace = trace_from_rounds(rows, provenance, source=str(path))
        prompt_note = (
            "prompt lengths are estimated from the questions' characters"
            if known
            else "prompt lengths are not in the file: 0 (give the questions to estimate them)"
        )
        wall_s = np.array([turn.wall_s for turn in turns])
        if not np.all(wall_s > 0):
            return Imported(trace, notes=(prompt_note, "the file holds no wall times: no profile"))
        return Imported(trace, fit_wall_times(trace, wall_s), (prompt_note,))


@dataclass(frozen=True)
class _Turn:
    """One turn of an answer.

    Attributes
    ----------
    source : file and line, for messages
    question : id of the question
    number : number of the turn
    category : category of the question
    accepted : draft tokens accepted in each round
    tokens : tokens of output
    wall_s : wall time in seconds; 0 if the file has none
    """

    source: str
    question: int | str
    number: int
    category: str
    accepted: list[int]
    tokens: int
    wall_s: float


def _turns(answer: Mapping[str, Any], source: str) -> Iterator[_Turn]:
    choice = _choice(answer)
    steps, new, flat = (
        _integers(choice, key, source) for key in ("decoding_steps", "new_tokens", "accept_lengths")
    )
    if len(steps) != len(new):
        raise FormatError(
            f"{source}: {len(steps)} turns in 'decoding_steps', {len(new)} in 'new_tokens'"
        )
    if sum(steps) != len(flat) or min(steps) < 1:
        raise FormatError(
            f"{source}: 'decoding_steps' adds up to {sum(steps)}, 'accept_lengths' holds"
            f" {len(flat)}"
        )
    if min(flat) < 1:
        raise FormatError(f"{source}: an element of 'accept_lengths' is below 1")
    walls, begin = choice.get("wall_time"), 0
    for turn, (rounds, tokens) in enumerate(zip(steps, new, strict=True)):
        wall: Any = walls[turn] if isinstance(walls, list) and turn < len(walls) else None
        accepted = [emitted - 1 for emitted in flat[begin : begin + rounds]]
        begin += rounds
        yield _Turn(
            source,
            _question(answer),
            turn,
            str(answer.get("category") or "unknown"),
            accepted,
            tokens,
            _wall_s(wall, source),
        )


def _wall_s(wall: Any, source: str) -> float:
    """Return the wall time of a turn in seconds; 0 without one."""
    if type(wall) not in (int, float) or wall <= 0:
        return 0.0
    if not SHORTEST_S <= wall <= LONGEST_S:
        raise FormatError(
            f"{source}: {wall:g} s in 'choices[0].wall_time': must be between {SHORTEST_S:g} and"
            f" {LONGEST_S:g} s"
        )
    return float(wall)


def _choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    return (
        choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    )


def _question(record: Mapping[str, Any]) -> int | str:
    number = record.get("question_id")
    return number if isinstance(number, int | str) else str(number)


def _integers(choice: Mapping[str, Any], key: str, source: str) -> list[int]:
    values = choice.get(key)
    if (
        not isinstance(values, list)
        or not all(type(v) is int and 0 <= v < 2**15 for v in values)
        or not values
    ):
        raise FormatError(
            f"{source}: 'choices[0].{key}' is not a list of integers from 0 to {2**15 - 1}"
        )
    return values


def _drafted(turn: _Turn, schedule: DraftSchedule, longest: int) -> list[int]:
    try:
        return schedule.drafted(turn.accepted)
    except ValueError as error:
        # newer assisted generation ends a draft if the draft model is unsure, which no file records
        raise FormatError(
            f"{turn.source}, turn {turn.number}: {error}. Draft lengths of other schedules, or of"
            f" trees, cannot be reconstructed; draft_schedule constant:{longest} (the largest"
            f" number of accepted tokens) assumes {longest} draft tokens in every round"
        ) from error


def _questions(path: str | Path) -> tuple[Path, dict[int | str, list[str]]]:
    """Return the path of the file, and the turns of each question."""
    asked = {}
    for number, record in json_lines(Path(path)):
        turns = record.get("turns")
        if not isinstance(turns, list) or not all(isinstance(t, str) for t in turns):
            raise FormatError(f"{path}, line {number}: 'turns' is not a list of texts")
        asked[_question(record)] = turns
    return Path(path), asked


def _tokens_per_character(answers: Sequence[tuple[int, Mapping[str, Any]]]) -> float:
    """Return tokens per character of the answers, whose texts and token counts are in the file."""
    tokens = characters = 0
    for _, answer in answers:
        choice = _choice(answer)
        texts, new = choice.get("turns"), choice.get("new_tokens")
        if isinstance(texts, list) and isinstance(new, list):
            characters += sum(len(t) for t in texts if isinstance(t, str))
            tokens += sum(n for n in new if isinstance(n, int))
    return tokens / characters if characters else 0.25


def _prompt_tokens(
    turns: Sequence[_Turn],
    questions: tuple[Path, Mapping[int | str, list[str]]],
    tokens_per_character: float,
) -> list[int]:
    """Return the estimated prompt length of each turn: the conversation up to its question.

    Tokens of questions are estimated from their characters; tokens of answers are in the file.
    """
    path, asked = questions
    prompts, context = [], 0.0
    for turn in turns:
        if turn.question not in asked:
            raise FormatError(f"{turn.source}: question {turn.question!r} is not in {path}")
        if turn.number >= len(asked[turn.question]):
            raise FormatError(
                f"{turn.source}: question {turn.question!r} has fewer turns in {path} than were"
                " answered"
            )
        context = (context if turn.number else 0.0) + len(
            asked[turn.question][turn.number]
        ) * tokens_per_character
        prompts.append(round(context))
        context += turn.tokens
    return prompts
