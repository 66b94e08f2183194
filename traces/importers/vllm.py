"""Responses of vLLM with `--per-request-spec-decode-metrics detailed`, one response per line.

A response holds `usage` and, under `metrics.speculative_decoding`, the draft tokens accepted and
drafted in each step (`per_step_accepted`, `per_step_drafted`). Its `num_draft_tokens` is the sum of
drafted tokens over the request. The first token of a response comes from the prefill, which is not
a step, so it is counted as part of the prompt. Flat records with `per_step_accepted`,
`prompt_tokens` and `output_tokens` are read too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lapsd.traces.errors import FormatError
from lapsd.traces.files.json_lines import (
    count,
    counts,
    first_of,
    json_lines,
    labels,
    mapping,
    prompt_tokens,
)
from lapsd.traces.importers.importer import Imported, Importer
from lapsd.traces.invariants import trace_from_rounds
from lapsd.traces.provenance import Provenance

OUTPUTS = ("output_tokens", "num_output_tokens", "completion_tokens", "output_len")
DRAFTS = ("draft_tokens", "num_speculative_tokens", "num_spec_tokens")


@dataclass(frozen=True)
class _Request:
    """One record.

    Attributes
    ----------
    prompt, output : tokens of prompt (None: not in the file) and output
    accepted, drafted : draft tokens of each step
    prefill_emits : whether the first output token comes from the prefill
    """

    prompt: int | None
    output: int
    accepted: list[int]
    drafted: list[int]
    prefill_emits: bool


@dataclass(frozen=True)
class Vllm(Importer):
    """Import the speculative steps that vLLM recorded for each request.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.importers import Vllm
    >>> text = (
    ...     '{"per_step_accepted": [2, 1], "per_step_drafted": [4, 4], "prompt_tokens": 10}'
    ... )
    >>> done = Path("vllm.jsonl").write_text(text)
    >>> imported = Vllm().read("vllm.jsonl")
    >>> imported.trace.acceptance
    array([0.375])
    """

    name: ClassVar[str] = "vllm"
    file: ClassVar[str] = (
        "JSON lines: vLLM's responses with detailed metrics, or per_step_accepted (.gz allowed)."
    )

    draft_tokens: int | None = field(
        default=None, metadata={"help": "Tokens drafted per step, if not in the file."}
    )

    def __post_init__(self) -> None:
        if self.draft_tokens is not None:
            count(self.draft_tokens, "draft_tokens", "import vllm", 1)

    def read(self, path: str | Path) -> Imported:
        """See `Importer.read`.

        Responses with tokens that come neither from the prefill nor from a step are left out.
        """
        path, rows, requests, left_out = Path(path), [], list[_Request](), list[int]()
        for number, record in json_lines(path):
            request = self._request(record, f"{path}, line {number}")
            if request is None:
                left_out.append(number)
                continue
            requests.append(request)
            rows.append(
                labels(record, number)
                | {
                    "prompt_tokens": (request.prompt or 0) + request.prefill_emits,
                    "output_tokens": request.output - request.prefill_emits,
                    "drafted": request.drafted,
                    "accepted": request.accepted,
                }
            )
        missing = []
        if any(request.prompt is None for request in requests):
            missing.append("prompt_tokens (0)")
        if left_out:
            missing.append(
                f"{len(left_out)} responses, the first in line {left_out[0]}, with tokens from"
                " neither the prefill nor a recorded step (vLLM does not record steps without"
                " drafts)"
            )
        from_prefill = sum(request.prefill_emits for request in requests)
        estimate = (
            f"{from_prefill} requests: the token from the prefill is counted as part of the prompt"
        )
        provenance = Provenance(
            source="vLLM",
            imported_from=path.name,
            missing=tuple(missing),
            estimated=(estimate,) if from_prefill else (),
        )
        trace = trace_from_rounds(rows, provenance, str(path))
        return Imported(trace, notes=tuple(f"not in the file: {m}" for m in missing))

    def _request(self, record: Mapping[str, Any], source: str) -> _Request | None:
        """Return a record's request, or None if its steps do not account for its tokens."""
        is_response = "metrics" in record and "per_step_accepted" not in record
        steps = _steps(record, source) if is_response else record
        usage = mapping(record.get("usage"), "usage", source) if is_response else record
        if is_response and steps["per_step_accepted"] == []:
            return None
        accepted = counts(steps.get("per_step_accepted"), "per_step_accepted", source)
        emitted = sum(accepted) + len(accepted)
        output = count(first_of(usage, OUTPUTS, emitted), "output_tokens", source, 1)
        if is_response and output > emitted + 1:
            return None
        drafted = self._drafted(steps, accepted, source)
        prefill_emits = is_response or output == emitted + 1
        accepted = _cut(accepted, output - prefill_emits, source)
        return _Request(prompt_tokens(usage, source), output, accepted, drafted, prefill_emits)

    def _drafted(self, steps: Mapping[str, Any], accepted: list[int], source: str) -> list[int]:
        """Return the draft tokens of each step, at least as many as it accepted."""
        if "per_step_drafted" in steps:
            drafted = counts(steps["per_step_drafted"], "per_step_drafted", source)
            if len(drafted) != len(accepted):
                lengths = f"{len(drafted)} steps, {len(accepted)} in 'per_step_accepted'"
                raise FormatError(f"{source}, field 'per_step_drafted': {lengths}")
        else:
            n = first_of(steps, DRAFTS, self.draft_tokens)
            if n is None:
                raise FormatError(
                    f"{source}: the number of tokens drafted per step is missing (give"
                    " draft_tokens)"
                )
            drafted = [count(n, "draft_tokens", source, 1)] * len(accepted)
        for a, n in zip(accepted, drafted, strict=True):
            if a > n:
                raise FormatError(
                    f"{source}, field 'per_step_accepted': {a} accepted of {n} drafted"
                )
        return drafted


def _steps(response: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a response's metrics of speculative steps."""
    metrics = mapping(response["metrics"], "metrics", source)
    steps = mapping(metrics.get("speculative_decoding"), "metrics.speculative_decoding", source)
    if "per_step_accepted" not in steps:
        raise FormatError(
            f"{source}, field 'metrics.speculative_decoding': has only a summary, without"
            " 'per_step_accepted' (vLLM records it with --per-request-spec-decode-metrics detailed)"
        )
    return steps


def _cut(accepted: list[int], output: int, source: str) -> list[int]:
    """Return the accepted tokens of each step, without tokens after the end of the output."""
    emitted = sum(accepted) + len(accepted)
    if not emitted - accepted[-1] <= output <= emitted:
        raise FormatError(
            f"{source}, field 'output_tokens': {output}, but the steps emit {emitted}"
        )
    return [*accepted[:-1], min(accepted[-1], accepted[-1] + 1 - (emitted - output))]
