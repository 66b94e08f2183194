"""Base class of importers: a name, options, and `read`, which converts one public file."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lapsd.traces.arrival_trace import ArrivalTrace
from lapsd.traces.profile import Profile
from lapsd.traces.prompts import Prompt
from lapsd.traces.trace import Trace


@dataclass(frozen=True)
class Imported:
    """Contents of a public file.

    Attributes
    ----------
    trace : Trace, ArrivalTrace or None
        Requests and their rounds, or arrivals and lengths; None if the file holds only costs.
    profile : Profile or None
        Costs in the file, or fitted to its wall times, if there are any.
    notes : tuple of str
        Notes for the user, one sentence each: parts that were estimated, left out or not in the
        file.
    prompts : tuple of Prompt
        Prompts of the requests, in order, if the file holds them. Predictors of lengths are trained
        on them.

    Examples
    --------
    >>> from lapsd.traces import Imported, ordinary_decoding
    >>> imported = Imported(
    ...     ordinary_decoding([10, 20], [5, 6]), notes=("Prompts are not in the file.",)
    ... )
    >>> imported.profile is None
    True
    """

    trace: Trace | ArrivalTrace | None
    profile: Profile | None = None
    notes: tuple[str, ...] = ()
    prompts: tuple[Prompt, ...] = ()


@dataclass(frozen=True)
class Importer(ABC):
    """Importer of one public format.

    The first line of a subclass's docstring is the help text of `lapsd import NAME`. The fields of
    a subclass are the options; each has a default and `help` in its metadata. A subclass checks
    their values when it is created.

    Attributes
    ----------
    name : str
        Name on the command line.
    file : str
        Description of the file, in one line.

    Examples
    --------
    >>> from lapsd.traces import IMPORTERS, Importer
    >>> issubclass(IMPORTERS["azure"], Importer)
    True
    """

    name: ClassVar[str]
    file: ClassVar[str]

    @abstractmethod
    def read(self, path: str | Path) -> Imported:
        """Return the contents of one file; `.gz` is allowed.

        Raises
        ------
        FormatError
            Naming the file, the line and what is wrong.
        """
