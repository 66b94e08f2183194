"""Draft policies: specs that cannot be meant, and own ones that do what a draft policy must not."""

from tests.hostile.harness import Case, each

FEW = "compare --requests 3 --seeds 1"
SPECS = [
    Case(f"{FEW} --policy fcfs+", "unknown policy 'fcfs+'"),
    Case(f"{FEW} --policy +goodput", "unknown policy ''"),
    Case(f"{FEW} --policy fcfs++off", "unknown policy 'fcfs+'"),
    Case(f"{FEW} --policy fcfs+goodput+off", "unknown draft policy 'goodput+off'"),
    Case(f"{FEW} --policy 'fcfs+off '", "unknown draft policy 'off '"),
    Case(f"{FEW} --policy goodput", "unknown policy 'goodput'"),
    Case(f"{FEW} --policy fcfs+fixed:most=-1", "most=-1: must be between 0 and 64"),
    Case(f"{FEW} --policy fcfs+off --draft-policy off", "has a draft policy already"),
    Case(f"{FEW} --policy srpt --draft-policy off", "not with a draft policy"),
    Case(f"{FEW} --draft-policy ''", "--draft-policy '': is empty"),
    Case(f"{FEW} --draft-policy fcfs", "unknown draft policy 'fcfs'"),
    Case(f"{FEW} --draft-policy fixed --draft-policy fixed", "is given twice"),
    Case(f"{FEW} --draft-policy fixed:most=65", "most=65: must be between 0 and 64"),
    Case(f"{FEW} --draft-policy fixed:most=1.5", "needs an integer"),
    Case(f"{FEW} --draft-policy fixed:k=3", "has no parameter 'k'"),
    Case(f"{FEW} --draft-policy fixed:", "has no parameter ''"),
    Case(f"{FEW} --draft-policy off:most=3", "most=3: must be 0"),
    Case(f"{FEW} --draft-policy table:lengths=", "must be entries as in 1=5/9=3/33=0"),
    Case(f"{FEW} --draft-policy ema:alpha=nan", "alpha=nan: must be above 0"),
    Case(f"{FEW} --draft-policy off --versus fcfs", "not among the policies compared (fcfs+off)"),
    Case(f"{FEW} --draft-policy off --draft-lag 2", "draft_lag=2: must be at least 0"),
    Case(f"{FEW} --draft-policy off --graph-sizes 8/16/4", "graph_sizes=8/16/4: must be"),
    Case(f"{FEW} --draft-policy off --graph-sizes 8//16", "graph_sizes=8//16: must be"),
    Case(f"{FEW} --draft-policy off --graph-sizes 0", "graph_sizes=0: must be"),
    Case(f"{FEW} --draft-policy off --draft-switch-ms nan", "draft_switch_ms=nan"),
    Case(f"{FEW} --draft-policy off --draft-verify sideways", "must be ragged or padded"),
    Case(f"{FEW} --trace azure-conversations --draft-policy ema", "holds neither 'acceptable' nor"),
    Case("capacity --draft-policy nosuch", "unknown draft policy 'nosuch'"),
    Case("show reference --draft-policy off", "No such option: --draft-policy"),
    Case("sweep --out s --draft-policy fixed --most 1:3", "no policy of this sweep has it"),
    Case("sweep --out s --draft-policy fixed:most=3,5", "has no parameter '5'"),
    Case(f"{FEW} --draft-policy fixed --draft-policy fixed:most=7 --json", code=0),
    Case(f"{FEW} --draft-policy goodput:most=0 --clients 2 --batch 2 --json", code=0),
]


@each(SPECS)
def test_a_spec_of_a_draft_policy_is_taken_literally(case, run):
    run(case)


HEAD = """
import sys
from dataclasses import dataclass, replace
import numpy as np
from lapsd.policies import FCFS
from lapsd.policies.drafts import DraftPolicy, Fixed
from lapsd.policies.drafts.base import bound
"""
CLASS = "@dataclass(frozen=True)\nclass Own(DraftPolicy):"
CHOOSE = "def choose(self, step): "
ONE = "return np.full(step.requests, 1)"
STATE = "@dataclass\n class State:\n  x: int = 0\n "
CONFIDENT = "--trace reference-confidence"


def own(body: str, says: str, *, engine: str = "simpy", code: int = 2) -> Case:
    """A case in which `mine.py` holds a draft policy `Own` with this body."""
    lines = body if CHOOSE in body else f"{body}\n {CHOOSE}{ONE}"
    return module(f"{CLASS}\n {lines}", says, engine, code)


def module(text: str, says: str, engine: str = "simpy", code: int = 2) -> Case:
    """A case in which `mine.py` holds this text."""

    def given(folder):
        (folder / "mine.py").write_text(HEAD + text, encoding="utf-8")

    given.__name__ = " ".join(text.replace(CLASS, "").split())
    return Case(f"{FEW} {CONFIDENT} --draft-policy mine.Own --engine {engine}", says, code, given)


RETURNS = [
    own(CHOOSE + "return np.full(step.requests, 1.0)", "returned float64: must be an array of who"),
    own(CHOOSE + "return np.full(step.requests, np.nan)", "returned float64: must be an array of"),
    own(CHOOSE + "return np.full(step.requests, -1)", "length -1: must be between 0 and 7"),
    own(CHOOSE + "return np.full(step.requests, 8)", "length 8: must be between 0 and 7"),
    own(
        CHOOSE + "return np.full((step.requests, 1), 1)", "returned an array of shape (1, 1): must"
    ),
    own(CHOOSE + "return np.ones(step.requests, dtype=bool)", "returned bool: must be an array of"),
    own(
        CHOOSE + "return np.full(1, 2**63, dtype=np.uint64)", "length 9223372036854775808: must be"
    ),
    own(CHOOSE + "return [1]", "returned list: must be an array of whole numbers"),
    own(CHOOSE + "return None", "returned NoneType: must be an array of whole numbers"),
    own(CHOOSE + "return step.contexts", "choose at 50616967 ns returned length 57: must be"),
    own(CHOOSE + "return np.ones(step.requests, dtype=np.uint8)", "", code=0),
]

RAISES = [
    own(CHOOSE + "return 1 / 0", "Own: choose at 50616967 ns raised ZeroDivisionError: division"),
    own(CHOOSE + "raise KeyError", "choose at 50616967 ns raised KeyError"),
    own(CHOOSE + "raise ValueError('two\\nlines')", "raised ValueError: two lines"),
    own(CHOOSE + "sys.exit(0)", "draft policy Own: choose at 50616967 ns raised SystemExit: 0"),
    own(CHOOSE + "return step.confidence[0, 0]", "raised IndexError: index 0 is out of bounds"),
    own(CHOOSE + "step.state.x += 1; " + ONE, "raised AttributeError: 'NoneType' object has no"),
    own("def bind(self, context): return None", "Own: bind raised TypeError: it must return a dra"),
    own(
        "def bind(self, context): return FCFS()", "it must return a draft policy, and returns FCFS"
    ),
    own("def bind(self, context): 1 / 0", "draft policy Own: bind raised ZeroDivisionError"),
    own("def bind(self, context): sys.exit(0)", "draft policy Own: bind raised SystemExit: 0"),
    own("def bind(self, context): context.by_place = 3", "Own: bind raised FrozenInstanceError"),
    own("def bind(self, context): return context.by_place[99]", "Own: bind raised IndexError"),
    own("def bind(self, context): return Fixed(most=2)", "", code=0),
    own("K: int = 3\n def __post_init__(self): raise KeyError('no')", "__init__ raised KeyError"),
    own("K: int = 3\n def __post_init__(self): sys.exit(0)", "__init__ raised SystemExit: 0"),
    own("@property\n def confident(self): return 1 / 0", "Own: confident raised ZeroDivisionError"),
]

WRITES = [
    own(CHOOSE + "step.contexts[:] = 0; " + ONE, "raised ValueError: assignment destination is re"),
    own(CHOOSE + "step.verify_base[:] = 0; " + ONE, "raised ValueError: assignment destination is"),
    own(CHOOSE + "step.most = 50; return np.full(1, 50)", "cannot assign to field 'most'"),
    own(CHOOSE + "step.requests = 5; " + ONE, "FrozenInstanceError: cannot assign to field"),
    own(CHOOSE + "self.most = 3; " + ONE, "FrozenInstanceError: cannot assign to field 'most'"),
    own(STATE + CHOOSE + "step.state = None; " + ONE, "cannot assign to field 'state'"),
    own(STATE + CHOOSE + "step.state.x = 1.5; " + ONE, "step.state.x=1.5: must be of type int"),
    own(STATE + CHOOSE + "step.state.y = 1; " + ONE, "step.state.y must not be written here"),
    own(STATE + CHOOSE + "step.state.x += 1; return np.full(1, step.state.x)", "returned length 8"),
    own(
        "seen: np.ndarray = bound(None)\n def bind(self, context): return replace(self,"
        " seen=np.zeros(1))\n " + CHOOSE + "self.seen[0] += 1; " + ONE,
        "raised ValueError: assignment destination is read-only",
    ),
]

CLASSES = [
    module("class Own: pass", "not a subclass of lapsd.policies.drafts.DraftPolicy"),
    module("class Own(DraftPolicy): pass", "draft policy Own: defines no choose"),
    module(f"class Own(DraftPolicy):\n k: int = 3\n {CHOOSE}{ONE}", "k is no parameter: Own must"),
    own("name = 'goodput'", "Own: is called 'goodput', as a bundled one"),
    own("name = 'x+off'", "draft policy Own: name='x+off': must consist of letters, digits"),
    own("most: int = 100", "__init__ raised ValueError: Own: most=100: must be between 0 and 64"),
    own("most: float = 3.0", "most raised ValueError: must be a whole number from 0 to 64, and is"),
    own("most: int = 1000\n def __post_init__(self): pass", "must be a whole number from 0 to 64"),
    own("clairvoyant = 'yes'", "clairvoyant raised TypeError: it must be True or False, and is"),
    own("State = dict", "draft policy Own: State must be a dataclass whose fields have defaults"),
    own("@dataclass\n class State:\n  x: list = None", "State.x is of type NoneType: must be int"),
]

COMPILED = [
    own(CHOOSE + "return np.full(step.requests, 1 // (step.tokens[0] - 9))", "", engine="auto"),
    own(CHOOSE + "return step.tokens", "returned length 10: must be between", engine="auto"),
    own(CHOOSE + "step.verify_base[:] = 0; " + ONE, "assignment destination is", engine="auto"),
    own("def bind(self, context): sys.exit(0)", "bind raised SystemExit: 0", engine="auto"),
]


@each([*RETURNS, *RAISES, *WRITES, *CLASSES])
def test_a_draft_policy_that_is_wrong_ends_in_one_line(case, run):
    run(case)


@each(COMPILED)
def test_a_compiled_draft_policy_that_is_wrong_ends_in_the_line_of_simpy(case, run):
    _, line = run(case)
    _, same = run(case._replace(command=case.command.replace("auto", "simpy")))
    assert line == same


def test_an_error_after_a_write_to_the_state_names_the_engine_that_names_it(run):
    body = STATE + CHOOSE + "step.state.x += 1; return np.full(step.requests, step.state.x)"
    run(own(body, "returned what it must not, which engine=simpy names", engine="auto"))
