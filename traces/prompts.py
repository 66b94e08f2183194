"""Prompts and their groups, from which predictors of output lengths are trained.

This module knows nothing of files (`lapsd.traces.files.prompt_file`), nor of tokens or models.
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
    group : str
        Name of the group of prompts that share a document or a template. A split into training and
        test sets keeps each group on one side.

    Examples
    --------
    >>> from lapsd.traces import Prompt
    >>> Prompt("code-1", "def f(x):", group="functions").group
    'functions'
    """

    request_id: str
    text: str
    group: str


def template_of(text: str) -> str:
    """Return the text without its numbers, spacing and case, equal for prompts of one template."""
    return re.sub(r"\d+", "#", re.sub(r"\s+", " ", text)).strip().lower()
