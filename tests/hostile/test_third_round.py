"""A third round of attempts: compiled arithmetic, classes, scripts, and calls in Python."""

import math
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

import lapsd
from lapsd.policies import FCFS, Policy
from lapsd.policies.drafts import Goodput
from lapsd.sim.experiment.statistics import paired_difference
from lapsd.traces import at_draft_length, load_profile, load_trace, price, trace_from_rounds
from tests.hostile.harness import Case, each
from tests.hostile.test_policies import RANK, ROUND, own


# what Numba computes where Python raises
@dataclass(frozen=True)
class Raising(Policy):
    """Raises in Python as soon as a request arrives, by a function that Numba has, too."""

    way: str = ""

    def rank(self, job, now_ns):
        if self.way == "log":
            return (math.log(job.rounds),)
        if self.way == "log2":
            return (math.log2(job.rounds),)
        if self.way == "lgamma":
            return (math.lgamma(-job.rounds),)
        if self.way == "exp":
            return (math.exp(1000 + job.rounds),)
        if self.way == "sinh":
            return (math.sinh(1000 + job.rounds),)
        if self.way == "power":
            return (10.0 ** (400 + job.rounds),)
        if self.way == "int":
            return (int(math.inf) + job.rounds,)
        if self.way == "floor":
            return (math.floor(math.inf) + job.rounds,)
        if self.way == "left":
            return (1 << (job.rounds - 5),)
        return (job.rounds >> -1,)


WAYS = ["log", "log2", "lgamma", "exp", "sinh", "power", "int", "floor", "left", "right"]


@pytest.mark.parametrize("way", WAYS)
def test_arithmetic_that_raises_in_python_raises_in_compiled_code(way):
    errors = []
    for engine in ("simpy", "compiled"):
        with pytest.raises(ValueError, match="policy Raising: rank of request 0 at") as caught:
            lapsd.compare(policies=[Raising(way)], requests=2, seeds=1, engine=engine)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


@dataclass(frozen=True)
class Powers(Policy):
    """Ranks by powers whose results are whole numbers, or not."""

    base: int = 3

    def rank(self, job, now_ns):
        falling = (job.rounds + 2) ** -1 + (job.tokens + 2) ** -2 + 2.0**-job.rounds
        rising = self.base**job.queue + (1 << job.rounds % 5) + 0.9**job.rounds
        return (falling, rising, math.log(1 + job.rounds), math.floor(job.tokens / 7))


def test_powers_and_logarithms_are_those_of_python():
    runs = [
        lapsd.compare(policies=[Powers()], requests=12, seeds=2, load=1.2, engine=engine).requests
        for engine in ("simpy", "compiled")
    ]
    pd.testing.assert_frame_equal(*runs)


# classes that Python and compiled code would take differently
FROZEN = "@dataclass(frozen=True)\n class State:\n  x: int = 0\n "
DOUBLING = (
    "@dataclass\n class State:\n  x: int = 0\n"
    "  def __setattr__(self, name, value): object.__setattr__(self, name, 2 * value)\n "
)
CLASSES = [
    own(FROZEN + ROUND + "job.state.x = 1", "policy Own: State must not be frozen, nor define"),
    own(DOUBLING + ROUND + "job.state.x = 1", "policy Own: State must not be frozen, nor define"),
    own("async def rank(self, job, now_ns): return (1,)\n #" + RANK, "rank must return its result"),
    own("async " + ROUND + "job.queue = 3", "on_round must return its result: no async and no"),
    own(ROUND + "\n  job.queue = 3\n  yield", "on_round must return its result: no async and no"),
    own("async def on_event(self, event): return True", "on_event must return its result"),
    own("on_arrival = 3", "policy Own: on_arrival must be a method, and is 3"),
    own("bind: int = 3", "policy Own: bind must be a method, and is 3"),
    own("drafts: int = 3", "policy Own: drafts is the draft policy, and no name of a parameter"),
    own("clairvoyant = 'no'", "clairvoyant raised TypeError: it must be True or False, and is"),
]


@each(CLASSES)
def test_a_class_that_is_no_plain_policy_is_refused(case, run):
    run(case)


@dataclass(frozen=True)
class Replaced(Policy):
    """Has another function in the place of a method."""

    def key(self, job):
        return job.index

    def rank(self, job, now_ns):
        return (self.key(job),)

    def __post_init__(self):
        object.__setattr__(self, "key", lambda job: -job.index)


def test_a_method_that_an_object_replaces_is_not_compiled():
    with pytest.raises(ValueError, match="policy Replaced: key is not the method of its class"):
        lapsd.compare(policies=[Replaced()], requests=2, seeds=1, engine="compiled")


# scripts
SWEEP = """import lapsd
print("started")
{}
print(len(lapsd.sweep("s", ["{}"], requests=2, seeds=510, workers=2, engine="simpy")))
"""
OWN = "class Own(lapsd.policies.FCFS): pass"


@pytest.mark.parametrize("way", ["a file", "stdin"])
def test_a_script_sweeps_without_being_run_again_by_its_workers(way, tmp_path):
    text = SWEEP.format("", "fcfs")
    (tmp_path / "script.py").write_text(text)
    words = [] if way == "stdin" else ["script.py"]
    done = subprocess.run(
        [sys.executable, *words],
        input=text if way == "stdin" else "",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "started\n510\n", done.stderr


def test_a_policy_of_the_main_script_needs_one_worker(tmp_path):
    (tmp_path / "script.py").write_text(SWEEP.format(OWN, "__main__.Own"))
    words = [sys.executable, "script.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    says = "ValueError: policy __main__.Own: worker processes cannot import it: define it in"
    assert done.stderr.splitlines()[-1].startswith(says)


# calls whose arguments Python would cut, spread or ignore
ROW = {"request_id": "a", "dataset": "d", "prompt_tokens": 1, "output_tokens": 1}
ROW |= {"drafted": [0], "accepted": [0]}
PLACE = "trace, row 1, field"
CALLS = [
    (lambda: trace_from_rounds([ROW, ROW | {"prompt_tokens": 1.5}]), f"{PLACE} 'prompt_tokens': 1"),
    (lambda: trace_from_rounds([ROW, ROW | {"drafted": [0.5]}]), f"{PLACE} 'drafted': 0.5: must"),
    (lambda: trace_from_rounds([ROW, ROW | {"output_tokens": True}]), "'output_tokens': True"),
    (lambda: trace_from_rounds([ROW, ROW | {"acceptible": [0]}]), f"{PLACE} 'acceptible': unknown"),
    (lambda: trace_from_rounds([{"request_id": "a"}]), "trace, row 0, field .*: missing"),
    (lambda: lapsd.compare(rate=2.0, rate_per_s=3.0), "rate_per_s=3.0: rate is given, too"),
    (lambda: lapsd.compare(think_s=1.0, think=2.0, clients=2), "think=2.0: think is given, too"),
    (lambda: lapsd.compare(load=pd.Series([1, 2])), "load=0 1 1 2 dtype: int64: needs a number"),
    (lambda: lapsd.compare(trace=3), "trace: needs a name or a path, not a int"),
    (lambda: lapsd.compare(profile=b"reference"), "profile: needs a name or a path, not a bytes"),
    (lambda: lapsd.compare(arrivals=[0, 1]), "arrivals: needs recorded arrivals or a file of them"),
    (lambda: lapsd.compare(policies=FCFS(drafts="goodput")), "drafts='goodput': must be a draft"),
    (lambda: lapsd.compare(policies=FCFS(drafts=Goodput)), "must be a draft policy or None"),
    (lambda: lapsd.parse_policy(None), "policy None: needs a text"),
    (lambda: lapsd.sweep("s", ["fcfs"], load=b"0.5"), "load: needs a value or a list of values"),
    (lambda: lapsd.sweep("s", ["fcfs"], trace=load_trace("reference")), "trace: needs a text"),
    (lambda: lapsd.sweep("s", ["fcfs"], workers=2.5), "workers=2.5: needs an integer"),
    (lambda: lapsd.sweep("s", ["fcfs"], workers=True), "workers=True: needs an integer"),
    (lambda: lapsd.sweep("s", ["fcfs"], until_ci=Fraction(1, 2)), "until_ci .*: needs a share"),
    (lambda: price(load_trace("reference"), load_profile("reference"), 1.5), "batch size 1.5"),
    (lambda: paired_difference([1.0, 2.0], [1.0]), r"shapes \(2,\) and \(1,\): must be equal"),
    (lambda: lapsd.compare(requests=2, seeds=1, policies=FCFS()).arrival_ns("las"), "no such run"),
    (lambda: lapsd.compare(requests=2, seeds=1, policies=FCFS()).arrival_ns("fcfs", 9), "no such"),
]


@pytest.mark.parametrize(("call", "says"), CALLS)
def test_arguments_that_would_be_cut_or_ignored_are_refused(call, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def latin1(folder) -> None:
    """Put a profile whose bytes are not UTF-8 into the folder."""
    (folder / "p.json").write_bytes(b'{"lapsd_profile": "\xe9"}')


TEXTS = [
    Case("show p.json", "p.json: not text in UTF-8, as the byte 0xe9 in it shows", given=latin1),
    Case("compare --profile p.json", "profile p.json: not text in UTF-8", given=latin1),
]


@each(TEXTS)
def test_a_file_that_is_not_utf_8_is_said_to_be_so(case, run):
    run(case)


# laws
SCENARIOS = [
    {"batch": 4, "load": 1.1},
    {"batch": 4, "kv_tokens": 3000, "memory": "alise", "prefill": "chunked", "token_budget": 256},
    {"clients": 6, "think": 0.5, "batch": 3},
    {"dataset": "code=0.6+prose=0.4", "length_predictor": "noisy:0.5"},
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_other_policies_change_nothing(scenario):
    specs = ["las", "laps-sd", "alise", "srpt", "fcfs"]

    def table(names):
        policies = [lapsd.parse_policy(name) for name in names]
        made = lapsd.compare(policies=policies, seeds=2, requests=12, **scenario)
        return made.table.set_index("policy")

    whole = table(specs)
    pd.testing.assert_frame_equal(whole.loc[specs[::-1]], table(specs[::-1]), check_exact=True)
    pd.testing.assert_frame_equal(whole.loc[["srpt"]], table(["srpt"]), check_exact=True)


def test_unlimited_memory_and_budgets_are_those_that_are_large_enough():
    def finish(**scenario):
        policies = [lapsd.parse_policy(name) for name in ("las", "srpt")]
        runs = lapsd.compare(policies=policies, seeds=2, requests=12, batch=4, **scenario)
        return runs.requests["finish_ns"].tolist()

    free = finish(kv_slots="unlimited")
    for memory in ("tokens", "reserve", "paged"):
        assert finish(kv_tokens=10**8, memory=memory) == free
    assert finish(prefill="chunked", token_budget=10**7) == finish(prefill="mixed")


def test_draft_lengths_of_a_policy_are_those_of_a_replay():
    trace = at_draft_length(load_trace("reference"), 0, np.random.default_rng(0))
    runs = lapsd.compare(
        trace,
        policies=[lapsd.parse_policy(name) for name in ("las", "las+off")],
        seeds=2,
        requests=10,
    ).requests
    recorded, chosen = (runs[runs["policy"] == name]["finish_ns"] for name in ("las", "las+off"))
    assert recorded.tolist() == chosen.tolist()
