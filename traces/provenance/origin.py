"""Where a trace or a profile comes from: models, machine, software and command.

The record also lists parts that were estimated, and parts that are missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lapsd.traces.provenance.record import Record


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """A language model: its name, its number of parameters, its architecture.

    Examples
    --------
    >>> from lapsd.traces.provenance import Model
    >>> Model(name="target", parameters=7_000_000, type="llama").parameters
    7000000
    """

    name: str = ""
    parameters: int | None = None
    type: str = ""

    def __str__(self) -> str:
        size = "" if self.parameters is None else f"{self.parameters / 1e6:.3g} M parameters"
        return f"{self.name or '?'}{f' ({size})' if size else ''}"


@dataclass(frozen=True, kw_only=True)
class Hardware(Record):
    """A machine.

    `device` is the device that ran the models, `cpu` or `cuda`; fields of a GPU are set only for
    `cuda`.

    Examples
    --------
    >>> from lapsd.traces.provenance import Hardware
    >>> Hardware(device="cpu", cpu="a CPU", cores=2).cores
    2
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
    """Comparison of greedy outputs with the target's own choices.

    Attributes
    ----------
    exact : bool
        Whether all choices were within the tolerance.
    requests, tokens, ties : int
        Number of requests and tokens checked, and of tokens whose logit equals another one.
    worst_regret, tolerance : float
        Largest difference between the largest logit and the logit of the chosen token, and the
        largest allowed difference.

    Examples
    --------
    >>> from lapsd.traces.provenance import GreedyCheck
    >>> GreedyCheck(
    ...     exact=True, requests=20, tokens=900, ties=0, worst_regret=0.0, tolerance=1e-4
    ... ).exact
    True
    """

    exact: bool
    requests: int
    tokens: int
    ties: int
    worst_regret: float
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class LengthErrors(Record):
    """Errors of predicted output lengths.

    Attributes
    ----------
    requests : int
        Number of requests.
    mean_absolute_error : float
        In tokens.
    rank_correlation : float or None
        Spearman's rank correlation; None if all predictions or all lengths are equal.
    kendall_tau : float or None
        Kendall's tau-b; None in the same case, and in older files, which lack it.
    sd_log_error : float
        Standard deviation of log(predicted / true).

    Examples
    --------
    >>> from lapsd.traces.provenance import LengthErrors
    >>> LengthErrors(requests=100, mean_absolute_error=20.0, sd_log_error=0.4).sd_log_error
    0.4
    """

    requests: int
    mean_absolute_error: float
    sd_log_error: float
    rank_correlation: float | None = None
    kendall_tau: float | None = None


@dataclass(frozen=True, kw_only=True)
class LearnedLengths(Record):
    """Features and errors of learned predictors of output lengths.

    Attributes
    ----------
    features : str
        Features of the predictors, in words.
    folds, groups : int
        Number of cross-validation folds, and of groups of requests; a fold contains whole groups.
    censored_at_cap : int
        Outputs that ended at the limit on new tokens, so that their full length is unknown.
    by_predictor : mapping
        Errors by predictor, then by data set and `pooled`.

    Examples
    --------
    >>> import lapsd
    >>> lengths = lapsd.load_trace("reference").provenance.length_predictor
    >>> lengths.folds
    5
    """

    features: str = ""
    folds: int = 0
    groups: int = 0
    censored_at_cap: int = 0
    by_predictor: Mapping[str, Mapping[str, LengthErrors]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Provenance(Record):
    """Where a trace or a profile comes from; unknown fields are empty or None.

    Attributes
    ----------
    source : str
        The source, in words.
    imported_from : str
        Name of the public file.
    estimated, missing : tuple of str
        Parts that were estimated, and parts that the source lacks, in words.
    target, draft : Model or None
    dtype : str
    hardware : Hardware or None
    software : mapping of name to version
    command, commit, time : str
        Command line as typed, commit of lapsd's source, and time in ISO 8601.
    draft_tokens : tuple of int
        Recorded draft lengths; errors of a profile's rounds are those at the first one.
    quick : bool
        Whether each term has few samples.
    drift : float or None
        Relative increase in the time of the same rounds from the start to the end of a calibration.
    unstable : bool
        Whether the machine's speed changed during the calibration.
    incomplete : tuple of str
        Parts that were not timed, if a calibration was interrupted.
    left_out : tuple of str
        Parts that were left out for want of time, in words.
    greedy_check : GreedyCheck or None
    length_predictor : LearnedLengths or None
        Predictors behind the trace's column `predicted_tokens`.
    notes : mapping
        All other keys of the file.

    Examples
    --------
    >>> import lapsd
    >>> lapsd.load_trace("reference").provenance.dtype
    'float32'
    >>> lapsd.Provenance(source="made for a test").source
    'made for a test'
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
    left_out: tuple[str, ...] = ()
    greedy_check: GreedyCheck | None = None
    length_predictor: LearnedLengths | None = None

    @property
    def details(self) -> dict[str, str]:
        """See `Record.details`; includes the greedy check."""
        check = {} if self.greedy_check is None else self.greedy_check.to_json()
        return {
            f"greedy_check / {name}": str(value) for name, value in check.items()
        } | super().details

    @property
    def facts(self) -> dict[str, str]:
        """Known fields, in words, by their key in files, without notes, checks and warnings."""
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
            "left_out": "; ".join(self.left_out),
            "drift": "" if self.drift is None else f"{self.drift:+.1%}",
        }
        return {name: text for name, text in known.items() if text}
