"""Common parts of generated prompts: problems, their vocabulary, and the format of questions.

Every template is a pure function of a `random.Random`. The length of an answer can be derived from
its question, which states the number of lines or allows to count them. This module knows nothing
about models or tokens.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

NAMES = (
    "Ada",
    "Boris",
    "Carla",
    "Dmitri",
    "Elena",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kemal",
    "Lena",
    "Mara",
    "Nils",
    "Olga",
    "Pavel",
    "Rosa",
    "Sven",
    "Tara",
    "Umar",
    "Vera",
    "Willem",
    "Yara",
    "Zoe",
)
GOODS = (
    "pencils",
    "notebooks",
    "apples",
    "lamps",
    "chairs",
    "candles",
    "mugs",
    "scarves",
    "puzzles",
    "plants",
    "books",
    "towels",
    "baskets",
    "bolts",
    "postcards",
    "loaves of bread",
)
PLACES = ("market", "workshop", "library", "bakery", "garden centre", "harbour", "school", "museum")


@dataclass(frozen=True)
class Problem:
    """A question and its answer.

    `size` is the number of steps, items or statements of the answer; `template` is the name of the
    template.
    """

    question: str
    answer: str
    size: int
    template: str = ""


Template = Callable[[random.Random], Problem]


def drawn(templates: tuple[Template, ...], rng: random.Random) -> Problem:
    """Return a problem from a random template."""
    template = rng.choice(templates)
    return replace(template(rng), template=template.__name__)


def question_prompt(question: str) -> str:
    """Return a question in the format that the reference pair was trained on.

    Parameters
    ----------
    question : str
        The question.

    Examples
    --------
    >>> from lapsd.calibrate.prompts import question_prompt
    >>> question_prompt("How many are 2 and 3?").splitlines()
    ['Question: How many are 2 and 3?', 'Answer:']
    """
    return f"Question: {question.strip()}\nAnswer:"


def worked_in(steps: int) -> str:
    """Return the sentence that states the number of steps of an answer."""
    return f"Work it out in {steps} step{'s' if steps > 1 else ''}."
