"""Arithmetic word problems of 1 to 12 steps with worked answers, generated from our own templates.

Each line of an answer is a step, except the last line, `#### result`. The question states the
number of steps. The answers serve to train the reference pair; prompts contain only the questions.
"""

import itertools
import random

from lapsd.calibrate.prompts.problems import (
    GOODS,
    NAMES,
    PLACES,
    Problem,
    Template,
    drawn,
    worked_in,
)


def _problem(question: str, steps: list[str], result: int) -> Problem:
    return Problem(
        f"{question} {worked_in(len(steps))}", "\n".join([*steps, f"#### {result}"]), len(steps)
    )


def _sum(numbers: list[int]) -> str:
    return f"{' + '.join(map(str, numbers))} = "


def shopping(rng: random.Random) -> Problem:
    """The sum of several purchases."""
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    bought = [
        (g, rng.randint(2, 12), rng.randint(1, 25)) for g in rng.sample(GOODS, rng.randint(1, 11))
    ]
    listed = ", ".join(f"{count} {good} at ${price} each" for good, count, price in bought)
    steps = [f"The {good} cost {n} * {p} = ${n * p}." for good, n, p in bought]
    total = sum(n * p for _, n, p in bought)
    steps.append(f"In total {_sum([n * p for _, n, p in bought])}${total}.")
    return _problem(
        f"At the {place}, {name} buys {listed}. How many dollars does {name} spend in total?",
        steps,
        total,
    )


def saving(rng: random.Random) -> Problem:
    """Savings that grow each week by an increasing amount."""
    name, weeks = rng.choice(NAMES), rng.randint(1, 11)
    start, first, more = rng.randint(5, 80), rng.randint(3, 30), rng.randint(1, 9)
    total, steps = start, [f"{name} starts with ${start}."]
    for week in range(1, weeks + 1):
        gain = first + more * (week - 1)
        steps.append(
            f"Week {week}: {name} saves ${gain}, so there is {total} + {gain} = ${total + gain}."
        )
        total += gain
    question = (
        f"{name} has ${start} and saves ${first} in the first week. Each week after that, {name}"
        f" saves ${more} more than in the week before. How many dollars does {name} have after"
        f" {weeks} weeks?"
    )
    return _problem(question, steps, total)


def tank(rng: random.Random) -> Problem:
    """A tank that is filled and leaks, hour by hour."""
    start, rate, hours = rng.randint(20, 200), rng.randint(15, 60), rng.randint(1, 11)
    leak = rng.randint(2, rate - 5)
    level, steps = start, [f"Each hour the tank gains {rate} - {leak} = {rate - leak} litres."]
    for hour in range(1, hours + 1):
        steps.append(
            f"After hour {hour} it holds {level} + {rate - leak} = {level + rate - leak} litres."
        )
        level += rate - leak
    question = (
        f"A tank holds {start} litres of water. A pump adds {rate} litres an hour while {leak}"
        f" litres an hour leak out. How many litres are in the tank after {hours} hours?"
    )
    return _problem(question, steps, level)


def wages(rng: random.Random) -> Problem:
    """Pay with overtime; always four steps."""
    name, pay, hours, extra = (
        rng.choice(NAMES),
        rng.randint(9, 40),
        rng.randint(20, 40),
        rng.randint(2, 12),
    )
    bonus = rng.randint(2, 9)
    base, over = pay * hours, (pay + bonus) * extra
    steps = [
        f"{name} earns {pay} * {hours} = ${base} for the regular hours.",
        f"An overtime hour pays {pay} + {bonus} = ${pay + bonus}.",
        f"The overtime pays {pay + bonus} * {extra} = ${over}.",
        f"Together that is {base} + {over} = ${base + over}.",
    ]
    question = (
        f"{name} earns ${pay} an hour, and ${bonus} more for each hour of overtime. This week"
        f" {name} worked {hours} regular hours and {extra} hours of overtime. How many dollars did"
        f" {name} earn?"
    )
    return _problem(question, steps, base + over)


def shifts(rng: random.Random) -> Problem:
    """Pay for each day, with a running sum."""
    name, pay = rng.choice(NAMES), rng.randint(9, 30)
    hours = [rng.randint(2, 9) for _ in range(rng.randint(1, 12))]
    total, steps = 0, []
    for day, worked in enumerate(hours, 1):
        steps.append(
            f"Day {day}: {worked} * {pay} = ${worked * pay}, and {total} + {worked * pay} = "
            f"${total + worked * pay}."
        )
        total += worked * pay
    listed = ", ".join(map(str, hours))
    question = (
        f"{name} is paid ${pay} an hour and works these hours, day by day: {listed}. How many"
        " dollars is that?"
    )
    return _problem(question, steps, total)


def journey(rng: random.Random) -> Problem:
    """The distance of several legs."""
    name = rng.choice(NAMES)
    legs = [(rng.randint(30, 110), rng.randint(1, 6)) for _ in range(rng.randint(1, 11))]
    driven = ", then ".join(f"{h} hours at {v} km an hour" for v, h in legs)
    steps = [f"Leg {i}: {v} * {h} = {v * h} km." for i, (v, h) in enumerate(legs, 1)]
    total = sum(v * h for v, h in legs)
    steps.append(f"The whole way is {_sum([v * h for v, h in legs])}{total} km.")
    return _problem(f"{name} drives {driven}. How many kilometres does {name} drive?", steps, total)


def sharing(rng: random.Random) -> Problem:
    """A division without remainder; always two steps."""
    name, friends, each = rng.choice(NAMES), rng.randint(2, 12), rng.randint(3, 30)
    kept, good = rng.randint(1, 20), rng.choice(GOODS)
    had = friends * each + kept
    steps = [
        f"{name} gives away {had} - {kept} = {had - kept} {good}.",
        f"Each friend gets {had - kept} / {friends} = {each} {good}.",
    ]
    question = (
        f"{name} has {had} {good}, keeps {kept} of them and shares the rest equally among {friends}"
        f" friends. How many {good} does each friend get?"
    )
    return _problem(question, steps, each)


def boxes(rng: random.Random) -> Problem:
    """One multiplication."""
    name, count, each = rng.choice(NAMES), rng.randint(2, 40), rng.randint(2, 40)
    good, place = rng.choice(GOODS), rng.choice(PLACES)
    question = (
        f"{name} carries {count} boxes to the {place}. Each holds {each} {good}. How many {good} is"
        " that?"
    )
    return _problem(
        question, [f"The boxes hold {count} * {each} = {count * each} {good}."], count * each
    )


def seats(rng: random.Random) -> Problem:
    """The seats of a hall; always four steps."""
    rows, wide, back = rng.randint(5, 30), rng.randint(6, 30), rng.randint(2, 9)
    gone, place = rng.randint(3, 40), rng.choice(PLACES)
    total = rows * wide + back * (wide + 4) - gone
    steps = [
        f"The front rows hold {rows} * {wide} = {rows * wide} seats.",
        (
            f"A back row has {wide} + 4 = {wide + 4} seats, so the back holds {back} * {wide + 4} ="
            f" {back * (wide + 4)} seats."
        ),
        f"Together {rows * wide} + {back * (wide + 4)} = {rows * wide + back * (wide + 4)} seats.",
        f"Without the broken ones there are {total + gone} - {gone} = {total} seats.",
    ]
    question = (
        f"A hall at the {place} has {rows} front rows with {wide} seats each and {back} back rows"
        f" with 4 seats more each. {gone} seats are broken. How many seats can be used?"
    )
    return _problem(question, steps, total)


def ages(rng: random.Random) -> Problem:
    """A chain of age differences."""
    people = rng.sample(NAMES, rng.randint(2, 12))
    age = rng.randint(8, 30)
    clues, steps = [f"{people[0]} is {age} years old"], [f"{people[0]} is {age}."]
    for before, name in itertools.pairwise(people):
        gap = rng.randint(1, 9)
        older = age <= gap + 3 or rng.random() < 0.6
        clues.append(f"{name} is {gap} years {'older' if older else 'younger'} than {before}")
        steps.append(
            f"{name} is {age} {'+' if older else '-'} {gap} = {age + gap if older else age - gap}."
        )
        age = age + gap if older else age - gap
    return _problem(f"{', '.join(clues)}. How old is {people[-1]}?", steps, age)


def cutting(rng: random.Random) -> Problem:
    """The rest of a rope after each piece is cut off."""
    name, pieces = rng.choice(NAMES), [rng.randint(2, 30) for _ in range(rng.randint(1, 12))]
    left = sum(pieces) + rng.randint(1, 60)
    question = (
        f"{name} has {left} metres of rope and cuts off pieces of {', '.join(map(str, pieces))}"
        " metres."
    )
    steps = []
    for piece in pieces:
        steps.append(
            f"After cutting {piece} metres there are {left} - {piece} = {left - piece} metres left."
        )
        left -= piece
    return _problem(f"{question} How many metres are left?", steps, left)


def scores(rng: random.Random) -> Problem:
    """A running sum of points."""
    name, points = rng.choice(NAMES), [rng.randint(1, 40) for _ in range(rng.randint(2, 13))]
    total, steps = points[0], []
    for scored in points[1:]:
        steps.append(f"{total} + {scored} = {total + scored}")
        total += scored
    question = (
        f"{name} scores {', '.join(map(str, points))} points in {len(points)} rounds. What is the"
        " sum?"
    )
    return _problem(question, steps, total)


TEMPLATES: tuple[Template, ...] = (
    shopping,
    saving,
    tank,
    wages,
    shifts,
    journey,
    sharing,
    boxes,
    seats,
    ages,
    cutting,
    scores,
)
# Templates of the bundled prompts. In the other three, the number of steps is only stated, as the
# number of weeks, hours or days, and so small a model largely ignores it.
ASKED: tuple[Template, ...] = tuple(t for t in TEMPLATES if t not in (saving, tank, shifts))


def problem(rng: random.Random) -> Problem:
    """Return a problem from a random template."""
    return drawn(TEMPLATES, rng)
