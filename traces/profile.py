"""Profiles: the costs of one machine, where they come from, and how far to trust them.

This module knows nothing of files (`lapsd.traces.files.profile_file`), nor of requests or policies.
"""

from dataclasses import dataclass, field, replace

from lapsd.traces.costs import MAX_NS, Costs, Linear, RoundCost, RoundTerms, StepCost, Swap
from lapsd.traces.provenance import (
    Fits,
    Floors,
    KVCapacity,
    OperatorTables,
    Provenance,
    Speculation,
)

KINDS = ("measured", "wall_time_fit", "imported_fit", "operator_tables", "by_hand")
WEIGHTS = ("pretrained", "reference", "random", "unknown")


@dataclass(frozen=True)
class Profile:
    """Costs of one machine, where they come from, and how far to trust them.

    Attributes
    ----------
    kind : {"measured", "wall_time_fit", "imported_fit", "operator_tables", "by_hand"}
        How the terms were obtained: each term timed, fitted to the wall times of whole requests,
        taken from published fits, summed from tables of measured operators, or chosen by hand.
    weights : {"pretrained", "reference", "random", "unknown"}
        Weights of the models.
    costs : Costs
    fits : Fits
        How well the terms fit samples that were held out from the fits.
    provenance : Provenance
        Models, dtype, hardware, library versions, command, commit, time.
    floors : Floors or None
        Rates of the hardware, and the lower bounds on the time of a verify pass that follow.
    speculation : Speculation or None
        Whether speculation is faster than plain decoding on the machine.
    kv_capacity : KVCapacity or None
        Memory for keys and values.
    operator_tables : OperatorTables or None
        Tables that the costs were computed from.

    Examples
    --------
    >>> import lapsd
    >>> profile = lapsd.Profile.constant(draft_ms=1.0, verify_ms=20.0, swap_ms=5.0)
    >>> profile.round_cost(batch=1)(4, 100)  # 4 draft steps and a verification, in ns
    24000000
    >>> profile.kind
    'by_hand'
    """

    kind: str
    weights: str
    costs: Costs
    fits: Fits = field(default_factory=Fits)
    provenance: Provenance = field(default_factory=Provenance)
    floors: Floors | None = None
    speculation: Speculation | None = None
    kv_capacity: KVCapacity | None = None
    operator_tables: OperatorTables | None = None

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
        """Return a profile with constant times of a draft step and a verify pass.

        Raises
        ------
        ValueError
            If a time is negative, not finite or above `MAX_NS`.
        """
        swap = Linear(_ns(swap_ms, "swap_ms"), _ns(swap_ms_per_token, "swap_ms_per_token"))
        costs = Costs(
            rounds={
                1: RoundTerms(
                    Linear(_ns(draft_ms, "draft_ms"), 0),
                    {1: _ns(verify_ms, "verify_ms")},
                    {1: 0},
                    0,
                )
            },
            prefill=Linear(0, _ns(prefill_ms_per_token, "prefill_ms_per_token")),
            swap_out=swap,
            swap_in=swap,
        )
        if costs.rounds[1].verify_base_ns[1] < 1:
            raise ValueError(f"verify_ms={verify_ms}: a round must take at least 1 ns")
        return cls("by_hand", "unknown", costs)

    def with_swap(self, way: str | None = None, scale: float = 1.0) -> "Profile":
        """Return the profile with another way to transfer KV caches, or with longer transfers.

        Parameters
        ----------
        way : str or None, optional
            One of `costs.swap_ways`; None keeps the way.
        scale : float, default 1.0
            Factor of the time of every transfer.

        Raises
        ------
        ValueError
            If there is no such way, or the scale is out of range.
        """
        if way is None and scale == 1:
            return self
        if not 0 <= scale <= 1e6:
            raise ValueError(f"swap_scale={scale}: must be between 0 and 1000000")
        if way is not None and way not in self.costs.swap_ways:
            known = ", ".join(self.costs.swap_ways) or "none"
            raise ValueError(f"swap {way!r}: the ways that the profile has are: {known}")
        chosen = (
            Swap(self.costs.swap_out, self.costs.swap_in)
            if way is None
            else self.costs.swap_ways[way]
        )
        out, back = (
            Linear(round(scale * t.base_ns), round(scale * t.per_token_ns))
            for t in (chosen.out, chosen.back)
        )
        provenance = self.provenance.noting(moves=f"{way or 'as measured'}, times {scale:g}")
        return replace(
            self, costs=replace(self.costs, swap_out=out, swap_in=back), provenance=provenance
        )

    def with_host(self, host_us: float) -> "Profile":
        """Return the profile with more time in each pass for the engine outside the models.

        Parameters
        ----------
        host_us : float
            Microseconds added to each round, prefill and step with prompts.

        Raises
        ------
        ValueError
            If the time is out of range.
        """
        if not 0 <= host_us <= 1e6:
            raise ValueError(f"host_us={host_us:g}: must be between 0 and 1000000")
        return replace(self, costs=self.costs.with_host(round(1e3 * host_us))) if host_us else self

    @property
    def kind_in_words(self) -> str:
        """How the costs were obtained, for captions.

        For operator tables, the words include the host time of a round, which tables lack.
        """
        words = self.kind.replace("_", " ")
        if self.operator_tables is None:
            return words
        host_us = self.costs.rounds[1].host_ns / 1e3
        return f"{words}, host time {host_us:g} µs per round"

    def warnings(self) -> list[str]:
        """Return the reasons to distrust the profile, one line each."""
        known, lines = self.provenance, list(self.fits.warnings())
        if known.unstable:
            drift = (
                ""
                if known.drift is None
                else f": the machine's speed drifted by {known.drift:+.0%}"
            )
            lines.append(f"unstable{drift}")
        if known.incomplete:
            lines.append("incomplete: its calibration was interrupted")
        if known.quick:
            lines.append("quick: few samples per term")
        if self.costs.only_draft_tokens is not None:
            lines.append(
                f"fitted to rounds of {self.costs.only_draft_tokens} draft tokens only: covers no"
                " other draft length"
            )
        return lines

    def round_cost(self, batch: int = 1) -> "RoundCost":
        """Return the cost of a round of `batch` requests as an integer function.

        The function raises a ValueError if the profile does not cover the draft length.

        Raises
        ------
        ValueError
            If the profile does not cover the batch size.
        """
        return RoundCost(self.costs.rounds, batch, self.costs.only_draft_tokens)

    def step_cost(self, batch: int = 1) -> "StepCost":
        """Return the cost of a step that prefills prompts, as an integer function.

        Parameters
        ----------
        batch : int, default 1
            Largest number of requests in the step.

        Raises
        ------
        ValueError
            If the profile does not cover the batch size.
        """
        return StepCost(self.costs, batch)


def _ns(ms: float, name: str) -> int:
    if not 0 <= ms * 1e6 <= MAX_NS:
        raise ValueError(f"{name}={ms}: must be between 0 and {MAX_NS // 10**6} ms")
    return round(ms * 1e6)
