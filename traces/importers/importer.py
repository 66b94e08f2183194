"""What every importer is: a name, its options, and `read`, which makes of one public file what
lapsd works with.
"""

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
    """What a public file holds.

    Attributes
    ----------
    trace : Trace, ArrivalTrace or None
        Requests and their rounds, or their arrivals and lengths; None: the file holds costs alone.
    profile : Profile or None
        Fitted to the file's wall times, or the costs that it holds, if it has any.
    notes : tuple of str
        What a user must know of it, a sentence each: what was estimated, left out or not there.
    prompts : tuple of Prompt The requests' prompts, in order, where the file holds them: what
        predictors of lengths learn from.
    """

    trace: Trace | ArrivalTrace | None
    profile: Profile | None = None
    notes: tuple[str, ...] = ()
    prompts: tuple[Prompt, ...] = ()


@dataclass(frozen=True)
class Importer(ABC):
    """A public format. The first line of a subclass's docstring says what `lapsd import NAME` does.

    Its fields are the options, with a default, and `help` in their metadata; wrong values are
    refused at once.

    Attributes
    ----------
    name : str
        As users type it.
    file : str
        What the file must be, in a line.
    """

    name: ClassVar[str]
    file: ClassVar[str]

    @abstractmethod
    def read(self, path: str | Path) -> Imported:
        """Read one file; `.gz` is allowed.

        Raises
        ------
        FormatError
            Naming the file, the line and what is wrong with it.
        """
