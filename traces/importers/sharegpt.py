"""Conversations of ShareGPT.

The file is a JSON list of `{"id", "conversations": [{"from": "human", "value": ...}, ...]}`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lapsd.traces.errors import FormatError
from lapsd.traces.importers.conversations import Exchange, imported, json_list, refuse_most
from lapsd.traces.importers.importer import Imported, Importer
from lapsd.traces.importers.token_counts import HELP

ASKS, ANSWERS = ("human", "user"), ("gpt", "chatgpt", "assistant", "bing", "bard")


@dataclass(frozen=True)
class ShareGPT(Importer):
    """Import the first question and answer of each ShareGPT conversation, without a draft model.

    As in serving benchmarks (of vLLM and FastServe), conversations that do not begin with a
    question and its answer, or are too long, are left out.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> from lapsd.traces.importers import ShareGPT
    >>> question = {"from": "human", "value": "Name a colour."}
    >>> answer = {"from": "gpt", "value": "Blue is a colour."}
    >>> document = [{"id": "a", "conversations": [question, answer]}]
    >>> done = Path("sharegpt.json").write_text(json.dumps(document))
    >>> ShareGPT().read("sharegpt.json").trace.output_tokens
    array([4])
    """

    name: ClassVar[str] = "sharegpt"
    file: ClassVar[str] = "ShareGPT's JSON: a list of conversations (.gz allowed)."

    tokenizer: str = field(default="chars/4", metadata={"help": HELP})
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
        path = Path(path)
        firsts = [
            _first(record, number, f"{path}, entry {number}")
            for number, record in enumerate(json_list(path))
        ]
        if not (exchanges := [exchange for exchange in firsts if exchange is not None]):
            raise FormatError(f"{path}: no conversation begins with a question and its answer")
        made = imported(
            exchanges, path, f"ShareGPT ({path.name})", self.tokenizer, self.most_tokens
        )
        if other := len(firsts) - len(exchanges):
            others = (
                f"{other} of {len(firsts)} conversations do not begin with a question and its"
                " answer"
            )
            return Imported(made.trace, prompts=made.prompts, notes=(others, *made.notes))
        return made


def _first(record: Any, number: int, source: str) -> Exchange | None:
    """Return the first question and its answer, or None if a conversation begins otherwise."""
    if not isinstance(record, dict) or not isinstance(record.get("conversations"), list):
        raise FormatError(f"{source}: needs a list in 'conversations'")
    turns = record["conversations"][:2]
    if not all(isinstance(t, dict) and isinstance(t.get("value"), str) for t in turns):
        raise FormatError(f"{source}: a turn needs 'from' and a text in 'value'")
    if len(turns) < 2 or turns[0].get("from") not in ASKS or turns[1].get("from") not in ANSWERS:
        return None
    name = f"{str(record.get('id', 'conversation'))[:180]}-{number}"
    return Exchange(name, "sharegpt", turns[0]["value"], turns[1]["value"])
