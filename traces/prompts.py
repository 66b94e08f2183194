"""Prompts, and what they have in common: what learnt predictors of output lengths learn from.

Knows nothing of files (`lapsd.traces.files.prompt_file`), nor of tokens or models.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """The text of a request.

    Attributes
    ----------
    request_id : str
        As in the trace.
    text : str
    group : str What prompts have in common (a document, a template): those of one group are never
        on both sides of a split into training and test.
    """

    request_id: str
    text: str
    group: str


def template_of(text: str) -> str:
    """The text without its numbers, spacing and case: what prompts from one template share."""
    return re.sub(r"\d+", "#", re.sub(r"\s+", " ", text)).strip().lower()
