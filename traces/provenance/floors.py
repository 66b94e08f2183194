"""Rates of the hardware, and the lower bounds on the time of a verify pass that follow."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lapsd.traces.provenance.record import Record


@dataclass(frozen=True, kw_only=True)
class Floors(Record):
    """Rates of the hardware, and lower bounds on the time of a verify pass.

    Attributes
    ----------
    bytes_per_second : mapping
        Rates of `copy` within the device and, for a GPU, `to_host` and `from_host`.
    matrix_flops_per_second : int or None
        Rate of a large matrix product.
    verify_memory_floor_ns : mapping of context to ns
        Time to read the bytes of a verify pass at the rate of copies.
    verify_products_alone_ns : int or None
        Time of the matrix products of a verify pass alone.

    Examples
    --------
    >>> import lapsd
    >>> sorted(lapsd.load_profile("reference").floors.bytes_per_second)
    ['copy', 'from_host', 'to_host']
    """

    bytes_per_second: Mapping[str, int | None] = field(default_factory=dict)
    matrix_flops_per_second: int | None = None
    verify_memory_floor_ns: Mapping[int, int] = field(default_factory=dict)
    verify_products_alone_ns: int | None = None
