"""The page of the model says what the program does: each refusal, and the names of the steps."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, SRPT
from lapsd.policies.drafts import Fixed
from lapsd.policies.drafts.survival import Survival
from lapsd.sim.engine import loop
from lapsd.sim.engine.compiled import choice, costs, drafts, memory
from lapsd.sim.engine.drafting import Drafting
from lapsd.traces import Profile, price, trace_from_rounds
from tests.builders import context, row, workload

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "model.md"
TEXT = PAGE.read_text(encoding="utf-8")
CAPACITIES = re.findall(r"^\| `(Capacity\(.*?\))` \| `(.*?)` \|$", TEXT, re.MULTILINE)
PROFILE = Profile.constant(draft_ms=2, verify_ms=8, swap_ms=3)
ROWS = [row("a", 12, [4, 3, 2], n=4)]


def served(capacity, policy=None, profile=PROFILE, batch=1):
    priced = price(trace_from_rounds(ROWS), profile, batch)
    policy = policy or FCFS()
    return simulate(
        workload(priced, [0]), policy, context=context(priced), capacity=capacity, engine="simpy"
    )


def of_memory(manager, tokens=20):
    return lambda: served(Capacity(1, "unlimited", tokens, manager=manager))


ONLY = replace(PROFILE, costs=replace(PROFILE.costs, only_draft_tokens=2))
RUNS = {
    "`tokens`: prompt": of_memory("tokens"),
    "`reserve`: its reservation": of_memory("reserve:output=oracle"),
    "`reserve`: prompt": of_memory("reserve:context=16", 200),
    "managers of blocks": of_memory("paged:block=4"),
    "`chunked`": lambda: served(Capacity(1, "unlimited", prefill="chunked", token_budget=3)),
    "a batch above": lambda: served(Capacity(9)),
    "a draft length": lambda: served(Capacity(), profile=ONLY),
    "a prefix cache": lambda: served(
        Capacity(1, "unlimited", 200, "recompute", manager="paged:block=4", prefix_cache=True)
    ),
    "a clairvoyant": lambda: served(Capacity(), SRPT(drafts=Fixed(most=2))),
    "`draft_lag=1`": lambda: served(
        Capacity(drafting=Drafting(late=True)), FCFS(drafts=Survival(confidence=True))
    ),
    "`simulate`": lambda: served(Capacity(), batch=2, profile=TWO),
}
TWO = replace(
    PROFILE, costs=replace(PROFILE.costs, rounds=dict.fromkeys((1, 2), PROFILE.costs.rounds[1]))
)


def test_the_page_has_refusals():
    assert len(CAPACITIES) > 20


@pytest.mark.parametrize(("made", "message"), CAPACITIES, ids=[made for made, _ in CAPACITIES])
def test_a_capacity_of_the_page_is_refused_with_its_message(made, message):
    with pytest.raises(ValueError) as error:
        eval(made, {"Capacity": Capacity})
    assert str(error.value) == message


@pytest.mark.parametrize("case", RUNS)
def test_a_run_of_the_page_is_refused_with_its_message(case):
    message = re.search(rf"^\| {re.escape(case)}.* \| `(.*?)` \|$", TEXT, re.MULTILINE)
    assert message is not None
    with pytest.raises(ValueError) as error:
        RUNS[case]()
    assert str(error.value).startswith(message[1])


def test_every_refusal_of_runs_has_a_case():
    table = TEXT.split("| case | message begins |\n| --- | --- |\n")[1].split("\n\n")[0]
    assert len(table.splitlines()) == len(RUNS)


def test_the_names_of_the_steps_are_those_of_the_loop():
    steps = re.findall(r"^\d+\. \*\*\w+\*\* \(`(\w+)`\)", TEXT, re.MULTILINE)
    known = {**vars(loop), **vars(choice), **vars(memory), **vars(drafts), **vars(costs)}
    assert len(steps) == 10
    assert [name for name in steps if name not in known and name != "on_round"] == []
