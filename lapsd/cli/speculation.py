"""When speculation pays on a profile's machine: table, sentences and figure of `lapsd show`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.experiment.numbers import number
from lapsd.sim.figures.speculation import best_drafts, last_paying, plot_speculation
from lapsd.traces import Profile, Trace, speculation_pays
from lapsd.traces.derived.speculation import DRAFT_LENGTHS, kv_tokens_needed, largest_batch
from lapsd.traces.provenance import Provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (1, 8, 32, 64, 128, 256)  # batch sizes of the table and of the figure's lines


@dataclass(frozen=True)
class SpeculationAnswer:
    """Throughput of each batch size and draft length for the acceptance of a trace.

    Attributes
    ----------
    name : str
        Name or file of the trace.
    pays : DataFrame
        As returned by `speculation_pays`, for every batch size that fits.
    """

    profile: Profile
    trace: Trace
    name: str
    pays: pd.DataFrame

    @classmethod
    def of(cls, profile: Profile, trace: Trace, name: str) -> "SpeculationAnswer":
        """Return the answer for a trace.

        Raises
        ------
        ValueError
            If the profile prices one draft length only, if the trace cannot be replayed, or if no
            batch fits in memory.
        """
        only = profile.costs.only_draft_tokens
        if only is not None:
            raise ValueError(
                f"the profile prices rounds of {only} draft tokens only, so there is no other draft"
                " length to compare them with"
            )
        largest = largest_batch(trace, profile)
        if largest < 1:
            assert profile.kv_capacity is not None
            raise ValueError(
                f"trace {name}: its longest request needs {kv_tokens_needed(trace, 1):,} KV tokens;"
                f" the profile's memory holds {profile.kv_capacity.tokens:,}"
            )
        try:
            pays = speculation_pays(
                trace, profile, batches=range(1, largest + 1), lengths=_lengths(profile)
            )
        except ValueError as error:
            raise ValueError(f"trace {name}: {error}") from error
        return cls(profile, trace, name, pays)

    @property
    def batches(self) -> list[int]:
        """Batch sizes of the table and of the figure's lines: the largest, and `SHOWN` below it."""
        largest = int(self.pays["batch"].max())
        return [*(b for b in SHOWN if 1.5 * b < largest), largest]

    @property
    def verdict(self) -> str:
        """The batch sizes at which speculation pays, in one sentence."""
        best = best_drafts(self.pays)
        last, largest = last_paying(best), int(best["batch"].max())
        if not last:
            return f"Speculation does not pay at any batch size up to {largest}"
        ends = [best[best["batch"] == b].iloc[0] for b in sorted({1, largest})]
        gains = ", ".join(
            f"{row['over_plain']:.2f} times{end} at batch size {row['batch']:.0f}"
            f" (n = {row['draft_tokens']:.0f})"
            for row, end in zip(ends, (" the throughput of plain decoding", ""), strict=False)
        )
        everywhere = (best["over_plain"] > 1).all()
        where = f"at all batch sizes up to {last}" if everywhere else f"up to batch size {last}"
        why = ""
        if last == largest:
            covered = largest == max(self.profile.costs.rounds)
            why = f", the largest that {'the profile covers' if covered else 'fits in memory'}"
        return f"Speculation pays {where}{why}: {gains}"

    @property
    def left_out(self) -> list[str]:
        """Sentences on batch sizes and draft lengths that do not fit."""
        return list(self._left_out())

    def _left_out(self) -> Iterator[str]:
        covered, largest = max(self.profile.costs.rounds), int(self.pays["batch"].max())
        capacity = self.profile.kv_capacity
        longest = kv_tokens_needed(self.trace, 1)
        if capacity is None or capacity.tokens is None:
            yield "memory is not known: no batch size is left out for its KV caches"
            return
        fit = f"fit in {capacity.tokens:,} KV tokens (longest request: {longest:,})"
        if largest < covered:
            yield f"batch sizes above {largest} are left out: their caches do not {fit}"
        counts = self.pays.groupby("batch")["draft_tokens"].max()
        for batch in (b for b in self.batches if counts[b] < counts.max()):
            yield f"batch size {batch}: draft lengths above {counts[batch]} do not {fit}"

    @property
    def caption(self) -> str:
        """Models, GPU, engine and trace that the numbers hold for, in two lines."""
        trace, profile, known = self.trace, self.profile, self.profile.provenance
        tables, drafted = profile.operator_tables, int(trace.drafted.sum())
        where = [_models(known), str(known.hardware or "unknown machine"), known.dtype]
        if tables is not None:
            where.append(f"{tables.engine} {tables.engine_version}")
        host_us = profile.costs.rounds[1].host_ns / 1e3
        where += [profile.kind.replace("_", " "), f"host time {number(host_us)} µs per round"]
        context = float(np.mean(trace.prompt_tokens + trace.output_tokens / 2))
        accepted = (
            f"{trace.accepted.sum() / drafted:.2f} accepted per drafted token, recorded with n ="
            f" {', '.join(map(str, np.unique(trace.drafted)))}"
            if drafted
            else "recorded without drafts"
        )
        whose = (
            f"Acceptance: trace {self.name} ({_models(trace.provenance)}; {len(trace):,} requests;"
            f" {accepted}); contexts {context:.0f} tokens on average, at most"
            f" {kv_tokens_needed(trace, 1):,}"
        )
        lines = [f"Costs: {', '.join(part for part in where if part)}.", f"{whose}."]
        return "\n".join([*lines, *(f"{line[:1].upper()}{line[1:]}." for line in self.left_out)])

    def draw(self) -> "Figure":
        """Return the figure."""
        return plot_speculation(
            self.pays, self.batches, title=f"{self.verdict}.", caption=self.caption
        )


def _lengths(profile: Profile) -> Sequence[int]:
    """Return the draft lengths that the profile's verify passes cover without extrapolation."""
    widths = profile.costs.rounds[1].verify_base_ns
    return [n for n in DRAFT_LENGTHS if n < max(widths)] if len(widths) > 1 else DRAFT_LENGTHS


def _models(known: Provenance) -> str:
    names = [str(model) for model in (known.target, known.draft) if model is not None]
    return " + ".join(names) or "unknown models"
