"""Emulate CUDA graphs without a GPU: record a function's operators, and replay them.

The emulation has the restrictions of a CUDA graph. A replay runs only the recorded operators, on
the recorded tensors, and no Python code. Memory that a capture allocated is poisoned before each
replay, since another graph may have used it. During a capture, the host may not read any value.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from lapsd.calibrate.models.operators import PLAIN, Operators

FORBIDDEN = (
    "_local_scalar_dense",
    "nonzero",
    "equal",
    "is_nonzero",
    "masked_select",
    "item",
    "lift_fresh",
    "unique",
)

# each of our operators is one call on the tape, as it is one or two kernels on a GPU
SCHEMAS = {
    "norm": "(Tensor x, Tensor weight, float epsilon) -> Tensor",
    "silu_multiply": "(Tensor gate_up) -> Tensor",
    "rotate_and_store": (
        "(Tensor(a!) qkv, Tensor cos, Tensor signed_sin, Tensor positions, Tensor(b!) cache) -> ()"
    ),
    "attend": "(Tensor qkv, Tensor cache, Tensor positions, int splits) -> Tensor",
}
_LIBRARY = torch.library.Library("lapsd_test", "DEF")
_given = {"operators": PLAIN}
for _name, _schema in SCHEMAS.items():
    _LIBRARY.define(_name + _schema)
    _LIBRARY.impl(_name, lambda *args, name=_name: getattr(_given["operators"], name)(*args), "CPU")


def as_kernels(operators: Operators = PLAIN, programs: int = 8) -> Operators:
    """Return `operators` as operators of torch, each of which a tape records as one call.

    Only the operators of the last call of this function are active.

    Parameters
    ----------
    operators : Operators
    programs : int
        Determines `Operators.splits`.
    """
    _given["operators"] = operators
    return Operators(
        "on tape",
        *(getattr(torch.ops.lapsd_test, name).default for name in SCHEMAS),
        waits=False,
        programs=programs,
    )


class HostRead(RuntimeError):
    """A captured function read a value on the host."""


def _storages(values: Any) -> list[int]:
    return [
        t.untyped_storage().data_ptr() for t in tree_flatten(values)[0] if isinstance(t, Tensor)
    ]


class Tape(TorchDispatchMode):
    """The recorded operators of one capture, with their arguments and results.

    All tensors stay in memory as long as the tape.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self._given: set[int] = set()  # storages that existed before the capture
        self._own: dict[int, Tensor] = {}  # one tensor for each storage that the capture allocated

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name().split("::")[1].split(".")[0] in FORBIDDEN:
            raise HostRead(func.name())
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, out))
        self._given |= set(_storages((args, kwargs))) - set(self._own)
        for tensor in tree_flatten(out)[0]:
            if (
                isinstance(tensor, Tensor)
                and tensor.untyped_storage().data_ptr() not in self._given
            ):
                self._own.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return out

    def poison(self) -> None:
        """Overwrite all storages that the capture allocated."""
        for tensor in self._own.values():
            whole = tensor.new_empty(0).set_(tensor.untyped_storage())
            whole.fill_(float("nan") if tensor.dtype.is_floating_point else 7)

    def run(self) -> None:
        for func, args, kwargs, out in self.calls:
            if func.name().startswith("aten::empty") or func.name().startswith("aten::new_empty"):
                continue  # uninitialised memory stays poisoned
            again = func(*args, **kwargs)
            for old, new in zip(tree_flatten(out)[0], tree_flatten(again)[0], strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    @property
    def kernels(self) -> Counter[str]:
        """Counts of the operators that a GPU runs as kernels, without views and allocations."""
        found: Counter[str] = Counter()
        for func, args, kwargs, out in self.calls:
            view = not func._schema.is_mutable and set(_storages(out)) & set(
                _storages((args, kwargs))
            )
            if not view and not func.name().startswith(("aten::empty", "aten::new_empty")):
                found[func.name().split("::")[1].split(".")[0]] += 1
        return found


class TapeGraphs:
    """Implements `lapsd.calibrate.models.graphs.Capturing` with tapes."""

    def __init__(self, warm_up: int = 3) -> None:
        self.tapes: list[Tape] = []
        self._warm_up = warm_up

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        for _ in range(self._warm_up):
            function()
        tape = Tape()
        with tape:
            function()
        self.tapes.append(tape)

        def replay() -> None:
            for other in self.tapes:  # all graphs share their memory
                other.poison()
            tape.run()

        return replay
