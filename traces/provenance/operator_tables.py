"""Record in a profile of the operator tables that its costs were computed from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lapsd.traces.provenance.record import Record

SOURCES = MEASURED, RESHAPED, ESTIMATED = "measured", "reshaped", "estimated"


@dataclass(frozen=True, kw_only=True)
class OperatorTables(Record):
    """Tables of measured operator times, and the parts of a round that they do not measure.

    Attributes
    ----------
    library : str
        Library that holds the tables, with its version.
    gpu, engine, engine_version : str
        System and serving engine whose kernels were measured, by the library's names.
    tp : int
        Number of GPUs that share the target model.
    operators : mapping of name to source
        Source of each operator's time, by model and operator: `measured` for its shape; `reshaped`:
        measured for as much attention in another shape; `estimated` by the library, not measured.
    share_not_measured : mapping of batch size to share
        Share of the time of a round that is reshaped or estimated.
    share_reshaped : mapping of batch size to share
        Share of the time of a round that is reshaped.

    Examples
    --------
    >>> import lapsd
    >>> tables = lapsd.load_profile("llama-7b-h200").operator_tables
    >>> tables.gpu, tables.engine
    ('h200_sxm', 'vllm')
    """

    library: str
    gpu: str
    engine: str
    engine_version: str
    tp: int = 1
    operators: Mapping[str, str] = field(default_factory=dict)
    share_not_measured: Mapping[int, float] = field(default_factory=dict)
    share_reshaped: Mapping[int, float] = field(default_factory=dict)

    def shares(self, batch: int) -> dict[str, float]:
        """Return the share of the time of a round by source, at a batch size of the record."""
        rest, reshaped = self.share_not_measured[batch], self.share_reshaped.get(batch, 0.0)
        estimated = max(0.0, rest - reshaped)
        return {MEASURED: 1 - rest, RESHAPED: reshaped, ESTIMATED: estimated}


@dataclass(frozen=True, kw_only=True)
class KVCapacity(Record):
    """Memory for keys and values on the profile's hardware.

    Attributes
    ----------
    bytes_per_token : int
        Bytes of keys and values of a token in both models, on all GPUs.
    tokens : int or None
        Number of tokens that fit next to the weights; None: not known.
    source : str
        Source of the number, in words.

    Examples
    --------
    >>> import lapsd
    >>> lapsd.load_profile("llama-7b-h200").kv_capacity.bytes_per_token
    530432
    """

    bytes_per_token: int
    tokens: int | None = None
    source: str = ""
