"""How many tokens texts have: by a model's own tokenizer, or estimated from their characters or
words.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HELP = "A folder with the model's tokenizer.json, or an estimate: chars/4, words*1.35."
ESTIMATE = re.compile(r"(?:chars/|words\*)(\d+(?:\.\d+)?)")


class TokenCounts:
    """Counts of tokens, without special ones, by a `tokenizer` as `HELP` has it.

    Raises
    ------
    ValueError
        Naming what was given, if it is neither.
    """

    def __init__(self, tokenizer: str) -> None:
        self.tokenizer = tokenizer
        estimate = ESTIMATE.fullmatch(tokenizer)
        self._factor = float(estimate[1]) if estimate else 0.0
        self._own: Any = None if estimate else _load(tokenizer)
        if estimate and self._factor <= 0:
            raise ValueError(f"tokenizer {tokenizer}: must be above 0")

    @property
    def estimated(self) -> bool:
        return self._own is None

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text; of an estimate at least 1 where there is any text."""
        if self._own is not None:
            return [
                len(e.ids) for e in self._own.encode_batch(list(texts), add_special_tokens=False)
            ]
        if self.tokenizer.startswith("chars"):
            counts = [len(text) / self._factor for text in texts]
        else:
            counts = [len(text.split()) * self._factor for text in texts]
        return [
            max(1, round(count)) if text.strip() else 0
            for text, count in zip(texts, counts, strict=True)
        ]


def _load(folder: str) -> Any:
    """The tokenizer in a model's folder, or a tokenizer.json itself."""
    path = Path(folder) / "tokenizer.json" if Path(folder).is_dir() else Path(folder)
    if not path.is_file():
        raise ValueError(
            f"tokenizer {folder}: there is no {path}; or estimate: chars/4, words*1.35"
        )
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise ValueError(
            f"tokenizer {folder}: needs tokenizers: pip install 'lapsd[predict]'"
        ) from error
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain ones
        raise ValueError(f"tokenizer {path}: {str(error).splitlines()[0]}") from error
