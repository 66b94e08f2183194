"""Token counts of texts, by a model's tokenizer or estimated from characters or words."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HELP = "A folder with the model's tokenizer.json, or an estimate: chars/4, words*1.35."
ESTIMATE = re.compile(r"(?:chars/|words\*)(\d+(?:\.\d+)?)")
LEAST_FACTOR, MOST_FACTOR = 0.01, 100  # tokens per word, characters per token


class TokenCounts:
    """Counts tokens of texts, without special tokens.

    Parameters
    ----------
    tokenizer : a folder with the model's tokenizer.json, or an estimate such as `chars/4` (four
        characters per token) or `words*1.35` (1.35 tokens per word).

    Raises
    ------
    ValueError
        Naming `tokenizer`, if it is neither.
    """

    def __init__(self, tokenizer: str) -> None:
        self.tokenizer = tokenizer
        estimate = ESTIMATE.fullmatch(tokenizer)
        self._factor = float(estimate[1]) if estimate else 0.0
        self._own: Any = None if estimate else _load(tokenizer)
        if estimate and not LEAST_FACTOR <= self._factor <= MOST_FACTOR:
            raise ValueError(
                f"tokenizer {tokenizer}: must be between {LEAST_FACTOR} and {MOST_FACTOR}"
            )

    @property
    def estimated(self) -> bool:
        """Whether counts are estimates."""
        return self._own is None

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text; an estimate is at least 1 for any text."""
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
    """Return the tokenizer in a model's folder, or in the given tokenizer.json."""
    path = Path(folder) / "tokenizer.json" if Path(folder).is_dir() else Path(folder)
    if not path.is_file():
        raise ValueError(
            f"tokenizer {folder}: no such file {path} (or use an estimate: chars/4, words*1.35)"
        )
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise ValueError(
            f"tokenizer {folder}: needs tokenizers: pip install 'lapsd[predict]'"
        ) from error
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower type
        raise ValueError(f"tokenizer {path}: {str(error).splitlines()[0]}") from error
