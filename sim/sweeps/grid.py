"""What a sweep runs: the combinations of policies, their parameters, settings and seeds, in a fixed
order.

A sweep is text first (flags, or a TOML file): the same text gives the same runs, in the same order
and chunks, whoever runs them. Knows nothing of traces, of workers or of files of results.
"""

import itertools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

from lapsd.policies import Policy, parameters_of, parse_policy, policy_class, spec_of
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS, Scenario, canonical

RUNS_A_CHUNK = 500
FIRST_LOOK = 50
MOST_VALUES = 100_000


class Chunk(NamedTuple):
    """Runs that are done together: some policies on the workloads of some seeds of one setting."""

    scenario: int
    first_seed: int
    last_seed: int
    first_policy: int
    last_policy: int

    @property
    def runs(self) -> int:
        """How many."""
        return (self.last_seed - self.first_seed + 1) * (self.last_policy - self.first_policy + 1)


@dataclass(frozen=True)
class Sweep:
    """A sweep as a user wrote it, every value as text.

    Parameters
    ----------
    policies : specs, as in `laps-sd:follow=true`; what one says of a parameter stands against
        `parameters`.
    parameters : values by name of a policy's parameter; a policy that lacks it runs without.
    settings : values by field of `Scenario`.
    seeds : workloads of each setting; with `until_ci` the most.
    first_seed : of them.
    until_ci : stop a setting once every difference to the baseline is known to within so much of
        the baseline's mean, looked at after `FIRST_LOOK` seeds and at doublings.

    Raises
    ------
    ValueError
        Naming the value and the bound.
    """

    policies: tuple[str, ...] = ("fcfs", "laps-sd")
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seeds: int = 20
    first_seed: int = 0
    until_ci: float | None = None

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds {self.seeds}: must be at least 1")
        if self.first_seed < 0:
            raise ValueError(f"first_seed {self.first_seed}: must be at least 0")
        if self.until_ci is not None and not 0 < self.until_ci < 1:
            raise ValueError(f"until_ci {self.until_ci}: must be above 0 and below 1 (100 %)")
        if not self.policies:
            raise ValueError("an empty grid: no policy is given")
        for name, values in {**self.parameters, **self.settings}.items():
            if not values:
                raise ValueError(f"an empty grid: {name} has no values")
        for name in self.settings:
            canonical(name)

    def configurations(self) -> list[Policy]:
        """The policies, each once for every combination of those parameters that it has."""
        policies: dict[str, Policy] = {}
        had: set[str] = set()
        for spec in self.policies:
            name, _, fixed = spec.partition(":")
            parse_policy(spec)
            known = {f.name for f in parameters_of(policy_class(name))} - {
                p.partition("=")[0] for p in fixed.split(",")
            }
            swept = [parameter for parameter in self.parameters if parameter in known]
            had.update(swept)
            for values in itertools.product(*(self.parameters[p] for p in swept)):
                parts = [fixed] * bool(fixed) + [
                    f"{p}={v}" for p, v in zip(swept, values, strict=True)
                ]
                policy = parse_policy(f"{name}:{','.join(parts)}")
                if type(policies.setdefault(spec_of(policy), policy)) is not type(policy):
                    raise ValueError(
                        f"two policies are called {spec_of(policy)}: give the class of one a name"
                    )
        if nobodys := [p for p in self.parameters if p not in had]:
            classes = [policy_class(spec.partition(":")[0]) for spec in self.policies]
            known = {f.name for policy in classes for f in parameters_of(policy)}
            raise ValueError(
                f"parameter {nobodys[0]!r}: no policy of this sweep has it to vary; they have "
                f"{', '.join(sorted(known)) or 'none'}, and settings are {', '.join(SCENARIO_FIELDS)}"
            )
        return list(policies.values())

    def combinations(self) -> list[Scenario]:
        """The settings, every combination once."""
        scenario_fields = [SCENARIO_FIELDS[canonical(name)] for name in self.settings]
        values = [
            [scenario_field.parse(text) for text in texts]
            for scenario_field, texts in zip(scenario_fields, self.settings.values(), strict=True)
        ]
        names = [scenario_field.name for scenario_field in scenario_fields]
        settings = (
            Scenario(**dict(zip(names, row, strict=True))) for row in itertools.product(*values)
        )
        return list(dict.fromkeys(settings))

    def looks(self) -> list[int]:
        """After how many seeds a setting may stop; the last: all of them."""
        looks = []
        seeds = FIRST_LOOK
        while self.until_ci is not None and seeds < self.seeds:
            looks.append(seeds)
            seeds *= 2
        return [*looks, self.seeds]

    def chunks(self) -> list[Chunk]:
        """All runs, cut into chunks of about `RUNS_A_CHUNK`, in the order of settings, seeds and
        policies.
        """
        policies = len(self.configurations())
        seeds_each = max(1, RUNS_A_CHUNK // policies)
        looks = self.looks()
        return [
            Chunk(
                scenario,
                seed,
                min(seed + seeds_each, end) - 1,
                policy,
                min(policy + RUNS_A_CHUNK, policies) - 1,
            )
            for scenario in range(len(self.combinations()))
            for begin, end in zip(
                [self.first_seed, *(self.first_seed + n for n in looks)],
                [self.first_seed + n for n in looks],
                strict=False,
            )
            for seed in range(begin, end, seeds_each)
            for policy in range(0, policies, RUNS_A_CHUNK)
        ]

    def document(self) -> dict[str, Any]:
        """As a TOML document, from which `from_document` makes an equal one."""
        return {
            "policies": list(self.policies),
            "seeds": self.seeds,
            "first_seed": self.first_seed,
            **({} if self.until_ci is None else {"until_ci": self.until_ci}),
            "parameters": {name: list(values) for name, values in self.parameters.items()},
            "settings": {name: list(values) for name, values in self.settings.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], source: str = "sweep") -> "Sweep":
        """From a TOML document: values may be numbers, texts such as "2:8", or lists of them.

        Raises
        ------
        ValueError
            Naming `source` and the key.
        """
        rest = dict(document)
        try:
            made: dict[str, Any] = {
                name: int(rest.pop(name)) for name in ("seeds", "first_seed") if name in rest
            }
            if "until_ci" in rest:
                made["until_ci"] = share_of(str(rest.pop("until_ci")))
            if "policies" in rest:
                made["policies"] = tuple(_texts(rest.pop("policies"), "policies", split=False))
            for table in ("parameters", "settings"):
                entries = rest.pop(table, {})
                made[table] = {
                    name: tuple(_texts(values, name)) for name, values in entries.items()
                }
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{source}: {error}") from error
        if rest:
            raise ValueError(
                f"{source}: unknown key {next(iter(rest))!r}: known are policies, seeds,"
                " first_seed, until_ci, [parameters] and [settings]"
            )
        return cls(**made)

    @classmethod
    def from_toml(cls, path: Path) -> "Sweep":
        """From a TOML file.

        Raises
        ------
        ValueError
            If it is not TOML, or not a sweep.
        """
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not TOML: {error}") from error
        return cls.from_document(document, str(path))


def _texts(values: Any, name: str, split: bool = True) -> Iterable[str]:
    for value in values if isinstance(values, list) else [values]:
        if isinstance(value, dict | list):
            raise ValueError(f"{name}: needs a value or a list of values, not {value!r}")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        yield from values_of(text, name) if split else [text]


def values_of(text: str, name: str) -> Sequence[str]:
    """The values of `1.5,2,4` (a list), `2:8` (both ends, by 1), `0.1:0.5:0.2` (by 0.2), or of both
    mixed.

    Raises
    ------
    ValueError
        Naming the parameter and the text.
    """
    values: list[str] = []
    for part in text.split(","):
        ends = part.strip().split(":")
        if len(ends) == 1 or not _is_number(ends[0]):
            values.append(part.strip())
            continue
        try:
            low, high, *rest = (Decimal(end) for end in ends)
            step = rest[0] if rest else Decimal(1)
            if len(rest) > 1 or step <= 0 or low > high or not (high - low) / step < MOST_VALUES:
                raise ValueError
        except (InvalidOperation, ValueError):
            raise ValueError(
                f"{name} {part!r}: a range is low:high or low:high:step, of at most {MOST_VALUES}"
                " values"
            ) from None
        values += [str(low + step * i) for i in range(int((high - low) / step) + 1)]
    if not all(values):
        raise ValueError(f"{name} {text!r}: a value is empty")
    return values


def share_of(text: str) -> float:
    """A share from `2%` or `0.02`.

    Raises
    ------
    ValueError
        If it is neither.
    """
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"until_ci {text!r}: needs a share, as in 2% or 0.02") from None


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False
