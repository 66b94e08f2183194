"""Acceptance per output position, as SpecDecode-Bench records it.

A line holds `id`, `prompt_token_ids`, `generated_token_ids`, and an object `acc_NAME` with a list
`acc_len` for each drafting method. `acc_len` has one entry per output position of that method's own
run: the number of tokens that a round started at the position would emit. Its length is the
method's output length. It may differ from that of `generated_token_ids`, since the run of a method
may have generated other text. Such a trace replays at any draft length n: `pos += min(acc_len[pos],
n + 1)`. Flat records with `acc_len` and a prompt length are read too.
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
    """Import acceptance per output position from SpecDecode-Bench.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.importers import SpecDecodeBench
    >>> text = '{"acc_len": [3, 2, 1, 2, 1], "prompt_tokens": 10}'
    >>> done = Path("sdb.jsonl").write_text(text)
    >>> imported = SpecDecodeBench(draft_tokens=2).read("sdb.jsonl")
    >>> imported.trace.output_tokens
    array([5])
    """

    name: ClassVar[str] = "specdecode-bench"
    file: ClassVar[str] = (
        "JSON lines with acc_len of each request, or of each drafting method (.gz allowed)."
    )

    draft_tokens: int = field(
        default=4, metadata={"help": "Draft length of the trace's rounds; replays may use any."}
    )
    method: str | None = field(
        default=None,
        metadata={"help": "Drafting method, such as eagle or ngram, if the file holds several."},
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
            name = "acc_len" if method is None else f"{PREFIX}{method}.acc_len"
            lengths = counts(_acc_len(record, method, source), name, source, 1)
            # the last token of a round comes from the target; drafts end with the output
            acceptable = [min(a - 1, len(lengths) - i) for i, a in enumerate(lengths)]
            accepted = rounds_over(acceptable, self.draft_tokens)
            ids = record.get("prompt_token_ids")
            prompt = len(ids) if isinstance(ids, list) else prompt_tokens(record, source)
            without_prompt |= prompt is None
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
            f"{source}: needs 'acc_len' or an object of a drafting method, such as 'acc_eagle'"
        )
    if len(methods) > 1:
        raise FormatError(f"{source}: give the method, one of {', '.join(methods)}")
    return methods[0]


def _acc_len(record: Mapping[str, Any], method: str | None, source: str) -> Any:
    if method is None:
        return record.get("acc_len")
    if method not in (methods := _methods(record)):
        raise FormatError(f"{source}: no method {method!r} (in it: {', '.join(methods) or 'none'})")
    return record[PREFIX + method].get("acc_len")
