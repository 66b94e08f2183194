"""SpecDecode-Bench: per output position the tokens that a round started there would emit
(`acc_len`).

A line holds the token ids of a prompt and its output, and for each drafting method an object
`acc_NAME` whose `acc_len` is as long as the output. Such a trace replays at any draft length: `pos
+= min(acc_len[pos], n + 1)`. Flat records with `acc_len` and a prompt length are read too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lapsd.traces.derived.replay import rounds_over
from lapsd.traces.errors import FormatError
from lapsd.traces.files.json_lines import count, counts, json_lines, labels, prompt_tokens
from lapsd.traces.importers.importer import Imported, Importer
from lapsd.traces.invariants import trace_from_rounds
from lapsd.traces.provenance import Provenance

PREFIX = "acc_"


@dataclass(frozen=True)
class SpecDecodeBench(Importer):
    """Import SpecDecode-Bench's acceptances per output position."""

    name: ClassVar[str] = "specdecode-bench"
    file: ClassVar[str] = (
        "JSON lines with acc_len a request, or a drafting method of it (.gz allowed)."
    )

    draft_tokens: int = field(
        default=4, metadata={"help": "Draft length of the trace's rounds; replays take any."}
    )
    method: str | None = field(
        default=None,
        metadata={"help": "The drafting method, eagle or ngram, where the file holds several."},
    )

    def __post_init__(self) -> None:
        count(self.draft_tokens, "draft_tokens", "import specdecode-bench", 1)

    def read(self, path: str | Path) -> Imported:
        """See `Importer.read`."""
        path, rows, without_prompt, method = Path(path), [], False, self.method
        for number, record in json_lines(path):
            source = f"{path}, line {number}"
            if "acc_len" not in record and method is None:
                method = _only_method(record, source)
            field = "acc_len" if method is None else f"{PREFIX}{method}.acc_len"
            lengths = counts(_acc_len(record, method, source), field, source, 1)
            # a round's own last token is the target's: what is acceptable is one less, and ends
            # with the output
            acceptable = [min(a - 1, len(lengths) - i) for i, a in enumerate(lengths)]
            accepted = rounds_over(acceptable, self.draft_tokens)
            ids = record.get("prompt_token_ids")
            prompt = len(ids) if isinstance(ids, list) else prompt_tokens(record, source)
            without_prompt |= prompt is None
            outputs = record.get("generated_token_ids")
            if isinstance(outputs, list) and len(outputs) != len(lengths):
                raise FormatError(
                    f"{source}, field {field!r}: {len(lengths)} of {len(outputs)} generated tokens"
                )
            rows.append(
                labels(record, number)
                | {
                    "prompt_tokens": prompt or 0,
                    "output_tokens": len(lengths),
                    "accepted": accepted,
                    "drafted": [self.draft_tokens] * len(accepted),
                    "acceptable": acceptable,
                }
            )
        provenance = Provenance(
            source="SpecDecode-Bench" + (f", {method}" if method else ""),
            imported_from=path.name,
            missing=("prompt_tokens (0)",) if without_prompt else (),
            notes={"replayed_at_draft_tokens": self.draft_tokens},
        )
        trace = trace_from_rounds(rows, provenance, str(path))
        return Imported(trace, notes=tuple(f"not in the file: {m}" for m in provenance.missing))


def _methods(record: Mapping[str, Any]) -> list[str]:
    return [
        key.removeprefix(PREFIX)
        for key, value in record.items()
        if key.startswith(PREFIX) and isinstance(value, dict)
    ]


def _only_method(record: Mapping[str, Any], source: str) -> str:
    methods = _methods(record)
    if not methods:
        raise FormatError(
            f"{source}: neither 'acc_len' nor a drafting method's, such as 'acc_eagle'"
        )
    if len(methods) > 1:
        raise FormatError(f"{source}: give the method, one of {', '.join(methods)}")
    return methods[0]


def _acc_len(record: Mapping[str, Any], method: str | None, source: str) -> Any:
    if method is None:
        return record.get("acc_len")
    if method not in (methods := _methods(record)):
        raise FormatError(f"{source}: no method {method!r}, but {', '.join(methods) or 'none'}")
    return record[PREFIX + method].get("acc_len")
