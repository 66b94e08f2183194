"""Arithmetic word problems with worked answers, generated from templates of our own.

Every problem is a pure function of a `random.Random`; the number of steps varies, and with it the length of
the answer. The answers serve to train the reference pair; prompts use the questions alone.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

NAMES = (
    "Ada", "Boris", "Carla", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kemal", "Lena",
    "Mara", "Nils", "Olga", "Pavel", "Rosa", "Sven", "Tara", "Umar", "Vera", "Willem", "Yara", "Zoe",
)  # fmt: skip
GOODS = (
    "pencils", "notebooks", "apples", "lamps", "chairs", "candles", "mugs", "scarves", "puzzles", "plants",
    "books", "towels", "baskets", "bolts", "postcards", "loaves of bread",
)  # fmt: skip
PLACES = ("market", "workshop", "library", "bakery", "garden centre", "harbour", "school", "museum")


@dataclass(frozen=True)
class Problem:
    """A question and its worked answer, which ends in a line `#### result`; and the template's name."""

    question: str
    answer: str
    template: str = ""


def _answer(steps: list[str], result: int) -> str:
    return "\n".join([*steps, f"#### {result}"])


def shopping(rng: random.Random) -> Problem:
    """Sum of several purchases."""
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    bought = [(g, rng.randint(2, 12), rng.randint(1, 25)) for g in rng.sample(GOODS, rng.randint(2, 6))]
    listed = ", ".join(f"{count} {good} at ${price} each" for good, count, price in bought)
    steps = [f"The {good} cost {n} * {p} = ${n * p}." for good, n, p in bought]
    total = sum(n * p for _, n, p in bought)
    steps.append(f"In total {' + '.join(str(n * p) for _, n, p in bought)} = ${total}.")
    question = f"At the {place}, {name} buys {listed}. How many dollars does {name} spend in total?"
    return Problem(question, _answer(steps, total))


def saving(rng: random.Random) -> Problem:
    """A sum that grows by a step that itself grows, week by week."""
    name, weeks = rng.choice(NAMES), rng.randint(3, 14)
    start, first, more = rng.randint(5, 80), rng.randint(3, 30), rng.randint(1, 9)
    total, steps = start, [f"{name} starts with ${start}."]
    for week in range(1, weeks + 1):
        gain = first + more * (week - 1)
        steps.append(f"Week {week}: {name} saves ${gain}, so there is {total} + {gain} = ${total + gain}.")
        total += gain
    question = (
        f"{name} has ${start} and saves ${first} in the first week. Each week after that, {name} saves ${more} "
        f"more than in the week before. How many dollars does {name} have after {weeks} weeks?"
    )
    return Problem(question, _answer(steps, total))


def tank(rng: random.Random) -> Problem:
    """Filling and leaking, hour by hour."""
    start, rate, hours = rng.randint(20, 200), rng.randint(15, 60), rng.randint(2, 9)
    leak = rng.randint(2, rate - 5)
    level, steps = start, [f"Each hour the tank gains {rate} - {leak} = {rate - leak} litres."]
    for hour in range(1, hours + 1):
        steps.append(f"After hour {hour} it holds {level} + {rate - leak} = {level + rate - leak} litres.")
        level += rate - leak
    question = (
        f"A tank holds {start} litres of water. A pump adds {rate} litres an hour while {leak} litres an hour "
        f"leak out. How many litres are in the tank after {hours} hours?"
    )
    return Problem(question, _answer(steps, level))


def wages(rng: random.Random) -> Problem:
    """Pay with overtime."""
    name, pay, hours, extra = rng.choice(NAMES), rng.randint(9, 40), rng.randint(20, 40), rng.randint(2, 12)
    bonus = rng.randint(2, 9)
    base, over = pay * hours, (pay + bonus) * extra
    steps = [
        f"{name} earns {pay} * {hours} = ${base} for the regular hours.",
        f"An overtime hour pays {pay} + {bonus} = ${pay + bonus}.",
        f"The overtime pays {pay + bonus} * {extra} = ${over}.",
        f"Together that is {base} + {over} = ${base + over}.",
    ]
    question = (
        f"{name} earns ${pay} an hour, and ${bonus} more for each hour of overtime. This week {name} worked "
        f"{hours} regular hours and {extra} hours of overtime. How many dollars did {name} earn?"
    )
    return Problem(question, _answer(steps, base + over))


def journey(rng: random.Random) -> Problem:
    """Distance over several legs."""
    name = rng.choice(NAMES)
    legs = [(rng.randint(30, 110), rng.randint(1, 6)) for _ in range(rng.randint(2, 5))]
    told = ", then ".join(f"{h} hours at {v} km an hour" for v, h in legs)
    steps = [f"Leg {i}: {v} * {h} = {v * h} km." for i, (v, h) in enumerate(legs, 1)]
    total = sum(v * h for v, h in legs)
    steps.append(f"The whole way is {' + '.join(str(v * h) for v, h in legs)} = {total} km.")
    return Problem(f"{name} drives {told}. How many kilometres does {name} drive?", _answer(steps, total))


def sharing(rng: random.Random) -> Problem:
    """Division without remainder."""
    name, friends, each = rng.choice(NAMES), rng.randint(2, 12), rng.randint(3, 30)
    kept, good = rng.randint(1, 20), rng.choice(GOODS)
    had = friends * each + kept
    steps = [f"{name} gives away {had} - {kept} = {had - kept} {good}.",
             f"Each friend gets {had - kept} / {friends} = {each} {good}."]  # fmt: skip
    question = (
        f"{name} has {had} {good}, keeps {kept} of them and shares the rest equally among {friends} friends. "
        f"How many {good} does each friend get?"
    )
    return Problem(question, _answer(steps, each))


def seats(rng: random.Random) -> Problem:
    """Rows of a hall."""
    rows, wide, back = rng.randint(5, 30), rng.randint(6, 30), rng.randint(2, 9)
    gone, place = rng.randint(3, 40), rng.choice(PLACES)
    total = rows * wide + back * (wide + 4) - gone
    steps = [
        f"The front rows hold {rows} * {wide} = {rows * wide} seats.",
        f"A back row has {wide} + 4 = {wide + 4} seats, so the back holds {back} * {wide + 4} = "
        f"{back * (wide + 4)} seats.",
        f"Together {rows * wide} + {back * (wide + 4)} = {rows * wide + back * (wide + 4)} seats.",
        f"Without the broken ones there are {total + gone} - {gone} = {total} seats.",
    ]
    question = (
        f"A hall at the {place} has {rows} front rows with {wide} seats each and {back} back rows with 4 seats "
        f"more each. {gone} seats are broken. How many seats can be used?"
    )
    return Problem(question, _answer(steps, total))


def ages(rng: random.Random) -> Problem:
    """A chain of age differences."""
    people = rng.sample(NAMES, rng.randint(3, 7))
    age = rng.randint(8, 30)
    told, steps = [f"{people[0]} is {age} years old"], [f"{people[0]} is {age}."]
    for before, name in itertools.pairwise(people):
        gap = rng.randint(1, 9)
        older = age <= gap + 3 or rng.random() < 0.6
        told.append(f"{name} is {gap} years {'older' if older else 'younger'} than {before}")
        steps.append(f"{name} is {age} {'+' if older else '-'} {gap} = {age + gap if older else age - gap}.")
        age = age + gap if older else age - gap
    return Problem(f"{', '.join(told)}. How old is {people[-1]}?", _answer(steps, age))


TEMPLATES: tuple[Callable[[random.Random], Problem], ...] = (
    shopping, saving, tank, wages, journey, sharing, seats, ages,
)  # fmt: skip


def problem(rng: random.Random) -> Problem:
    """One problem of a template drawn at random."""
    template = rng.choice(TEMPLATES)
    return replace(template(rng), template=template.__name__)
