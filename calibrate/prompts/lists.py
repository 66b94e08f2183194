"""Lists and short texts of a stated length, 1 to 16 items, generated from our own templates.

They serve to train the reference pair only: no bundled prompt is a list.
"""

import random
from collections.abc import Callable

from lapsd.calibrate.prompts.problems import GOODS, NAMES, PLACES, Problem, Template, drawn

COLOURS = ("red", "green", "blue", "yellow", "white", "black", "grey", "orange")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
VERBS = (
    "paints",
    "repairs",
    "counts",
    "sells",
    "cleans",
    "carries",
    "measures",
    "forgets",
    "draws",
    "packs",
)
MOST_ITEMS = 16


def _numbered(
    rng: random.Random, question: Callable[[int], str], item: Callable[[int], str]
) -> Problem:
    count = rng.randint(1, MOST_ITEMS)
    return Problem(
        question(count), "\n".join(f"{i}. {item(i)}" for i in range(1, count + 1)), count
    )


def purchases(rng: random.Random) -> Problem:
    """A shopping list."""
    name, place, day = rng.choice(NAMES), rng.choice(PLACES), rng.choice(DAYS)
    return _numbered(
        rng,
        lambda n: f"List {n} things that {name} buys at the {place} on {day}.",
        lambda _: f"{rng.randint(2, 12)} {rng.choice(COLOURS)} {rng.choice(GOODS)}",
    )


def diary(rng: random.Random) -> Problem:
    """Lines of a diary."""
    name, place, good = rng.choice(NAMES), rng.choice(PLACES), rng.choice(GOODS)
    return _numbered(
        rng,
        lambda n: (
            f"Write {n} lines of the diary of {name}, who works at the {place} and likes {good}."
        ),
        lambda _: (
            f"On {rng.choice(DAYS)} {name} {rng.choice(VERBS)} the {rng.choice(COLOURS)}"
            f" {rng.choice(GOODS)} and goes to the {rng.choice(PLACES)}."
        ),
    )


def multiples(rng: random.Random) -> Problem:
    """An arithmetic progression."""
    step, start = rng.randint(2, 60), rng.randint(1, 60)
    return _numbered(
        rng,
        lambda n: f"Count up from {start} in steps of {step}. Give {n} numbers.",
        lambda i: str(start + step * (i - 1)),
    )


def times_table(rng: random.Random) -> Problem:
    """Rows of a times table."""
    name, factor, place = rng.choice(NAMES), rng.randint(2, 60), rng.choice(PLACES)
    return _numbered(
        rng,
        lambda n: (
            f"At the {place}, {name} learns to multiply by {factor}. Write {n} rows of the table."
        ),
        lambda i: f"{i} * {factor} = {i * factor}",
    )


def guests(rng: random.Random) -> Problem:
    """A list of names."""
    name, place, day = rng.choice(NAMES), rng.choice(PLACES), rng.choice(DAYS)
    return _numbered(
        rng,
        lambda n: f"On {day} {name} invites {n} people to the {place}. Who are they?",
        lambda _: rng.choice(NAMES),
    )


def offers(rng: random.Random) -> Problem:
    """Goods with their prices and weights."""
    place, good, colour = rng.choice(PLACES), rng.choice(GOODS), rng.choice(COLOURS)
    return _numbered(
        rng,
        lambda n: f"The {place} sells {n} kinds of {colour} {good}. What does each cost and weigh?",
        lambda _: (
            f"The {rng.choice(COLOURS)} {good} cost ${rng.randint(2, 40)} and weigh"
            f" {rng.randint(1, 9)} kg."
        ),
    )


def trains(rng: random.Random) -> Problem:
    """A timetable, hour by hour."""
    place, hour, minute = rng.choice(PLACES), rng.randint(0, 7), rng.randint(10, 59)
    return _numbered(
        rng,
        lambda n: (
            f"The first train to the {place} leaves at {hour}:{minute}, and then one each hour. "
            f"Write a timetable of {n} trains."
        ),
        lambda i: f"{hour + i - 1}:{minute} to the {place}, platform {rng.randint(1, 9)}",
    )


def rules(rng: random.Random) -> Problem:
    """Rules of a house."""
    name, place, good = rng.choice(NAMES), rng.choice(PLACES), rng.choice(GOODS)
    return _numbered(
        rng,
        lambda n: f"{name} writes {n} rules about the {good} of the {place}. What do they say?",
        lambda _: (
            f"Nobody {rng.choice(VERBS)} the {rng.choice(COLOURS)} {good} after"
            f" {rng.randint(1, 12)} o'clock."
        ),
    )


def gifts(rng: random.Random) -> Problem:
    """Presents for friends."""
    name, day, count = rng.choice(NAMES), rng.choice(DAYS), rng.randint(1, MOST_ITEMS)
    lines = [
        f"{friend}: {rng.choice(COLOURS)} {rng.choice(GOODS)}"
        for friend in rng.sample(NAMES, count)
    ]
    return Problem(
        f"{name} gives presents to {count} friends on {day}. Who gets what?",
        "\n".join(lines),
        count,
    )


def story(rng: random.Random) -> Problem:
    """A story of unnumbered sentences."""
    name, place, good = rng.choice(NAMES), rng.choice(PLACES), rng.choice(GOODS)
    count = rng.randint(1, MOST_ITEMS)
    sentences = [f"{name} {rng.choice(VERBS)} the {rng.choice(COLOURS)} {good}."]
    sentences += [
        f"Then {rng.choice(NAMES)} {rng.choice(VERBS)} {rng.choice(GOODS)} on {rng.choice(DAYS)}."
        for _ in range(count - 1)
    ]
    question = f"Tell a story about {name} and the {good} of the {place}, {count} sentences long."
    return Problem(question, "\n".join(sentences), count)


TEMPLATES: tuple[Template, ...] = (
    purchases,
    diary,
    multiples,
    times_table,
    guests,
    offers,
    trains,
    rules,
    gifts,
    story,
)


def problem(rng: random.Random) -> Problem:
    """Return a list from a random template."""
    return drawn(TEMPLATES, rng)
