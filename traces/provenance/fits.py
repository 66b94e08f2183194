"""Errors of a profile's terms, on samples that were held out from the fits."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from lapsd.traces.errors import FormatError
from lapsd.traces.provenance.record import Record

TOO_FAR = 0.1  # largest median error of a term, or of whole rounds, without a warning
OPEN = 0.03  # largest error of the sum of all terms without a warning


@dataclass(frozen=True, kw_only=True)
class FitError(Record):
    """Relative error of a fitted term: `abs(predicted - measured) / measured`.

    Attributes
    ----------
    median_error, p90_error : float
    samples : int
    mean_error, worst_error : float or None
        Mean and largest error, if they were recorded.
    percentiles_ns : mapping of percentile to ns
        Distribution of the samples over all contexts.

    Examples
    --------
    >>> from lapsd.traces.provenance import FitError
    >>> FitError(median_error=0.01, p90_error=0.03, samples=200).median_error
    0.01
    """

    median_error: float
    p90_error: float
    samples: int
    mean_error: float | None = None
    worst_error: float | None = None
    percentiles_ns: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RoundError(FitError):
    """Error of whole rounds predicted by the sum of all terms.

    Attributes
    ----------
    closure : float
        Predicted / measured time of all rounds of a request, minus 1; median over requests.
    total_error : float
        Predicted / measured time of all rounds of all requests, minus 1.
    none_accepted, all_accepted : float or None
        The same for the rounds that accepted no draft token, and all draft tokens.

    Examples
    --------
    >>> import lapsd
    >>> error = lapsd.load_profile("reference").fits.round
    >>> abs(error.total_error) < 0.1
    True
    """

    closure: float
    total_error: float
    none_accepted: float | None = None
    all_accepted: float | None = None


@dataclass(frozen=True, kw_only=True)
class GridError(FitError):
    """Error of held-out cells of the grid: whole rounds, and the verify pass alone.

    Examples
    --------
    >>> import lapsd
    >>> grid = lapsd.load_profile("reference").fits.grid
    >>> grid.samples >= grid.verify.samples > 0
    True
    """

    verify: FitError


@dataclass(frozen=True, kw_only=True)
class SwapFit(Record):
    """Errors of one way to transfer a KV cache, and the bytes that it transfers per token.

    Examples
    --------
    >>> import lapsd
    >>> sorted(lapsd.load_profile("reference").fits.swap_ways)
    ['int8', 'naive', 'pageable']
    """

    out: FitError
    back: FitError
    bytes_per_token: float


@dataclass(frozen=True, kw_only=True)
class Fits(Record):
    """Errors of the fits of a profile.

    Attributes
    ----------
    terms : mapping of name to FitError
        Errors by term: `draft_step`, `verify_WIDTH`, `prefill`, `swap_out`, `swap_in`, `recompute`,
        `prefill_batched`. A file has them at the same level as the other keys.
    round : RoundError or None
        Errors of the rounds of real requests.
    round_by_draft_tokens : mapping of draft length to RoundError
        The same for each draft length.
    grid : GridError or None
        Errors of rounds in batches.
    request : FitError or None
        Errors of the wall times of whole requests.
    swap_ways : mapping of name to SwapFit
        Errors of each way to transfer KV caches.

    Examples
    --------
    >>> import lapsd
    >>> sorted(lapsd.load_profile("reference").fits.terms)[:2]
    ['draft_step', 'prefill']
    """

    terms: Mapping[str, FitError] = field(default_factory=dict)
    round: RoundError | None = None
    round_by_draft_tokens: Mapping[int, RoundError] = field(default_factory=dict)
    grid: GridError | None = None
    request: FitError | None = None
    swap_ways: Mapping[str, SwapFit] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Any, name: str) -> Self:
        """See `Record.from_json`; an object with errors under any other key belongs to a term."""
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
        """Error of real rounds or, if it is not known, of rounds of the grid or of requests."""
        return self.round or self.grid or self.request

    def warnings(self) -> Iterator[str]:
        """Yield a line for each fit that is bad enough to distrust the costs."""
        if self.whole is not None and self.whole.median_error > TOO_FAR:
            yield (
                f"predicted rounds are off by {_percent(self.whole.median_error)}, more than 10 %"
                " (median): was the machine busy?"
            )
        if self.round is not None and abs(self.round.closure) > OPEN:
            yield (
                f"draft, verify and host times add up to {self.round.closure:+.1%} off real rounds"
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
                yield (
                    f"the fit of {name} is off by {_percent(fit.median_error)}, more than 10 %"
                    " (median)"
                )


def _percent(error: float) -> str:
    """Return an error in percent, rounded up to a tenth."""
    return f"{math.ceil(round(1000 * error, 6)) / 10:g} %"
