"""What the hardware allows, measured beside a profile: rates, and the least time that a verify pass
could take.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lapsd.traces.provenance.record import Record


@dataclass(frozen=True, kw_only=True)
class Floors(Record):
    """Rates of the hardware, and what they mean for a verify pass.

    Attributes
    ----------
    bytes_per_second : mapping
        `copy` within the device, `to_host` and `from_host` where there is a GPU.
    matrix_flops_per_second : int
        Of a large matrix product.
    verify_memory_floor_ns : mapping of context to ns
        The bytes that a pass reads over the rate of copies.
    verify_products_alone_ns : int or None
        The pass's matrix products and nothing else.
    """

    bytes_per_second: Mapping[str, int | None] = field(default_factory=dict)
    matrix_flops_per_second: int | None = None
    verify_memory_floor_ns: Mapping[int, int] = field(default_factory=dict)
    verify_products_alone_ns: int | None = None
