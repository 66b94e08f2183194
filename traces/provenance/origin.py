"""Where a trace or a profile comes from: models, machine, software, command; what was estimated,
what is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lapsd.traces.provenance.record import Record


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """A language model: its name, its number of parameters, its architecture."""

    name: str = ""
    parameters: int | None = None
    type: str = ""

    def __str__(self) -> str:
        size = "" if self.parameters is None else f"{self.parameters / 1e6:.3g} M parameters"
        return f"{self.name or '?'}{f' ({size})' if size else ''}"


@dataclass(frozen=True, kw_only=True)
class Hardware(Record):
    """A machine; `device` is where models ran (`cpu` or `cuda`), and GPU fields are those of a GPU
    that did.
    """

    device: str = ""
    cpu: str = ""
    cores: int | None = None
    threads: int | None = None
    gpu: str = ""
    gpu_memory_bytes: int | None = None
    cuda: str = ""

    def __str__(self) -> str:
        return self.gpu or f"{self.threads or '?'} threads of {self.cpu or 'a CPU'}"


@dataclass(frozen=True, kw_only=True)
class GreedyCheck(Record):
    """Greedy outputs against the target's own choices.

    Attributes
    ----------
    exact : bool
        No choice was worse than the tolerance allows.
    requests, tokens, ties : int
        How many were looked at, and how many choices had an equal.
    worst_regret, tolerance : float
        How far a chosen token's logit was from the largest, at worst, and how far it may be.
    """

    exact: bool
    requests: int
    tokens: int
    ties: int
    worst_regret: float
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class LengthErrors(Record):
    """How predicted output lengths compare with the true ones.

    Attributes
    ----------
    mean_absolute_error : float
        In tokens.
    rank_correlation : float or None
        Spearman's; None where predictions or lengths are all the same.
    kendall_tau : float or None
        Kendall's tau-b; None there too, and in files written before it was kept.
    sd_log_error : float
        Standard deviation of log(predicted / true).
    """

    requests: int
    mean_absolute_error: float
    sd_log_error: float
    rank_correlation: float | None = None
    kendall_tau: float | None = None


@dataclass(frozen=True, kw_only=True)
class LearnedLengths(Record):
    """What output lengths were predicted from, and how well: by predictor, then by data set and
    `pooled`.

    Attributes
    ----------
    folds, groups : int
        Predictions are out of fold, and folds keep groups of requests together.
    censored_at_cap : int
        Outputs that ended at the cap on new tokens, whose true length is not known.
    """

    features: str = ""
    folds: int = 0
    groups: int = 0
    censored_at_cap: int = 0
    by_predictor: Mapping[str, Mapping[str, LengthErrors]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Provenance(Record):
    """Where a trace or a profile comes from; what is not known is empty or None.

    Attributes
    ----------
    source : str
        In words.
    imported_from : str
        The public file's name.
    estimated, missing : tuple of str
        What was estimated, and what the source did not hold, in words.
    target, draft : Model or None
    dtype : str
    hardware : Hardware or None
    software : mapping of name to version
    command, commit, time : str
        As typed; of lapsd's source; in ISO 8601.
    draft_tokens : tuple of int Draft lengths that were recorded; the first is the one that a
        profile's rounds are judged by.
    quick : bool
        Few samples a term.
    drift : float or None
        How much longer the same rounds took at the end of a timing, relative.
    unstable : bool
        The machine's speed changed while it was timed.
    incomplete : tuple of str
        What was not timed, if a timing was interrupted.
    greedy_check : GreedyCheck or None
    length_predictor : LearnedLengths or None
        Of the trace's column `predicted_tokens`.
    notes : mapping
        Everything else, by the key that it has in files.
    """

    source: str = ""
    imported_from: str = ""
    estimated: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    target: Model | None = None
    draft: Model | None = None
    dtype: str = ""
    hardware: Hardware | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    commit: str = ""
    time: str = ""
    draft_tokens: tuple[int, ...] = ()
    quick: bool = False
    drift: float | None = None
    unstable: bool = False
    incomplete: tuple[str, ...] = ()
    greedy_check: GreedyCheck | None = None
    length_predictor: LearnedLengths | None = None

    @property
    def details(self) -> dict[str, str]:
        """See `Record.details`; the greedy check is among them."""
        check = {} if self.greedy_check is None else self.greedy_check.to_json()
        return {
            f"greedy_check / {name}": str(value) for name, value in check.items()
        } | super().details

    @property
    def facts(self) -> dict[str, str]:
        """What is known, in words, by the key that it has in files, but for notes, checks and
        warnings.
        """
        known = {
            "source": self.source,
            "imported_from": self.imported_from,
            "estimated": "; ".join(self.estimated),
            "missing": "; ".join(self.missing),
            "target": str(self.target or ""),
            "draft": str(self.draft or ""),
            "dtype": self.dtype,
            "hardware": str(self.hardware or ""),
            "software": ", ".join(f"{name} {version}" for name, version in self.software.items()),
            "draft_tokens": ", ".join(map(str, self.draft_tokens)),
            "command": self.command,
            "commit": self.commit,
            "time": self.time,
            "drift": "" if self.drift is None else f"{self.drift:+.1%}",
        }
        return {name: text for name, text in known.items() if text}
