"""The compiler of policies: Numba's, with Python's errors.

Numba itself casts a float that is written to an integer field, which Python does not, and has
functions that return a number where those of Python raise an error.
"""

import operator
from typing import Any

from numba.core import ir, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, FunctionPass, register_pass
from numba.core.errors import TypingError
from numba.core.ir_utils import build_definitions, find_const, guard, mk_unique_var
from numba.core.typed_passes import NopythonTypeInference
from numba.core.untyped_passes import IRProcessing

from lapsd.sim.engine.compiled.checks import OPERATORS, SMALL, checked_value, real_power
from lapsd.sim.engine.compiled.structs import Struct


@register_pass(mutates_CFG=False, analysis_only=False)
class RaiseAsPython(FunctionPass):
    """Puts the functions of `checks` in the place of those that do not raise."""

    _name = "raise_as_python"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Replace globals and operators; return that the code has changed."""
        for block in state.func_ir.blocks.values():
            body: list[Any] = []
            for statement in block.body:
                if isinstance(statement, ir.Assign):
                    body += _checked(statement, state.func_ir, block.scope)
                else:
                    body.append(statement)
            block.body = body
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        return True


def _checked(statement: Any, code: Any, scope: Any) -> list[Any]:
    """Return the statements in the place of an assignment."""
    value, place = statement.value, statement.loc
    if isinstance(value, ir.Global | ir.FreeVar):
        value.value = checked_value(value.value)
    if not isinstance(value, ir.Expr) or value.op not in ("binop", "inplace_binop"):
        return [statement]
    function = OPERATORS.get(value.fn if value.op == "binop" else value.immutable_fn)
    exponent = guard(find_const, code, value.rhs)
    is_known = isinstance(exponent, int | float)
    if function is None or (is_known and 0 <= exponent <= SMALL):
        return [statement]
    if function is OPERATORS[operator.pow] and is_known and exponent < 0:
        function = real_power
    called = ir.Var(scope, mk_unique_var("$checked"), place)
    call = ir.Expr.call(called, [value.lhs, value.rhs], (), place)
    return [
        ir.Assign(ir.Global("checked", function, place), called, place),
        ir.Assign(call, statement.target, place),
    ]


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
    """Numba's compiler with `RaiseAsPython` and `CheckWrites`."""

    def define_pipelines(self) -> list[Any]:
        """Return the pipeline: other functions, types, the check, and Numba's other passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(RaiseAsPython, IRProcessing)
        passes.add_pass_after(CheckWrites, NopythonTypeInference)
        passes.finalize()
        return [passes]
