"""The functions that the loop calls: a policy's methods behind one signature.

Each takes four integers, the addresses of the policy's record and of a request's record, the time
in nanoseconds and an address for results, and returns one. No exception leaves it: an error is a
code. Knows nothing of how methods are found or kept.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from lapsd.sim.engine.compiled.job import KEYS, NOT_A_NUMBER, RAISED
from lapsd.sim.engine.compiled.structs import (
    I64,
    EventStruct,
    JobStruct,
    ServersStruct,
    Struct,
    bare,
)

METHODS = ("rank", "on_round", "on_event", "remaining_ns", "wake")

SOURCES = {
    "rank": """
def rank(policy, job, now_ns, out):
    try:
        return write_keys(out, as_policy(policy).rank(as_job(job), now_ns))
    except Exception:
        return RAISED
""",
    "on_round": """
def on_round(policy, job, now_ns, out):
    try:
        as_policy(policy).on_round(as_job(job), now_ns)
    except Exception:
        return RAISED
    return 0
""",
    "on_event": """
def on_event(policy, job, now_ns, out):
    try:
        return 1 if truth(as_policy(policy).on_event(as_event(job, now_ns, read(out)))) else 0
    except Exception:
        return -RAISED
""",
    "remaining_ns": """
def remaining_ns(policy, job, now_ns, out):
    try:
        return whole(as_policy(policy).remaining_ns(as_job(job)))
    except Exception:
        return -RAISED
""",
    "wake": """
def wake(policy, job, now_ns, out):
    try:
        return whole(as_policy(policy).wake(as_job(job), now_ns))
    except Exception:
        return -RAISED
""",
    "choose": """
def choose(policy, step, now_ns, out):
    try:
        return write_lengths(out, as_job(step), as_policy(policy).choose(as_job(step)))
    except Exception:
        return RAISED
""",
    "route": """
def route(router, record, now_ns, out):
    try:
        return number(as_policy(router).route(as_request(record), as_job(record), now_ns))
    except Exception:
        return -RAISED
""",
}


def entry(method: str, policy: Struct, job: Struct, path: str) -> Any:
    """Return the function, to be compiled, that calls a method of a policy.

    Parameters
    ----------
    job : Struct
        Type of a request; of a step, for `choose`; of servers, for `route`.
    path : str
        The file that holds its source, `SOURCES[method]`, for caching; any text without caching.
    """
    names = {
        "__name__": __name__,
        "as_policy": _address_as(policy),
        "as_job": _address_as(job),
        "as_event": _event_maker(EventStruct(job)) if isinstance(job, JobStruct) else None,
        "write_keys": write_keys,
        "write_lengths": write_lengths,
        "as_request": _address_as(job.request) if isinstance(job, ServersStruct) else None,
        "whole": whole,
        "number": number,
        "truth": truth,
        "read": read,
        "RAISED": RAISED,
    }
    exec(compile(SOURCES[method], path, "exec"), names)
    return names[method]


def _address_as(kind: types.Type) -> Any:
    """Return the function that takes an address as a struct."""

    @intrinsic
    def as_struct(typing: Any, address: types.Type) -> Any:
        return kind(types.int64), lambda context, builder, sig, args: args[0]

    return as_struct


def _event_maker(kind: EventStruct) -> Any:
    """Return the function that makes an event of the address of its request, its time and kind."""

    @intrinsic
    def as_event(typing: Any, job: types.Type, now_ns: types.Type, number: types.Type) -> Any:
        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            event = context.make_helper(builder, kind)
            event.job, event.now_ns, event.kind = args
            return event._getvalue()

        return kind(types.int64, types.int64, types.int64), build

    return as_event


@intrinsic
def read(typing: Any, address: types.Type) -> Any:
    """Return the integer at an address."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], I64.as_pointer()))

    return types.int64(types.int64), build


@intrinsic
def whole(typing: Any, value: types.Type) -> Any:
    """Return a time in whole nanoseconds; 0 for None."""
    kind = value.type if isinstance(value, types.Optional) else value
    if not isinstance(kind, types.Integer | types.NoneType):
        raise TypingError(f"it must return a whole number or None, and returns {value}")

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if isinstance(value, types.NoneType):
            return ir.Constant(I64, 0)
        if not isinstance(value, types.Optional):
            return context.cast(builder, args[0], value, types.int64)
        optional = context.make_helper(builder, value, args[0])
        number = context.cast(builder, optional.data, kind, types.int64)
        return builder.select(optional.valid, number, ir.Constant(I64, 0))

    return types.int64(value), build


@intrinsic
def number(typing: Any, value: types.Type) -> Any:
    """Return the number of a server."""
    if not isinstance(value, types.Integer):
        raise TypingError(f"it must return the number of a server, and returns {value}")

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.cast(builder, args[0], value, types.int64)

    return types.int64(value), build


@intrinsic
def truth(typing: Any, value: types.Type) -> Any:
    """Return the answer of `on_event` itself, if it can be one."""
    kind = value.type if isinstance(value, types.Optional) else value
    if not isinstance(kind, types.Boolean | types.Integer | types.NoneType):
        raise TypingError(f"it must return True or False, and returns {value}")
    return value(value), lambda context, builder, sig, args: args[0]


@intrinsic
def write_keys(typing: Any, out: types.Type, rank: types.Type) -> Any:
    """Write a rank as integers that are ordered as the rank is; return 0, or `NOT_A_NUMBER`.

    Floats are ordered as their bits are, once the bits of negative ones but the sign are inverted.
    """
    if not isinstance(rank, types.BaseTuple) or not 1 <= len(rank) <= KEYS:
        raise TypingError(f"a rank must be a tuple of 1 to {KEYS} numbers, and is {rank}")
    kinds = [part.type if isinstance(part, types.Optional) else part for part in rank]
    for kind in kinds:
        if not isinstance(kind, types.Integer | types.Boolean | types.Float):
            raise TypingError(f"a rank must consist of numbers, and holds {kind}")

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        status = ir.Constant(I64, 0)
        for place in range(KEYS):
            key = ir.Constant(I64, 0)
            if place < len(rank):
                part = builder.extract_value(args[1], place)
                if isinstance(rank[place], types.Optional):
                    optional = context.make_helper(builder, rank[place], part)
                    part = optional.data
                    status = builder.select(optional.valid, status, ir.Constant(I64, RAISED))
                if isinstance(kinds[place], types.Float):
                    part = context.cast(builder, part, kinds[place], types.float64)
                    key, status = _float_key(builder, part, status)
                else:
                    key = context.cast(builder, part, kinds[place], types.int64)
            at = builder.add(args[0], ir.Constant(I64, 8 * place))
            builder.store(key, builder.inttoptr(at, I64.as_pointer()))
        return status

    return types.int64(types.int64, rank), build


@intrinsic
def store(typing: Any, address: types.Type, value: types.Type) -> Any:
    """Write an integer to an address; return 0."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], I64.as_pointer()))
        return ir.Constant(I64, 0)

    return types.int64(types.int64, types.int64), build


def write_lengths(out: Any, step: Any, lengths: Any) -> int:
    """Write draft lengths; return 0, or `RAISED` unless there is one for each request.

    Compiled only: see the overload.
    """
    raise NotImplementedError


@overload(write_lengths)
@bare
def write_whole_lengths(out: types.Type, step: types.Type, lengths: types.Type) -> Any:
    """As `write_lengths`, for an array of whole numbers."""
    is_array = isinstance(lengths, types.Array) and lengths.ndim == 1
    if not is_array or not isinstance(lengths.dtype, types.Integer):
        raise TypingError(f"it must return an array of whole numbers, and returns {lengths}")

    @bare
    def write(out: Any, step: Any, lengths: Any) -> Any:
        if len(lengths) != step.requests:
            return RAISED
        for place in range(len(lengths)):
            store(out + 8 * place, lengths[place])
        return 0

    return write


def _float_key(builder: Any, part: Any, status: Any) -> tuple[Any, Any]:
    """Return the key of a float, and the status after it."""
    zero = ir.Constant(part.type, 0.0)
    bits = builder.bitcast(builder.fadd(part, zero), I64)  # -0.0 becomes 0.0
    negative = builder.icmp_signed("<", bits, ir.Constant(I64, 0))
    inverted = builder.xor(bits, ir.Constant(I64, 2**63 - 1))
    is_nan = builder.fcmp_unordered("uno", part, part)
    return (
        builder.select(negative, inverted, bits),
        builder.select(is_nan, ir.Constant(I64, NOT_A_NUMBER), status),
    )
