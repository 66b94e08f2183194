"""The compiler of policies: Numba's, which also refuses a number of a wider type in a State.

Numba itself casts a float that is written to an integer field, which Python does not.
"""

from typing import Any

from numba.core import ir, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.errors import TypingError
from numba.core.typed_passes import NopythonTypeInference

from lapsd.sim.engine.compiled.structs import Struct


@register_pass(mutates_CFG=False, analysis_only=True)
class CheckWrites(AnalysisPass):
    """Refuses what a method may not write."""

    _name = "check_writes"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Check each attribute that the function writes; return that the code stays as it is."""
        for block in state.func_ir.blocks.values():
            for statement in block.find_insts(ir.SetAttr):
                target, value = (state.typemap[v.name] for v in (statement.target, statement.value))
                if isinstance(target, Struct):
                    _check(target, statement.attr, value, statement.loc)
        return False


def _check(struct: Struct, attr: str, value: types.Type, place: Any) -> None:
    """Raise if a value must not be written to an attribute."""
    if attr not in struct.writable:
        raise TypingError(f"{struct.title}.{attr} must not be written by a policy", loc=place)
    kind = struct.fields[attr][1]
    if width(value) > width(kind):
        raise TypingError(
            f"{struct.title}.{attr} is of type {kind}, and {value} is written to it", loc=place
        )


def width(kind: types.Type) -> int:
    """Return a number that is larger the more values a type of numbers has."""
    if isinstance(kind, types.Boolean):
        return 0
    if isinstance(kind, types.Integer):
        return 1
    return 2 if isinstance(kind, types.Float) else 3


class PolicyCompiler(CompilerBase):
    """Numba's compiler with `CheckWrites`."""

    def define_pipelines(self) -> list[Any]:
        """Return the pipeline: types, then the check, then Numba's other passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(CheckWrites, NopythonTypeInference)
        passes.finalize()
        return [passes]
