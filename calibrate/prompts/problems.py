"""What generated prompts share: a question with its answer, the words they are made of, and how
they are asked.

Every template is a pure function of a `random.Random`. The length of its answer shows in its
question: the number of lines is stated, or can be counted. Knows nothing of models or tokens.
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
    """A question and its answer; the template's name, and how many steps, items or statements the
    answer has.
    """

    question: str
    answer: str
    size: int
    template: str = ""


Template = Callable[[random.Random], Problem]


def drawn(templates: tuple[Template, ...], rng: random.Random) -> Problem:
    """One problem of a template drawn at random."""
    template = rng.choice(templates)
    return replace(template(rng), template=template.__name__)


def question_prompt(question: str) -> str:
    """How a question is put to the reference pair."""
    return f"Question: {question.strip()}\nAnswer:"


def worked_in(steps: int) -> str:
    """The sentence that tells how many steps an answer has."""
    return f"Work it out in {steps} step{'s' if steps > 1 else ''}."
