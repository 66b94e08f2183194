"""What a reproduction is made from: a trace, a profile, how much is run; and the names that sweeps
have for them.
"""

from dataclasses import dataclass
from functools import cached_property

from lapsd.sim.experiment.prepared_scenario import PreparedScenario, Split
from lapsd.traces import AcceptanceModel, Profile, Trace, fit_acceptance

RECORDED, MEASURED = "recorded", "measured"  # the trace and the profile
ALL = "all"  # data sets together


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes
    ----------
    claims, queues, others, stability, map : seeds, by kind of sweep
    spreads, errors, loads : the map's axes: spread of acceptance, SD of the log length error, load
    stretches : of logs of output lengths about their median
    generated : requests of a generated trace
    """

    name: str
    claims: int
    queues: int
    others: int
    stability: int
    map: int
    spreads: tuple[float, ...]
    errors: tuple[float, ...]
    loads: tuple[float, ...]
    stretches: tuple[float, ...]
    generated: int


@dataclass(frozen=True)
class Inputs:
    """A trace and a profile, by the names that a user gave, and what follows from them."""

    trace_name: str
    profile_name: str
    trace: Trace
    profile: Profile

    @property
    def datasets(self) -> list[str]:
        """The three that figures show: the largest, in the trace's order; or fewer."""
        names = self.trace.datasets
        counts = {name: sum(other == name for other in self.trace.dataset) for name in names}
        return sorted(sorted(names, key=lambda n: -counts[n])[:3], key=names.index)

    @property
    def switching(self) -> bool:
        """Whether the profile says what moving a KV cache costs."""
        costs = self.profile.costs
        return any(t.base_ns or t.per_token_ns for t in (costs.swap_out, costs.swap_in))

    def split(self, dataset: str | None = None) -> Split:
        """The half that workloads are drawn from, and what is known of the other."""
        return PreparedScenario.of(self.trace, self.profile, dataset=dataset).split

    @cached_property
    def acceptance_models(self) -> dict[str, AcceptanceModel]:
        """The acceptance model fitted to the trace, by data set.

        Raises
        ------
        FormatError
            If the trace does not allow it.
        """
        return dict(fit_acceptance(self.trace))

    @property
    def recording(self) -> str:
        """Where the trace came from, in words, with the sizes of the models if it says them."""
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
        """What the profile was measured on, in words."""
        return str(self.profile.provenance.hardware or "on a machine that is not named")

    @property
    def source(self) -> str:
        """The trace, as a caption says it."""
        return f"Trace: {self.recording}."

    @property
    def costs(self) -> str:
        """The profile, as a caption says it."""
        return f"Costs: {self.profile.kind}, {self.machine}."

    @property
    def where(self) -> str:
        """Both, as a caption says it."""
        return f"{self.source} {self.costs}"
