"""How well a profile's terms fit what was timed, on samples that no fit has seen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from lapsd.traces.errors import FormatError
from lapsd.traces.provenance.record import Record

TOO_FAR = 0.1  # median error of a term, or of whole rounds
OPEN = 0.03  # what terms together may miss


@dataclass(frozen=True, kw_only=True)
class FitError(Record):
    """Relative error of a fitted term: |predicted − measured| / measured.

    Attributes
    ----------
    median_error, p90_error : float
    samples : int
    percentiles_ns : mapping of percentile to ns
        The distribution of the samples, whatever their context.
    """

    median_error: float
    p90_error: float
    samples: int
    percentiles_ns: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RoundError(FitError):
    """How all terms together predict whole rounds.

    Attributes
    ----------
    closure : float
        Median over requests of the predicted time of all their rounds over the measured, less 1.
    total_error : float
        That of all rounds together.
    none_accepted, all_accepted : float or None
        That of the rounds that accepted nothing, and everything.
    """

    closure: float
    total_error: float
    none_accepted: float | None = None
    all_accepted: float | None = None


@dataclass(frozen=True, kw_only=True)
class GridError(FitError):
    """How the terms predict held-out cells of the grid: whole rounds, and the verify pass alone."""

    verify: FitError


@dataclass(frozen=True, kw_only=True)
class SwapFit(Record):
    """One way of moving a KV cache: how well its terms fit, and the bytes that it moves for a
    token.
    """

    out: FitError
    back: FitError
    bytes_per_token: float


@dataclass(frozen=True, kw_only=True)
class Fits(Record):
    """The fits of a profile.

    Attributes
    ----------
    terms : mapping of name to FitError By term: `draft_step`, `verify_WIDTH`, `prefill`,
        `swap_out`, `swap_in`, `recompute`, `prefill_batched`. In a file they stand beside the other
        keys.
    round : RoundError or None
        Of real requests' rounds.
    round_by_draft_tokens : mapping of draft length to RoundError
    grid : GridError or None
        Of rounds in batches.
    request : FitError or None
        Of whole requests' wall times.
    swap_ways : mapping of name to SwapFit
    """

    terms: Mapping[str, FitError] = field(default_factory=dict)
    round: RoundError | None = None
    round_by_draft_tokens: Mapping[int, RoundError] = field(default_factory=dict)
    grid: GridError | None = None
    request: FitError | None = None
    swap_ways: Mapping[str, SwapFit] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Any, name: str) -> Self:
        """See `Record.from_json`; a key without a field whose object holds errors is a term's."""
        if not isinstance(document, Mapping):
            raise FormatError(f"field {name!r}: not a JSON object")
        known = {f.name for f in fields(cls)}
        terms = {
            k: v
            for k, v in document.items()
            if k not in known and isinstance(v, Mapping) and "p90_error" in v
        }
        rest = {k: v for k, v in document.items() if k not in terms and v != {}}
        return super().from_json({**rest, "terms": terms}, name)

    def to_json(self) -> dict[str, Any]:
        """See `Record.to_json`."""
        document = super().to_json()
        terms: dict[str, Any] = document.pop("terms", {})
        return {**terms, **document}

    @property
    def whole(self) -> FitError | None:
        """How whole rounds are predicted, or whole requests: by the best evidence there is."""
        return self.round or self.grid or self.request

    def warnings(self) -> Iterator[str]:
        """Which fits are bad enough to distrust the costs, a line each."""
        if self.whole is not None and self.whole.median_error > TOO_FAR:
            error = f"{self.whole.median_error:.0%}"
            yield f"rounds are missed by {error}, more than 10 % (median): was the machine busy?"
        if self.round is not None and abs(self.round.closure) > OPEN:
            yield (
                f"draft, verify and host together are {self.round.closure:+.1%} off real rounds"
                " (more than 3 %)"
            )
        for name, fit in self.terms.items():
            judged = name.startswith("verify_") or name in (
                "draft_step",
                "prefill",
                "swap_out",
                "swap_in",
            )
            if judged and fit.median_error > TOO_FAR:
                yield f"the fit of {name} is off by {fit.median_error:.0%}, more than 10 % (median)"
