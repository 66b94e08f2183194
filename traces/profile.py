"""Cost profiles: what rounds, prefills and KV swaps take on one machine, in integer nanoseconds.

A profile is one JSON file (`docs/formats.md`). Its coefficients are integers, so every cost is an exact
integer function and no sum of costs is ever rounded. Knows nothing of how costs were measured, nor of
requests or policies.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from traces.errors import FormatError
from traces.files import write_whole
from traces.trace_file import BUNDLED

PROFILE_VERSION = 1
KINDS = ("measured", "wall_time_fit", "by_hand")
WEIGHTS = ("pretrained", "reference", "random", "unknown")
MAX_NS = 10**15  # eleven days: anything above is a mistake, and sums stay far inside 64 bits


@dataclass(frozen=True)
class Linear:
    """`base_ns + per_token_ns * tokens`."""

    base_ns: int
    per_token_ns: int

    def __call__(self, tokens: int) -> int:
        return self.base_ns + self.per_token_ns * tokens


@dataclass(frozen=True)
class Costs:
    """The cost terms, all in integer nanoseconds, at batch size 1.

    Attributes
    ----------
    draft_step : Linear
        One step of the draft model (T_SSM), by context tokens.
    verify_base_ns : mapping of width to ns
        One pass of the target over `width` tokens (T_LLM; width = drafted + 1) at context 0. Linear between
        measured widths; narrower than all: as the narrowest; wider: the last line goes on, never falling.
    verify_per_token_ns : int
        What a context token adds to that pass.
    host_ns : int
        What a round takes outside the two models.
    prefill : Linear
        Both models over a prompt, by prompt tokens.
    swap_out, swap_in : Linear
        Moving a request's KV cache (of both models) to host memory and back, by its tokens.
    """

    draft_step: Linear
    verify_base_ns: Mapping[int, int]
    verify_per_token_ns: int
    host_ns: int
    prefill: Linear
    swap_out: Linear
    swap_in: Linear

    def verify_ns(self, width: int) -> int:
        """Cost of a verify pass over `width` tokens at context 0."""
        known = sorted(self.verify_base_ns)
        if width <= known[0] or len(known) == 1:
            return self.verify_base_ns[known[0]]
        right = next((w for w in known if w >= width), known[-1])
        left = known[known.index(right) - 1]
        low, high = self.verify_base_ns[left], self.verify_base_ns[right]
        value = low + (high - low) * (width - left) // (right - left)
        return max(value, high) if width > right else value


@dataclass(frozen=True)
class Profile:
    """Costs, with everything a reader needs to trust or distrust them.

    Attributes
    ----------
    kind : {"measured", "wall_time_fit", "by_hand"}
        Whether each term was timed, fitted to whole requests' wall times, or made up.
    weights : {"pretrained", "reference", "random", "unknown"}
    costs : Costs
    fits : mapping
        Per term: relative error of the fit (`median_error`, `p90_error`) and number of samples.
    stamp : mapping
        Models, dtype, hardware, library versions, command, commit, time.
    """

    kind: str
    weights: str
    costs: Costs
    fits: Mapping[str, Any] = field(default_factory=dict)
    stamp: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def constant(
        cls,
        draft_ms: float,
        verify_ms: float,
        *,
        prefill_ms_per_token: float = 0.0,
        swap_ms_per_token: float = 0.0,
        swap_ms: float = 0.0,
    ) -> "Profile":
        """A profile by hand: every draft step takes `draft_ms` and every verify pass `verify_ms`.

        Raises
        ------
        ValueError
            If a time is negative, not finite or above `MAX_NS`.
        """
        swap = Linear(_ns(swap_ms, "swap_ms"), _ns(swap_ms_per_token, "swap_ms_per_token"))
        costs = Costs(
            draft_step=Linear(_ns(draft_ms, "draft_ms"), 0),
            verify_base_ns={1: _ns(verify_ms, "verify_ms")},
            verify_per_token_ns=0,
            host_ns=0,
            prefill=Linear(0, _ns(prefill_ms_per_token, "prefill_ms_per_token")),
            swap_out=swap,
            swap_in=swap,
        )
        if costs.verify_base_ns[1] < 1:
            raise ValueError(f"verify_ms={verify_ms}: a round must take at least 1 ns")
        return cls("by_hand", "unknown", costs)

    @property
    def round_cost(self) -> "RoundCost":
        """The cost of a round as an integer function."""
        return RoundCost(self.costs)


def _ns(ms: float, name: str) -> int:
    if not 0 <= ms * 1e6 <= MAX_NS:
        raise ValueError(f"{name}={ms}: must be between 0 and {MAX_NS // 10**6} ms")
    return round(ms * 1e6)


class RoundCost:
    """A round's cost: a table entry by draft length plus an integer times the context."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self.base_ns = cache(self._base_ns)

    def _base_ns(self, drafted: int) -> int:
        """`drafted` draft steps, a verify pass and the host's part, at context 0."""
        c = self._costs
        return drafted * c.draft_step.base_ns + c.verify_ns(drafted + 1) + c.host_ns

    def per_token_ns(self, drafted: int) -> int:
        """What each context token adds to such a round."""
        return drafted * self._costs.draft_step.per_token_ns + self._costs.verify_per_token_ns

    def __call__(self, drafted: int, context: int) -> int:
        return self.base_ns(drafted) + self.per_token_ns(drafted) * context


def save_profile(profile: Profile, path: str | Path) -> None:
    """Write the profile whole or not at all."""
    document = {"lapsd_profile": PROFILE_VERSION, **asdict(profile)}
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    write_whole(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def load_profile(path: str | Path) -> Profile:
    """Load and validate a profile, or the bundled one by the name `reference`.

    Raises
    ------
    FormatError
        Naming the file and the field that is wrong.
    """
    path = BUNDLED / "reference.json" if str(path) == "reference" else Path(path)
    if not path.is_file():
        raise FormatError(f"profile {path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"profile {path}: not readable JSON ({str(error)[:200]})") from error
    return _Reader(path).profile(document)


@dataclass(frozen=True)
class _Reader:
    """Reads a profile's fields, refusing each wrong one by its name."""

    path: Path

    def fail(self, name: str, why: str) -> FormatError:
        return FormatError(f"profile {self.path}, field {name!r}: {why}")

    def profile(self, document: Any) -> Profile:
        if not isinstance(document, dict) or "lapsd_profile" not in document:
            raise FormatError(f"profile {self.path}: not a lapsd profile (no field 'lapsd_profile')")
        if document["lapsd_profile"] != PROFILE_VERSION:
            told = f"version {document['lapsd_profile']!r}, this lapsd reads version {PROFILE_VERSION}"
            raise FormatError(f"profile {self.path}: {told}")
        for name, allowed in (("kind", KINDS), ("weights", WEIGHTS)):
            if document.get(name) not in allowed:
                raise self.fail(name, f"{document.get(name)!r} is none of {', '.join(allowed)}")
        costs = self.mapping(document, "costs", "costs")
        return Profile(
            kind=document["kind"],
            weights=document["weights"],
            costs=Costs(
                draft_step=self.linear(costs, "draft_step"),
                verify_base_ns=self.widths(costs),
                verify_per_token_ns=self.integer(costs, "verify_per_token_ns", "costs.verify_per_token_ns"),
                host_ns=self.integer(costs, "host_ns", "costs.host_ns"),
                prefill=self.linear(costs, "prefill"),
                swap_out=self.linear(costs, "swap_out"),
                swap_in=self.linear(costs, "swap_in"),
            ),
            fits=self.mapping(document, "fits", "fits"),
            stamp=self.mapping(document, "stamp", "stamp"),
        )

    def mapping(self, parent: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
        value = parent.get(key)
        if not isinstance(value, dict):
            raise self.fail(name, "missing" if key not in parent else "not a JSON object")
        return value

    def integer(self, parent: Mapping[str, Any], key: str, name: str, least: int = 0) -> int:
        value = parent.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fail(name, "missing" if key not in parent else f"{value!r} is not an integer")
        if not least <= value <= MAX_NS:
            raise self.fail(name, f"{value} is not between {least} and {MAX_NS} ns")
        return value

    def linear(self, costs: Mapping[str, Any], key: str) -> Linear:
        term = self.mapping(costs, key, f"costs.{key}")
        parts = (self.integer(term, k, f"costs.{key}.{k}") for k in ("base_ns", "per_token_ns"))
        return Linear(*parts)

    def widths(self, costs: Mapping[str, Any]) -> dict[int, int]:
        term = self.mapping(costs, "verify_base_ns", "costs.verify_base_ns")
        if not term:
            raise self.fail("costs.verify_base_ns", "needs at least one width")
        table = {}
        for key in term:
            if not (key.isascii() and key.isdecimal() and 1 <= int(key[:9]) <= 100_000 and len(key) <= 6):
                raise self.fail("costs.verify_base_ns", f"width {key[:20]!r} is not an integer from 1 to 100000")
            table[int(key)] = self.integer(term, key, f"costs.verify_base_ns.{key}", least=1)
        return dict(sorted(table.items()))
