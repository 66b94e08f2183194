"""Numba types of what a policy's method reads: its own parameters, a request, the request's State.

A value of these types is the address of a record; an attribute is read from the record, or written
to it where the type allows it. A text is part of the type, so that a comparison with it is decided
while compiling: of several ways that a parameter selects, only one is left in the compiled code.
"""

import bisect
import hashlib
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    lower_setattr_generic,
    overload,
    overload_method,
    register_model,
)
from numba.np import arrayobj

from lapsd.sim.engine.compiled.job import ADDRESSES, EVENT_KINDS, JOB, POLICY_FIELDS, WRITABLE

I64 = ir.IntType(64)
SCALARS = {np.dtype("i8"): types.int64, np.dtype("f8"): types.float64, np.dtype("?"): types.boolean}


F = TypeVar("F", bound=Callable[..., Any])


def bare(function: F) -> F:
    """Return a function without its annotations, which Numba compares with those of its
    implementation.
    """
    function.__annotations__ = {}
    return function


class Struct(types.Type):
    """The address of a record.

    Attributes
    ----------
    title : str
        What messages call it.
    fields : mapping of str to (int, type)
        Offset and type of each attribute. An array is stored as its address and its shape, an
        optional number as the number and whether it is there, a struct as its address.
    writable : names of the fields that may be written.
    refused : mapping of str to str
        Attributes that cannot be compiled, and why.
    """

    def __init__(
        self,
        title: str,
        fields: Mapping[str, tuple[int, types.Type]],
        writable: frozenset[str] = frozenset(),
        refused: Mapping[str, str] | None = None,
    ) -> None:
        self.title, self.fields, self.writable = title, dict(fields), writable
        self.refused = dict(refused or {})
        described = "; ".join(f"{n} {offset} {t}" for n, (offset, t) in self.fields.items())
        digest = hashlib.sha256(f"{described} {sorted(writable)}".encode()).hexdigest()[:12]
        super().__init__(name=f"{title} {digest}")


class Choice(types.Type):
    """A text that is known while compiling."""

    def __init__(self, value: str) -> None:
        self.value = value
        super().__init__(name=f"Choice({value!r})")


class Kind(types.Type):
    """The kind of an event: a number from 0, compared with the texts of `EVENT_KINDS`."""

    def __init__(self) -> None:
        super().__init__(name="Kind")


class JobStruct(Struct):
    """A request, as policies see it."""


class StepStruct(Struct):
    """A step, as draft policies see it."""


class RoutedStruct(Struct):
    """A request, as routers see it."""


class ServersStruct(Struct):
    """Servers, as routers see them.

    Attributes
    ----------
    request : RoutedStruct
        The request, in the same record.
    """

    def __init__(self, request: RoutedStruct, *args: Any) -> None:
        self.request = request
        super().__init__(*args)


class StateStruct(Struct):
    """What a policy keeps of a request."""


class EventStruct(types.Type):
    """An arrival or a completion."""

    def __init__(self, job: JobStruct) -> None:
        self.job = job
        super().__init__(name=f"Event({job})")


class AddressModel(models.PrimitiveModel):
    """A struct is its address."""

    def __init__(self, dmm: Any, fe_type: types.Type) -> None:
        super().__init__(dmm, fe_type, I64)


class EventModel(models.StructModel):
    """An event is its kind, its request and its time."""

    def __init__(self, dmm: Any, fe_type: EventStruct) -> None:
        members = [("kind", Kind()), ("job", fe_type.job), ("now_ns", types.int64)]
        super().__init__(dmm, fe_type, members)


for _type in (JobStruct, StepStruct, RoutedStruct, ServersStruct, StateStruct, Kind):
    register_model(_type)(AddressModel)
register_model(Choice)(models.OpaqueModel)
register_model(EventStruct)(EventModel)


@infer_getattr
class StructAttributes(AttributeTemplate):
    """Types of the attributes of a struct."""

    key = Struct

    def generic_resolve(self, struct: Struct, attr: str) -> types.Type | None:
        if attr in struct.refused:
            raise TypingError(f"{struct.title}.{attr} {struct.refused[attr]}")
        return struct.fields[attr][1] if attr in struct.fields else None


@infer_getattr
class EventAttributes(AttributeTemplate):
    """Types of the attributes of an event."""

    key = EventStruct

    def generic_resolve(self, event: EventStruct, attr: str) -> types.Type | None:
        return {"kind": Kind(), "job": event.job, "now_ns": types.int64}.get(attr)


@lower_getattr_generic(EventStruct)
def read_event(context: Any, builder: Any, event: EventStruct, value: Any, attr: str) -> Any:
    """Return an attribute of an event."""
    return getattr(context.make_helper(builder, event, value), attr)


@lower_getattr_generic(Struct)
def read_struct(context: Any, builder: Any, struct: Struct, value: Any, attr: str) -> Any:
    """Return an attribute of a struct, read from its record."""
    offset, kind = struct.fields[attr]
    if isinstance(kind, Choice | types.NoneType):
        return context.get_dummy_value()
    if isinstance(kind, types.Array):
        return _read_array(context, builder, value, offset, kind)
    if isinstance(kind, types.Optional):
        optional = context.make_helper(builder, kind)
        optional.data = _load(context, builder, value, offset, kind.type)
        optional.valid = cgutils.as_bool_bit(
            builder, _load(context, builder, value, offset + 8, types.int64)
        )
        return optional._getvalue()
    return _load(context, builder, value, offset, kind)


def _pointer(context: Any, builder: Any, address: Any, offset: int, kind: types.Type) -> Any:
    """Return a typed pointer to a field."""
    at = builder.add(address, ir.Constant(I64, offset))
    return builder.inttoptr(at, context.get_data_type(kind).as_pointer())


def _load(context: Any, builder: Any, address: Any, offset: int, kind: types.Type) -> Any:
    """Return a number, or the address of a struct, from a record."""
    if isinstance(kind, Struct):
        return builder.load(_pointer(context, builder, address, offset, types.int64))
    return context.unpack_value(builder, kind, _pointer(context, builder, address, offset, kind))


def _read_array(context: Any, builder: Any, address: Any, offset: int, kind: types.Array) -> Any:
    """Return an array whose address and shape a record holds."""
    words = [
        _load(context, builder, address, offset + 8 * i, types.int64) for i in range(kind.ndim + 1)
    ]
    itemsize = ir.Constant(I64, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [itemsize]
    for length in reversed(words[2:]):
        strides.insert(0, builder.mul(strides[0], length))
    array = arrayobj.make_array(kind)(context, builder)
    arrayobj.populate_array(
        array,
        data=builder.inttoptr(words[0], array.data.type),
        shape=words[1:],
        strides=strides,
        itemsize=itemsize,
        meminfo=None,
    )
    return array._getvalue()


@lower_setattr_generic(Struct)
def write_struct(context: Any, builder: Any, sig: Any, args: Any, attr: str) -> None:
    """Write a number to the record of a struct."""
    struct, given = sig.args
    assert attr in struct.writable, "refused by CheckWrites"
    offset, kind = struct.fields[attr]
    value = context.cast(builder, args[1], given, kind)
    context.pack_value(builder, kind, value, _pointer(context, builder, args[0], offset, kind))


@overload(operator.eq)
@bare
def equals_text(one: types.Type, other: types.Type) -> Any:
    """Compare a text or a kind of event with a text that is written in the source."""
    if isinstance(one, Choice) and isinstance(other, types.StringLiteral):
        return _always(one.value == other.literal_value)
    if isinstance(one, Kind) and isinstance(other, types.StringLiteral):
        if other.literal_value not in EVENT_KINDS:
            return _always(False)
        number = EVENT_KINDS.index(other.literal_value)
        return lambda one, other: kind_number(one) == number
    return None


@overload(operator.ne)
@bare
def differs_from_text(one: types.Type, other: types.Type) -> Any:
    """Compare a text or a kind of event with a text that is written in the source."""
    if isinstance(one, Choice | Kind) and isinstance(other, types.StringLiteral):
        return lambda one, other: not (one == other)  # noqa: SIM201 - `!=` is defined here
    return None


@overload(bisect.bisect_left)
@bare
def bisect_left(values: types.Type, value: types.Type) -> Any:
    """As `bisect.bisect_left`, for an array or a tuple of numbers."""

    @bare
    def search(values: Any, value: Any) -> Any:
        low, high = 0, len(values)
        while low < high:
            middle = (low + high) // 2
            if values[middle] < value:
                low = middle + 1
            else:
                high = middle
        return low

    return search


@overload(bisect.bisect_right)
@bare
def bisect_right(values: types.Type, value: types.Type) -> Any:
    """As `bisect.bisect_right`, for an array or a tuple of numbers."""

    @bare
    def search(values: Any, value: Any) -> Any:
        low, high = 0, len(values)
        while low < high:
            middle = (low + high) // 2
            if value < values[middle]:
                high = middle
            else:
                low = middle + 1
        return low

    return search


def _always(answer: bool) -> Any:
    """Return an implementation of a comparison whose answer is known."""
    return (lambda one, other: True) if answer else (lambda one, other: False)


@intrinsic
def kind_number(typing: Any, kind: types.Type) -> Any:
    """Return the number of a kind of event."""
    return types.int64(kind), lambda context, builder, sig, args: args[0]


@intrinsic
def floats_at(typing: Any, address: types.Type, length: types.Type) -> Any:
    """Return the array of so many float64 at an address."""
    kind = types.Array(types.float64, 1, "C", readonly=True)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = arrayobj.make_array(kind)(context, builder)
        arrayobj.populate_array(
            array,
            data=builder.inttoptr(args[0], array.data.type),
            shape=[args[1]],
            strides=[ir.Constant(I64, 8)],
            itemsize=ir.Constant(I64, 8),
            meminfo=None,
        )
        return array._getvalue()

    return kind(types.int64, types.int64), build


def job_type(state: StateStruct | None, *, writes: bool) -> JobStruct:
    """Return the type of a request whose policy keeps such a State, for a method that may write to
    it or not.
    """
    columns = JOB.fields
    assert columns is not None
    fields: dict[str, tuple[int, types.Type]] = {
        name: (columns[name][1], SCALARS[columns[name][0]])
        for name, _ in (*POLICY_FIELDS, *ADDRESSES)
    }
    refused = {} if state is not None else {"state": "is not there: the policy declares no State"}
    if state is not None:
        fields["state"] = (columns["state_address"][1], state)
    return JobStruct("job", fields, WRITABLE if writes else frozenset(), refused)


@overload_method(JobStruct, "acceptance")
@bare
def acceptance(job: types.Type, rounds: types.Type) -> Any:
    """As `policies.Job.acceptance`."""

    @bare
    def read(job: Any, rounds: Any) -> Any:
        assert 0 <= rounds <= job.rounds
        return floats_at(job.rates_address, job.rounds + 1)[rounds]

    return read


@overload_method(JobStruct, "acceptances")
@bare
def acceptances(job: types.Type, last: types.Type) -> Any:
    """As `policies.Job.acceptances`, as an array."""

    @bare
    def read(job: Any, last: Any) -> Any:
        assert 0 <= last <= job.rounds
        return floats_at(job.rates_address + 8 * (job.rounds - last + 1), last)

    return read


@overload_method(JobStruct, "acceptance_range")
@bare
def acceptance_range(job: types.Type, last: types.Type) -> Any:
    """As `policies.Job.acceptance_range`. O(last)."""

    @bare
    def read(job: Any, last: Any) -> Any:
        assert 0 < last <= job.rounds
        rates: Any = floats_at(job.rates_address, job.rounds + 1)
        least = most = rates[job.rounds]
        for rounds in range(job.rounds - last + 1, job.rounds):
            least, most = min(least, rates[rounds]), max(most, rates[rounds])
        return most - least

    return read
