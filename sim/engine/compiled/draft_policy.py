"""A draft policy's own method, compiled, and the arrays that the loop needs for its drafts.

The method `choose` is compiled in the same way as the methods of a `Policy`, behind the same
signature. It reads a record (`drafts.STEP`) as a `DraftStep`.
"""

import ctypes
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from lapsd.policies.calls import name_of
from lapsd.policies.drafts import DraftContext, DraftPolicy, DraftStep
from lapsd.policies.drafts.calls import bound_drafts, lengths_of
from lapsd.sim.engine.compiled import flat_server as flat
from lapsd.sim.engine.compiled.bound import Bound
from lapsd.sim.engine.compiled.cache import cache_folder
from lapsd.sim.engine.compiled.call import FUNCTIONS
from lapsd.sim.engine.compiled.drafts import COLUMNS_AND_TRUTH, NUMBERS, STEP, TABLES, WORDS
from lapsd.sim.engine.compiled.interpreted import PARAMETERS, RecordView, new_address
from lapsd.sim.engine.compiled.job import RAISED
from lapsd.sim.engine.compiled.methods import struct_of
from lapsd.sim.engine.compiled.parameters import Layout, layout_of
from lapsd.sim.engine.compiled.policy import (
    NotCompilable,
    compile_method,
    keys_of,
    state_dtype,
    state_struct,
)
from lapsd.sim.engine.compiled.reached import functions_reached, names_used
from lapsd.sim.engine.compiled.structs import StepStruct
from lapsd.sim.engine.drafting import Drafting, confidence_of, refuse_late, runs_of
from lapsd.traces import PricedTrace, ragged_round

METHODS = ("choose",)


@dataclass(eq=False)
class BoundDrafts(Bound[DraftPolicy]):
    """A draft policy, with the arrays of the loop."""

    context: DraftContext
    drafting: Drafting

    def longest_drafts(self, rows: int) -> NDArray[np.int64]:
        """Return the longest draft that a request of each row may get."""
        return np.full(rows, self.policy.most)

    def fields(self, tables: flat.DraftTables) -> dict[str, int]:
        """Return the fields of a server's record that say how drafts are chosen and verified."""
        return {
            "choose_drafts": self.address,
            "draft_policy": self.parameters.address,
            "step_address": tables.step.ctypes.data,
            "lengths_address": tables.lengths.ctypes.data,
            "verify_base_address": tables.verify_base.ctypes.data,
            "verify_per_token_address": tables.verify_per_token.ctypes.data,
            "most": self.policy.most,
            "padded": self.drafting.padded,
            "switch_ns": self.drafting.switch_ns,
            "late": self.drafting.late,
            "sees_truth": self.policy.clairvoyant,
            "confident": self.policy.confident,
            "columns": sum(
                1 << place for place, name in enumerate(COLUMNS_AND_TRUTH) if name in self.reads
            ),
        }


_COMPILED: dict[Layout, tuple[Any, np.dtype[Any]] | str] = {}
"""Compiled methods and dtypes of states by layout, or why a policy cannot be compiled."""


def bind_drafts(
    policy: DraftPolicy, context: DraftContext, drafting: Drafting
) -> BoundDrafts | NotCompilable:
    """Return the draft policy for a run, or why it cannot be compiled.

    Raises
    ------
    ValueError
        If the policy reads what an engine that decides late does not know.
    """
    bound = bound_drafts(policy, context)
    refuse_late(bound, drafting)
    names = names_used(functions_reached(type(bound), METHODS))
    layout = layout_of(bound, names)
    if layout not in _COMPILED:
        try:
            _COMPILED[layout] = _compile(bound, layout)
        except NotCompilable as error:
            _COMPILED[layout] = str(error)
    found = _COMPILED[layout]
    if isinstance(found, str):
        return NotCompilable(found)
    kept, state = found
    return BoundDrafts(bound, kept.address, layout, state, kept, names, context, drafting)


def _compile(policy: DraftPolicy, layout: Layout) -> tuple[Any, np.dtype[Any]]:
    """Return the compiled method of a policy, and the dtype of its State."""
    state = state_dtype(type(policy))
    if numba.config.DISABLE_JIT:
        return SimpleNamespace(address=_interpreted(state)), state
    types_of = struct_of(layout, type(policy).__name__, writes=False), step_struct(state)
    folder = cache_folder(*keys_of(policy, METHODS, layout, repr(state), repr(STEP)))
    title = f"draft policy {name_of(policy)}"
    return compile_method(title, "choose", types_of, folder), state


def step_struct(state: np.dtype[Any]) -> StepStruct:
    """Return the Numba type of a `DraftStep`."""
    whole = types.Array(types.int64, 1, "C", readonly=True)
    found: dict[str, tuple[int, types.Type]] = {
        name: (8 * STEP[name], types.boolean if name == "padded" else types.int64)
        for name in NUMBERS
        if name != "state"
    }
    found |= {name: (8 * STEP[name], whole) for name in (*COLUMNS_AND_TRUTH, *TABLES)}
    confidence = types.Array(types.float64, 2, "C", readonly=True)
    found["confidence"] = 8 * STEP["confidence"], confidence
    refused = {"state": "is not there: the draft policy declares no State"}
    if state.names:
        found["state"] = 8 * STEP["state"], state_struct(state, writes=True)
    return StepStruct("step", found, frozenset(), {} if state.names else refused)


def no_drafts() -> flat.DraftTables:
    """Return empty tables, for runs whose drafts are as recorded."""
    empty, floats = np.zeros(1, dtype=np.int64), np.zeros(1)
    return flat.DraftTables(
        *[floats if name in flat.DRAFT_FLOATS else empty for name in flat.DraftTables._fields]
    )


_COSTS: WeakKeyDictionary[PricedTrace, dict[Any, tuple[NDArray[np.int64], ...]]] = (
    WeakKeyDictionary()
)


def verify_costs(
    priced: PricedTrace, batch: int, most: int, drafting: Drafting
) -> tuple[NDArray[np.int64], ...]:
    """Return `verify_at`, `verify_base`, `verify_per_token` and `draft_terms` of `DraftTables`;
    made once.
    """
    made, key = _COSTS.setdefault(priced, {}), (batch, most, drafting.graph_sizes)
    if key not in made:
        costs = priced.profile.costs
        rounds = [ragged_round(costs, b, most, drafting.graph_sizes) for b in range(1, batch + 1)]
        sizes = [len(r.verify_base) for r in rounds]
        terms = [(r.draft_base, r.draft_per_token, r.divisor) for r in rounds]
        made[key] = (
            np.cumsum([0, 0, *sizes], dtype=np.int64),
            np.concatenate([r.verify_base for r in rounds]),
            np.concatenate([r.verify_per_token for r in rounds]),
            np.array([(0, 0, 1), *terms], dtype=np.int64).ravel(),
        )
    return made[key]


def draft_tables(
    bound: BoundDrafts, priced: PricedTrace, batch: int, jobs: NDArray[Any]
) -> flat.DraftTables:
    """Return the tables of runs under a draft policy, and fill what the requests keep of them."""
    most = bound.policy.most
    confidence = confidence_of(priced, bound.policy, bound.context)
    at, base, per_token, terms = verify_costs(priced, batch, most, bound.drafting)
    rates = np.zeros(int((jobs["output_tokens"] + 1).sum()))
    jobs["first_rate"] = np.cumsum(jobs["output_tokens"] + 1) - jobs["output_tokens"] - 1
    jobs["rates_address"] = rates.ctypes.data + 8 * jobs["first_rate"]
    made = flat.DraftTables(
        step=np.zeros(WORDS, dtype=np.int64),
        columns=np.zeros(len(COLUMNS_AND_TRUTH) * batch, dtype=np.int64),
        lengths=np.zeros(batch, dtype=np.int64),
        decoding=np.zeros(batch, dtype=np.int64),
        runs=runs_of(priced, bound.policy),
        verify_at=at,
        verify_base=base,
        verify_per_token=per_token,
        draft_terms=terms,
        rates=rates,
        confidence=np.append(confidence.by_position, 0.0),
        beyond=np.array([confidence.beyond]),
        confidences=np.zeros(max(1, batch * most)),
    )
    for place, name in enumerate(COLUMNS_AND_TRUTH):
        made.step[STEP[name]] = made.columns.ctypes.data + 8 * place * batch
    made.step[STEP["confidence"]] = made.confidences.ctypes.data
    made.step[STEP["confidence"] + 2] = most if bound.policy.confident else 0
    made.step[STEP["most"]], made.step[STEP["padded"]] = most, bound.drafting.padded
    return made


def step_at(address: int, state: Any) -> DraftStep:
    """Return the step whose record is at an address."""
    words = list((ctypes.c_int64 * WORDS).from_address(address))

    def array(name: str, kind: Any, *shape: int) -> NDArray[Any]:
        size = int(np.prod(shape))
        if size == 0:
            return np.zeros(shape, dtype=kind)
        memory: Any = (ctypes.c_int64 * size).from_address(words[STEP[name]])
        return np.frombuffer(memory, dtype=kind).reshape(shape)

    found: dict[str, Any] = {name: words[STEP[name]] for name in NUMBERS}
    for name in (*COLUMNS_AND_TRUTH, *TABLES):
        found[name] = array(name, np.int64, words[STEP[name] + 1])
    shape = words[STEP["confidence"] + 1], words[STEP["confidence"] + 2]
    found["confidence"] = array("confidence", np.float64, *shape)
    return DraftStep(**{**found, "padded": bool(found["padded"]), "state": state})


def explain_drafts(bound: BoundDrafts, tables: flat.DraftTables, now_ns: int) -> ValueError:
    """Return the error of `choose`, by calling it again in Python, unless it has a State, which it
    has written to.
    """
    if not bound.state.names:
        try:
            lengths_of(bound.policy, step_at(tables.step.ctypes.data, None), now_ns)
        except ValueError as error:
            return error
    return ValueError(
        f"draft policy {name_of(bound.policy)}: choose at {now_ns} ns raised an exception or"
        " returned what it must not, which engine=simpy names"
    )


def _interpreted(dtype: np.dtype[Any]) -> int:
    """Return the address of a Python function that calls `choose`, where nothing is compiled."""

    def choose(policy: int, step: int, now_ns: int, out: int) -> int:
        owner = PARAMETERS[policy].owner
        try:
            record = (ctypes.c_int64 * WORDS).from_address(step)
            lengths = lengths_of(owner, step_at(step, state_at(record[STEP["state"]], dtype)), 0)
        except Exception:
            return RAISED
        target = (ctypes.c_int64 * len(lengths)).from_address(out)
        target[:] = lengths.tolist()
        return 0

    address = new_address()
    FUNCTIONS[address] = choose
    return address


def state_at(address: int, dtype: np.dtype[Any]) -> Any:
    """Return the State at an address as an object; None without one."""
    return RecordView(address, dtype, frozenset(dtype.names)) if dtype.names else None
