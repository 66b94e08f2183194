"""Files of profiles, in JSON; `docs/reference/formats.md` describes the format."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from lapsd.traces.costs import (
    MAX_NS,
    Costs,
    Linear,
    Piecewise,
    PromptCost,
    Quadratic,
    RoundTerms,
    StepTerms,
    Swap,
)
from lapsd.traces.errors import FormatError
from lapsd.traces.files.reading import json_file, json_value, path_of
from lapsd.traces.files.writing import BUNDLED, write_whole
from lapsd.traces.profile import KINDS, WEIGHTS, Profile
from lapsd.traces.provenance import (
    Fits,
    Floors,
    KVCapacity,
    OperatorTables,
    Provenance,
    Speculation,
)
from lapsd.traces.provenance.record import Record

PROFILE_VERSION = 2
BUNDLED_PROFILES = (
    "reference",
    "llama-7b-h200",
    "llama-7b-a100",
    "llama-3.1-8b-h100",
    "llama-3.1-70b-h100-tp4",
    "opt-13b-a100",
    "opt-13b-a100-tables",
)
"""Names of the bundled profiles: tuple of str.

Examples
--------
>>> from lapsd.traces.files import BUNDLED_PROFILES
>>> "llama-7b-h200" in BUNDLED_PROFILES
True
"""
READABLE = (1, 2)  # version 1 has only batch size 1
R = TypeVar("R", bound=Record)
# parts of the stamp that are records of their own, by the attribute of the profile
RECORDS: dict[str, type[Record]] = {
    "floors": Floors,
    "speculation": Speculation,
    "kv_capacity": KVCapacity,
    "operator_tables": OperatorTables,
}


def save_profile(profile: Profile, path: str | Path) -> None:
    """Write the profile to a file, completely or not at all.

    Parameters
    ----------
    profile : Profile
        The profile.
    path : str or Path
        The file.

    Raises
    ------
    FormatError
        If `load_profile` would refuse it.

    Examples
    --------
    >>> import lapsd
    >>> lapsd.save_profile(
    ...     lapsd.Profile.constant(draft_ms=1.0, verify_ms=20.0, swap_ms=5.0), "mine.json"
    ... )
    >>> lapsd.load_profile("mine.json").kind
    'by_hand'
    """
    text = json.dumps(profile_to_json(profile), indent=2, allow_nan=False) + "\n"
    profile_from_json(json_value(text, f"profile {path}"), path)
    write_whole(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def load_profile(path: str | Path) -> Profile:
    """Return the validated profile in a file, or a bundled one (`BUNDLED_PROFILES`).

    Parameters
    ----------
    path : str or Path
        A file, or the name of a bundled profile.

    Raises
    ------
    FormatError
        Naming the file and the field that is wrong.

    Examples
    --------
    >>> import lapsd
    >>> lapsd.load_profile("llama-7b-h200").kind
    'operator_tables'
    >>> lapsd.load_profile("nothing.json")
    Traceback (most recent call last):
        ...
    lapsd.traces.errors.FormatError: profile nothing.json: no such file
    """
    named = path_of(path, "profile")
    path = BUNDLED / f"{path}.json" if str(path) in BUNDLED_PROFILES else named
    return profile_from_json(json_file(path, f"profile {path}"), path)


def profile_to_json(profile: Profile) -> dict[str, Any]:
    """Return the JSON object of a file that holds the profile.

    Parameters
    ----------
    profile : Profile
        The profile.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces.files import profile_to_json
    >>> profile = lapsd.Profile.constant(draft_ms=1.0, verify_ms=20.0, swap_ms=5.0)
    >>> profile_to_json(profile)["lapsd_profile"]
    2
    """
    stamp = profile.provenance.to_json()
    for name in RECORDS:
        if (record := getattr(profile, name)) is not None:
            stamp[name] = record.to_json()
    return {
        "lapsd_profile": PROFILE_VERSION,
        "kind": profile.kind,
        "weights": profile.weights,
        "costs": asdict(profile.costs),
        "fits": profile.fits.to_json(),
        "stamp": stamp,
    }


def profile_from_json(document: Any, source: str | Path) -> Profile:
    """Return the validated profile of a JSON object that was read from `source`.

    Parameters
    ----------
    document : Any
        The JSON object.
    source : str or Path
        Name of the file, for messages.

    Raises
    ------
    FormatError
        Naming the source and the field that is wrong.

    Examples
    --------
    >>> import json
    >>> import lapsd
    >>> from lapsd.traces.files import profile_from_json, profile_to_json
    >>> profile = lapsd.Profile.constant(draft_ms=1.0, verify_ms=20.0, swap_ms=5.0)
    >>> document = json.loads(json.dumps(profile_to_json(profile)))
    >>> profile_from_json(document, "by hand").kind
    'by_hand'
    """
    return _Reader(Path(source)).profile(document)


@dataclass(frozen=True)
class _Reader:
    """Reads the fields of a profile; each error message names the field."""

    path: Path

    def fail(self, name: str, why: str) -> FormatError:
        return FormatError(f"profile {self.path}, field {name!r}: {why}")

    def profile(self, document: Any) -> Profile:
        if not isinstance(document, dict) or "lapsd_profile" not in document:
            raise FormatError(
                f"profile {self.path}: not a lapsd profile (no field 'lapsd_profile')"
            )
        version = document["lapsd_profile"]
        if isinstance(version, bool) or version not in READABLE:
            readable = " and ".join(map(str, READABLE))
            raise FormatError(
                f"profile {self.path}: version {version!r}, this lapsd reads versions {readable}"
            )
        for name, allowed in (("kind", KINDS), ("weights", WEIGHTS)):
            if document.get(name) not in allowed:
                raise self.fail(
                    name, f"{document.get(name)!r}: must be one of {', '.join(allowed)}"
                )
        costs, stamp = (self.mapping(document, key, key) for key in ("costs", "stamp"))
        rest = {key: value for key, value in stamp.items() if key not in RECORDS}
        records: dict[str, Any] = {
            name: self.record(kind, stamp[name], f"stamp.{name}")
            for name, kind in RECORDS.items()
            if stamp.get(name)
        }
        return Profile(
            kind=document["kind"],
            weights=document["weights"],
            costs=Costs(
                rounds=self.rounds(costs) if version > 1 else {1: self.old_terms(costs)},
                prefill=self.prefill(costs),
                swap_out=self.linear(costs, "swap_out", "costs.swap_out"),
                swap_in=self.linear(costs, "swap_in", "costs.swap_in"),
                swap_ways=self.swap_ways(costs) if version > 1 else {},
                only_draft_tokens=self.only_draft_tokens(costs),
                steps=self.steps(costs),
            ),
            fits=self.record(Fits, self.mapping(document, "fits", "fits"), "fits"),
            provenance=self.record(Provenance, rest, "stamp"),
            **records,
        )

    def record(self, kind: type[R], value: Any, name: str) -> R:
        try:
            return kind.from_json(value, name)
        except FormatError as error:
            raise FormatError(f"profile {self.path}, {error}") from error

    def mapping(self, parent: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
        value = parent.get(key)
        if not isinstance(value, dict):
            raise self.fail(name, "missing" if key not in parent else "not a JSON object")
        return value

    def integer(self, parent: Mapping[str, Any], key: str, name: str, least: int = 0) -> int:
        value = parent.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fail(
                name, "missing" if key not in parent else f"{value!r} is not an integer"
            )
        if not least <= value <= MAX_NS:
            raise self.fail(name, f"{value} is not between {least} and {MAX_NS} ns")
        return value

    def linear(self, parent: Mapping[str, Any], key: str, name: str) -> Linear:
        term = self.mapping(parent, key, name)
        return Linear(*(self.integer(term, k, f"{name}.{k}") for k in ("base_ns", "per_token_ns")))

    def prefill(self, costs: Mapping[str, Any]) -> PromptCost:
        name = "costs.prefill"
        term = self.mapping(costs, "prefill", name)
        square = (
            self.integer(term, "per_square_ps", f"{name}.per_square_ps")
            if "per_square_ps" in term
            else None
        )
        if isinstance(term.get("base_ns"), dict):
            base = self.widths(term, "base_ns", name, what="number of tokens")
            return Piecewise(base, square or 0)
        line = self.linear(costs, "prefill", name)
        return line if square is None else Quadratic(line.base_ns, line.per_token_ns, square)

    def table(self, parent: Mapping[str, Any], key: str, name: str, what: str) -> dict[int, str]:
        """Return an object's keys by their numbers, in order; keys must be positive integers."""
        term = self.mapping(parent, key, name)
        if not term:
            raise self.fail(name, f"needs at least one {what}")
        for k in term:
            if not (
                k.isascii()
                and k.isdecimal()
                and len(k) <= 6
                and 1 <= int(k) <= 100_000
                and str(int(k)) == k
            ):
                raise self.fail(name, f"{what} {k[:20]!r} is not an integer from 1 to 100000")
        return {int(k): k for k in sorted(term, key=int)}

    def rounds(self, costs: Mapping[str, Any]) -> dict[int, RoundTerms]:
        keys = self.table(costs, "rounds", "costs.rounds", "batch size")
        if 1 not in keys:
            raise self.fail("costs.rounds", "needs batch size 1")
        return {
            b: self.terms(
                self.mapping(costs["rounds"], k, f"costs.rounds.{k}"), f"costs.rounds.{k}"
            )
            for b, k in keys.items()
        }

    def terms(self, parent: Mapping[str, Any], name: str) -> RoundTerms:
        return RoundTerms(
            draft_step=self.linear(parent, "draft_step", f"{name}.draft_step"),
            verify_base_ns=self.widths(parent, "verify_base_ns", name, least=1),
            verify_per_token_ns=self.widths(parent, "verify_per_token_ns", name),
            host_ns=self.integer(parent, "host_ns", f"{name}.host_ns"),
        )

    def old_terms(self, costs: Mapping[str, Any]) -> RoundTerms:
        """Return the terms of a file of version 1, which has one slope for all widths."""
        slope = self.integer(costs, "verify_per_token_ns", "costs.verify_per_token_ns")
        return self.terms({**costs, "verify_per_token_ns": {"1": slope}}, "costs")

    def widths(
        self, parent: Mapping[str, Any], key: str, name: str, least: int = 0, what: str = "width"
    ) -> dict[int, int]:
        keys = self.table(parent, key, f"{name}.{key}", what)
        return {
            w: self.integer(parent[key], k, f"{name}.{key}.{k}", least) for w, k in keys.items()
        }

    def only_draft_tokens(self, costs: Mapping[str, Any]) -> int | None:
        if costs.get("only_draft_tokens") is None:
            return None
        return self.integer(costs, "only_draft_tokens", "costs.only_draft_tokens")

    def steps(self, costs: Mapping[str, Any]) -> dict[int, StepTerms]:
        if not costs.get("steps"):
            return {}
        made = {}
        for batch, key in self.table(costs, "steps", "costs.steps", "batch size").items():
            name = f"costs.steps.{key}"
            terms = self.mapping(costs["steps"], key, name)
            base = self.widths(terms, "base_ns", name, least=1, what="number of tokens")
            per_context = self.widths(terms, "per_context_ns", name, what="number of tokens")
            draft = (
                self.linear(terms, "draft_step", f"{name}.draft_step")
                if "draft_step" in terms
                else Linear(0, 0)
            )
            made[batch] = StepTerms(base, per_context, draft)
        if 1 not in made:
            raise self.fail("costs.steps", "needs batch size 1")
        return made

    def swap_ways(self, costs: Mapping[str, Any]) -> dict[str, Swap]:
        ways = self.mapping(costs, "swap_ways", "costs.swap_ways")
        both_ways = {}
        for way in ways:
            name = f"costs.swap_ways.{way}"
            both = self.mapping(ways, way, name)
            both_ways[way] = Swap(*(self.linear(both, k, f"{name}.{k}") for k in ("out", "back")))
        return both_ways
