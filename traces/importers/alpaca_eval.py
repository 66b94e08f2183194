"""Instructions and answers: the outputs of AlpacaEval, and the data set Alpaca.

Both are a JSON list of `{"instruction", "output"}`; optional fields are `input` (Alpaca), `dataset`
and `generator` (AlpacaEval). Both have the license CC-BY-NC-4.0: they may be used for evaluation,
but not to train models that are shipped.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lapsd.traces.errors import FormatError
from lapsd.traces.importers.conversations import Exchange, imported, json_list, refuse_most
from lapsd.traces.importers.importer import Imported, Importer
from lapsd.traces.importers.token_counts import HELP


@dataclass(frozen=True)
class AlpacaEval(Importer):
    """Import instructions with answers (AlpacaEval's outputs, or Alpaca), decoded without a draft
    model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.importers import AlpacaEval
    >>> text = '[{"instruction": "Name a colour.", "output": "Blue is a colour."}]'
    >>> done = Path("outputs.json").write_text(text)
    >>> imported = AlpacaEval().read("outputs.json")
    >>> imported.trace.output_tokens
    array([5])
    """

    name: ClassVar[str] = "alpaca-eval"
    file: ClassVar[str] = "A JSON list of instruction and output (.gz allowed)."

    tokenizer: str = field(default="words*1.35", metadata={"help": HELP})
    most_tokens: int = field(
        default=2048,
        metadata={
            "help": "Leave out requests with more tokens, prompt and answer together; 0: keep all."
        },
    )

    def __post_init__(self) -> None:
        refuse_most(self.most_tokens)

    def read(self, path: str | Path) -> Imported:
        """See `Importer.read`."""
        path, records = Path(path), json_list(Path(path))
        exchanges = [
            _exchange(record, number, f"{path}, entry {number}")
            for number, record in enumerate(records)
        ]
        source = (
            f"AlpacaEval, {records[0]['generator']}"
            if "generator" in records[0]
            else f"Alpaca ({path.name})"
        )
        return imported(exchanges, path, source, self.tokenizer, self.most_tokens)


def _exchange(record: Any, number: int, source: str) -> Exchange:
    if not isinstance(record, dict):
        raise FormatError(f"{source}: not a JSON object")
    for name in ("instruction", "output"):
        if not isinstance(record.get(name), str):
            raise FormatError(
                f"{source}, field {name!r}: {'not a text' if name in record else 'missing'}"
            )
    dataset, context = str(record.get("dataset") or "alpaca")[:180], record.get("input")
    prompt = (
        f"{record['instruction']}\n{context}"
        if isinstance(context, str) and context
        else record["instruction"]
    )
    return Exchange(f"{dataset}-{number}", dataset, prompt, record["output"])
