"""Importers of acceptances that serving engines and their benchmarks write.

`vllm`: per request the draft tokens accepted at each step (`per_step_accepted`). `specdecode-bench`: per output
position the tokens that a round started there would emit (`acc_len`), which replays at any draft length.
"""

from pathlib import Path
from typing import Any

from traces.errors import FormatError
from traces.json_lines import count, counts, first_of, json_lines
from traces.trace import Trace, trace_from_rounds

IDS = ("request_id", "id", "question_id", "index")
PROMPTS = ("prompt_tokens", "num_prompt_tokens", "prompt_len", "input_len")
OUTPUTS = ("output_tokens", "num_output_tokens", "completion_tokens", "output_len")
DRAFTS = ("draft_tokens", "num_speculative_tokens", "num_draft_tokens")
DATASETS = ("dataset", "category", "task")


def import_vllm(path: str | Path, *, draft_tokens: int | None = None) -> Trace:
    """Read per-request `per_step_accepted` lists (JSON lines, `.gz` allowed).

    Each entry counts the draft tokens accepted in a step, without the target's own token after them. Where an output
    is one token longer than its steps emit, the first came from prefill, as in vLLM: it is counted to the prompt.

    Parameters
    ----------
    draft_tokens : tokens drafted a step, where the records do not say.

    Raises
    ------
    FormatError
        Naming file, line and field.
    """
    path, rows, from_prefill = Path(path), [], 0
    missing: set[str] = set()
    for number, record in json_lines(path):
        source = f"{path}, line {number}"
        accepted = counts(record.get("per_step_accepted"), "per_step_accepted", source)
        n = first_of(record, DRAFTS, draft_tokens)
        if n is None:
            raise FormatError(f"{source}: does not say how many tokens were drafted a step (give --draft-tokens)")
        n = count(n, "draft_tokens", source, 1)
        if max(accepted) > n:
            raise FormatError(f"{source}, field 'per_step_accepted': {max(accepted)} accepted of {n} drafted")
        emitted = sum(accepted) + len(accepted)
        output = count(first_of(record, OUTPUTS, emitted), "output_tokens", source, 1)
        prompt = _prompt(record, source, missing)
        if output == emitted + 1:
            prompt, output, from_prefill = prompt + 1, emitted, from_prefill + 1
        if not emitted - accepted[-1] <= output <= emitted:
            raise FormatError(f"{source}, field 'output_tokens': {output}, but the steps emit {emitted}")
        # a step that ran past the end counts only what became output
        accepted[-1] = min(accepted[-1], accepted[-1] + 1 - (emitted - output))
        rows.append(_named(record, number) | {"prompt_tokens": prompt, "output_tokens": output, "accepted": accepted,
                                              "drafted": [n] * len(accepted)})  # fmt: skip
    note = {"estimated": [f"{from_prefill} requests: the token that prefill emits is counted to the prompt"]}
    return _trace(rows, path, "vLLM", missing, note if from_prefill else {})


def import_specdecode_bench(path: str | Path, *, draft_tokens: int = 4) -> Trace:
    """Read per-position `acc_len` lists (JSON lines, `.gz` allowed), kept for replays at any draft length.

    Parameters
    ----------
    draft_tokens : the draft length that the trace's own rounds have: `pos += min(acc_len[pos], n + 1)`.

    Raises
    ------
    FormatError
        Naming file, line and field.
    """
    count(draft_tokens, "draft_tokens", str(path), 1)
    path, rows = Path(path), []
    missing: set[str] = set()
    for number, record in json_lines(path):
        source = f"{path}, line {number}"
        lengths = counts(record.get("acc_len"), "acc_len", source, 1)
        # a round's own last token is the target's: what is acceptable is one less, and ends with the output
        acceptable = [min(a - 1, len(lengths) - i) for i, a in enumerate(lengths)]
        position, accepted = 0, []
        while position < len(lengths):
            accepted.append(min(acceptable[position], draft_tokens))
            position += accepted[-1] + 1
        rows.append(_named(record, number) | {
            "prompt_tokens": _prompt(record, source, missing), "output_tokens": len(lengths), "accepted": accepted,
            "drafted": [draft_tokens] * len(accepted), "acceptable": acceptable,
        })  # fmt: skip
    return _trace(rows, path, "SpecDecode-Bench", missing, {"replayed_at_draft_tokens": draft_tokens})


def _prompt(record: dict[str, Any], source: str, missing: set[str]) -> int:
    value = first_of(record, PROMPTS)
    if value is None and not any(key in record for key in PROMPTS):
        missing.add("prompt_tokens (0)")
        return 0
    return count(value, "prompt_tokens", source)


def _named(record: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "request_id": str(first_of(record, IDS, f"line-{number}"))[:200],
        "dataset": str(first_of(record, DATASETS, "all"))[:200],
    }


def _trace(rows: list[dict[str, Any]], path: Path, what: str, missing: set[str], note: dict[str, Any]) -> Trace:
    if not rows:
        raise FormatError(f"{path}: holds no requests")
    return trace_from_rounds(
        rows, {"source": what, "imported_from": path.name, "missing": sorted(missing), **note}, source=str(path)
    )
