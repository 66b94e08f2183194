"""The inputs of a reproduction: a trace, a profile, and how much is run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from lapsd.sim.experiment.prepared_scenario import PreparedScenario, Split
from lapsd.traces import AcceptanceModel, Profile, Trace, fit_acceptance, load_arrivals

RECORDED, MEASURED = "recorded", "measured"  # names of the trace and the profile in sweeps
ALL = "all"  # all data sets together


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes
    ----------
    claims, queues, others, stability, map : number of seeds, by kind of sweep
    spreads, errors, loads : axes of the map: spread of acceptance, standard deviation (SD) of the
        log length error, and load
    stretches : factors by which log output lengths are stretched about their median
    generated : number of requests of a generated trace
    """

    name: str
    claims: int
    queues: int
    others: int
    stability: int = 0
    map: int = 0
    spreads: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    loads: tuple[float, ...] = ()
    stretches: tuple[float, ...] = ()
    generated: int = 0


@dataclass(frozen=True)
class Inputs:
    """A trace and a profile, the names that the user gave them, and values derived from them.

    Attributes
    ----------
    arrivals : files of recorded arrivals, by the names that reports give them
    """

    trace_name: str
    profile_name: str
    trace: Trace
    profile: Profile
    arrivals: Mapping[str, str] = field(default_factory=dict)

    @property
    def datasets(self) -> list[str]:
        """The data sets that figures show: the three largest, in the order of the trace."""
        names = self.trace.datasets
        counts = {name: sum(other == name for other in self.trace.dataset) for name in names}
        return sorted(sorted(names, key=lambda n: -counts[n])[:3], key=names.index)

    @property
    def switching(self) -> bool:
        """Whether the profile gives a cost for swapping a KV cache out or in."""
        costs = self.profile.costs
        return any(t.base_ns or t.per_token_ns for t in (costs.swap_out, costs.swap_in))

    def split(self, dataset: str | None = None) -> Split:
        """Return the priced test half, which workloads are drawn from, and the training half."""
        return PreparedScenario.of(self.trace, self.profile, dataset=dataset).split

    @cached_property
    def acceptance_models(self) -> dict[str, AcceptanceModel]:
        """The acceptance model fitted to the trace, by data set.

        Raises
        ------
        FormatError
            If the model cannot be fitted to the trace.
        """
        return dict(fit_acceptance(self.trace))

    @cached_property
    def with_prefixes(self) -> dict[str, str]:
        """The files of recorded arrivals that hold hashes of prompts, by name."""
        return {n: f for n, f in self.arrivals.items() if load_arrivals(f).prefixes is not None}

    @property
    def recording(self) -> str:
        """The source of the trace, with the sizes of both models if the trace gives them."""
        known = self.trace.provenance
        source, models = known.source or self.trace_name, (known.target, known.draft)
        sizes = [
            f"{m.parameters / 1e6:.3g} M"
            for m in models
            if m is not None and m.parameters is not None
        ]
        return f"{source} ({' + '.join(sizes)} parameters)" if len(sizes) == 2 else source

    @property
    def machine(self) -> str:
        """The machine that the profile was measured on."""
        return str(self.profile.provenance.hardware or "unnamed machine")

    @property
    def source(self) -> str:
        """A sentence for captions that names the trace."""
        return f"Trace: {self.recording}."

    @property
    def costs(self) -> str:
        """A sentence for captions that names the profile."""
        return f"Costs: {self.kind_of_costs}, {self.machine}."

    @property
    def kind_of_costs(self) -> str:
        """How the costs were obtained, as words: `measured`, `by hand` and so on."""
        return self.profile.kind_in_words

    @property
    def where(self) -> str:
        """Sentences for captions that name the trace and the profile."""
        return f"{self.source} {self.costs}"
