"""The runs of a sweep: combinations of policies, their parameters, settings and seeds, in a fixed
order.

The same sweep gives the same runs in the same order and chunks, on any number of workers. Knows
nothing of traces, workers and result files.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from lapsd.policies import Policy, parameters_of, parse_policy, policy_class, spec_of
from lapsd.policies.spec import RENAMED, by_spec, split_spec
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS, Scenario, canonical
from lapsd.sim.experiment.scenario_field import Value, whole
from lapsd.sim.sweeps.values import (
    NONE,
    parameter_value,
    parameter_values,
    setting_values,
    share_of,
    text_of,
)
from lapsd.traces.files.reading import toml_file

RUNS_PER_CHUNK = 500
MOST_COMBINATIONS = 1_000_000  # of settings, and of parameters of policies
MOST_RUNS = 1_000_000_000
MOST_SEED = 2**61  # far below the seed of histories, `HISTORY_SEED`
FIRST_LOOK = 50


class Chunk(NamedTuple):
    """Runs that one worker does together: some policies on the workloads of some seeds of one
    scenario.
    """

    scenario: int
    first_seed: int
    last_seed: int
    first_policy: int
    last_policy: int

    @property
    def runs(self) -> int:
        """The number of runs."""
        return (self.last_seed - self.first_seed + 1) * (self.last_policy - self.first_policy + 1)


@dataclass(frozen=True)
class Sweep:
    """A sweep: the values of everything that varies.

    Parameters
    ----------
    policies : tuple[str, ...], default ('fcfs', 'laps-sd')
        Specs, as in `laps-sd:follow=true`. A parameter that a spec gives is fixed: the values in
        `parameters` do not apply to it.
    parameters : Mapping[str, tuple[Any, ...]]
        Values by name of a policy's parameter. A policy without that parameter runs once, not once
        per value.
    settings : Mapping[str, tuple[Value, ...]]
        Values by field of `Scenario`.
    seeds : int, default 20
        Workloads of each scenario; with `until_ci` the largest number of them.
    first_seed : int, default 0
        The first seed.
    until_ci : float or None, optional
        Stop a scenario as soon as the 95 % interval of every configuration's difference to the
        baseline is at most this share of the baseline's mean to either side. Checked after
        `FIRST_LOOK` seeds and after each doubling.

    Raises
    ------
    ValueError
        Naming the value and the bound.

    Examples
    --------
    >>> from lapsd.sim.sweeps import Sweep
    >>> sweep = Sweep(("fcfs", "laps-sd"), {"K": (2, 4)}, {"load": (0.5, 0.9)}, seeds=10)
    >>> [policy.name for policy in sweep.configurations()]
    ['fcfs', 'laps-sd', 'laps-sd']
    """

    policies: tuple[str, ...] = ("fcfs", "laps-sd")
    parameters: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    settings: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    seeds: int = 20
    first_seed: int = 0
    until_ci: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= MOST_RUNS:
            raise ValueError(f"seeds={self.seeds}: must be at least 1 and at most {MOST_RUNS}")
        if not 0 <= self.first_seed <= MOST_SEED:
            raise ValueError(
                f"first_seed={self.first_seed}: must be at least 0 and at most {MOST_SEED}"
            )
        if self.until_ci is not None and not 0 < self.until_ci < 1:
            raise ValueError(f"until_ci={self.until_ci}: must be above 0 and below 1 (100 %)")
        if not self.policies:
            raise ValueError("an empty grid: no policy is given")
        for name, values in {**self.parameters, **self.settings}.items():
            if not values:
                raise ValueError(f"an empty grid: {name} has no values")
        for name in self.settings:
            canonical(name)

    def configurations(self) -> list[Policy]:
        """Return the policies, each once for every combination of the swept parameters that it
        has.
        """
        policies: dict[tuple[type[Policy], str], Policy] = {}
        used: set[str] = set()
        for spec in self.policies:
            policy, known = parse_policy(spec), _parameters_of(spec)
            own_name, _, given_there = split_spec(spec)[0].partition(":")
            fixed = {part.partition("=")[0] for part in given_there.split(",")}
            swept = [name for name in self.parameters if name in known and name not in fixed]
            used.update(swept)
            _check_combinations([self.parameters[name] for name in swept])
            for values in itertools.product(*(self.parameters[name] for name in swept)):
                given = {
                    name: parameter_value(value, known[name], own_name)
                    for name, value in zip(swept, values, strict=True)
                }
                made = _with_parameters(policy, given)
                policies[type(made), spec_of(made)] = made
        if unused := [name for name in self.parameters if name not in used]:
            if (new := RENAMED.get(unused[0])) is not None:
                raise ValueError(f"parameter {unused[0]!r} is now called {new!r}")
            every = {name for spec in self.policies for name in _parameters_of(spec)}
            raise ValueError(
                f"parameter {unused[0]!r}: no policy of this sweep has it to vary; the policies"
                f" have {', '.join(sorted(every)) or 'none'}, and settings are"
                f" {', '.join(SCENARIO_FIELDS)}"
            )
        return list(by_spec(policies.values()).values())

    def combinations(self) -> list[Scenario]:
        """Return the scenarios: every combination of settings once."""
        names = [canonical(name) for name in self.settings]
        _check_combinations(self.settings.values())
        rows: Iterator[tuple[Any, ...]] = itertools.product(*self.settings.values())
        scenarios = (Scenario(**dict(zip(names, row, strict=True))) for row in rows)
        return list(dict.fromkeys(scenarios))

    def looks(self) -> list[int]:
        """Return the numbers of seeds after which a scenario may stop; the last is all seeds."""
        looks = []
        seeds = FIRST_LOOK
        while self.until_ci is not None and seeds < self.seeds:
            looks.append(seeds)
            seeds *= 2
        return [*looks, self.seeds]

    def chunks(self) -> list[Chunk]:
        """Return all runs in chunks of about `RUNS_PER_CHUNK`, ordered by scenario, seed and
        policy.
        """
        policies, scenarios = len(self.configurations()), len(self.combinations())
        if (runs := policies * scenarios * self.seeds) > MOST_RUNS:
            raise ValueError(f"{runs} runs: must be at most {MOST_RUNS}")
        seeds_each = max(1, RUNS_PER_CHUNK // policies)
        looks = self.looks()
        return [
            Chunk(
                scenario,
                seed,
                min(seed + seeds_each, end) - 1,
                policy,
                min(policy + RUNS_PER_CHUNK, policies) - 1,
            )
            for scenario in range(scenarios)
            for begin, end in zip(
                [self.first_seed, *(self.first_seed + n for n in looks)],
                [self.first_seed + n for n in looks],
                strict=False,
            )
            for seed in range(begin, end, seeds_each)
            for policy in range(0, policies, RUNS_PER_CHUNK)
        ]

    def document(self) -> dict[str, Any]:
        """Return the sweep as a TOML document, from which `from_document` makes an equal sweep."""
        return {
            "policies": list(self.policies),
            "seeds": self.seeds,
            "first_seed": self.first_seed,
            **({} if self.until_ci is None else {"until_ci": self.until_ci}),
            "parameters": {
                name: [text_of(value) for value in values]
                for name, values in self.parameters.items()
            },
            "settings": {
                name: [text_of(value, NONE.get(canonical(name), "none")) for value in values]
                for name, values in self.settings.items()
            },
        }

    @classmethod
    def from_document(
        cls, document: Mapping[str, Any], source: str = "", base: "Sweep | None" = None
    ) -> "Sweep":
        """Return the sweep of a TOML document.

        Parameters
        ----------
        document : Mapping[str, Any]
            Values are numbers, booleans, texts such as "2:8", or lists of them.
        source : str, default ''
            The file of the document, for messages.
        base : Sweep or None, optional
            A sweep with the values that the document does not give. A parameter or setting in the
            document replaces one in `base`.

        Raises
        ------
        ValueError
            Naming `source`, and the value or the unknown key.
        """
        base, rest, where = base or cls(), dict(document), f"{source}: " if source else ""
        try:
            made: dict[str, Any] = {
                name: whole(rest.pop(name), name)
                for name in ("seeds", "first_seed")
                if name in rest
            }
            if "until_ci" in rest:
                made["until_ci"] = share_of(rest.pop("until_ci"))
            if "policies" in rest:
                made["policies"] = tuple(_specs(rest.pop("policies")))
            fields = _fields_of(made.get("policies", base.policies))
            made["parameters"] = {
                name: parameter_values(values, name, *fields.get(name, (None,)))
                for name, values in {**base.parameters, **_table(rest, "parameters")}.items()
            }
            settings = {canonical(name): v for name, v in _table(rest, "settings").items()}
            made["settings"] = {**base.settings} | {
                name: setting_values(values, SCENARIO_FIELDS[name])
                for name, values in settings.items()
            }
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{where}{error}") from error
        if rest:
            raise ValueError(
                f"{where}unknown key {next(iter(rest))!r}: known are policies, seeds,"
                " first_seed, until_ci, [parameters] and [settings]"
            )
        return replace(base, **made)

    @classmethod
    def from_toml(cls, path: Path) -> "Sweep":
        """Return the sweep of a TOML file.

        Raises
        ------
        ValueError
            If the file is not TOML, or not a sweep.
        """
        return cls.from_document(toml_file(path), str(path))


def _check_combinations(values: Iterable[Sequence[Any]]) -> None:
    """Raise `ValueError` if lists of values have too many combinations."""
    if (count := math.prod(map(len, values))) > MOST_COMBINATIONS:
        raise ValueError(f"{count} combinations of values: must be at most {MOST_COMBINATIONS}")


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Take a table from a TOML document, empty if it is not there."""
    table = document.pop(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{name}: needs one table, [{name}], not {table!r}")
    return table


def _specs(given: Any) -> Iterator[str]:
    for spec in given if isinstance(given, list | tuple) else [given]:
        if not isinstance(spec, str):
            raise ValueError(f"policies: needs a spec or a list of specs, not {spec!r}")
        yield spec


def _parameters_of(spec: str) -> dict[str, Field[Any]]:
    return {f.name: f for f in parameters_of(policy_class(_name_in(spec)))}


def _name_in(spec: str) -> str:
    return split_spec(spec)[0].partition(":")[0]


def _fields_of(specs: Sequence[str]) -> dict[str, tuple[Field[Any], str]]:
    """Return each parameter of the policies, with the name of the first policy that has it."""
    fields: dict[str, tuple[Field[Any], str]] = {}
    for spec in specs:
        for name, parameter in _parameters_of(spec).items():
            fields.setdefault(name, (parameter, _name_in(spec)))
    return fields


def _with_parameters(policy: Policy, given: Mapping[str, Any]) -> Policy:
    if not given:
        return policy
    now = {f.name: getattr(policy, f.name) for f in parameters_of(policy)}
    return type(policy)(**{**now, **given}, drafts=policy.drafts)
