"""Progress on stderr, and the consoles for tables and lines of text."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lapsd.traces.streams import unfiltered, visible

WIDTH = 150  # of tables in a file or a pipe
SECONDS_UNTIL_SAID = 2  # without a terminal


class VisibleConsole(Console):
    """A console that makes control characters visible, except its own."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text with its markup and styles."""
        return super().render_str(visible(text), **options)


def console(*, stderr: bool = False) -> Console:
    """Return the console of stdout, for tables, or of stderr, whose messages are not wrapped."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stderr or stream.isatty() else WIDTH
    return VisibleConsole(file=unfiltered(stream), width=width, soft_wrap=stderr)


class Watch:
    """Shows progress: one bar per task on a terminal, else one line per task.

    The line of a task comes two seconds after its first result and says how long the rest takes.
    With `stages` it comes as soon as the task begins and says how long the task takes; where the
    caller does not know, the line after the first result follows.

    Attributes
    ----------
    console : rich Console
        stderr, for further lines.
    """

    def __init__(self, bar: Progress, stages: bool = False) -> None:
        self.bar, self._stages = bar, stages
        self.console = bar.console
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, tuple[float, int]] = {}
        self._first: dict[str, tuple[float, int]] = {}
        self._done: dict[str, int] = {}
        self._said: set[str] = set()

    def __call__(self, what: str, done: int, total: int, takes: str = "") -> None:
        """Set the progress of a task; `done` of the first call counts as done before.

        `takes` of the first call says how long the task takes, as in "about 20 s".
        """
        if what not in self._tasks:
            self._tasks[what] = self.bar.add_task(what, total=total, rate="")
            self._begun[what] = time.monotonic(), done
            if self._stages and not self.console.is_terminal:
                self._begin(what, total - done, takes)
        self._done[what] = done
        if done > self._begun[what][1]:
            self._first.setdefault(what, (time.monotonic(), done))
        # the time to the first result includes what happens once, such as compiling
        new, seconds = self._since(self._first.get(what, self._begun[what]), what)
        rate = new / seconds if seconds > 0 else 0.0
        self.bar.update(self._tasks[what], completed=done, total=total, rate=f"{rate:,.0f}/s")
        unseen = not self.console.is_terminal and what not in self._said
        if unseen and new and seconds > SECONDS_UNTIL_SAID and done < total:
            self._said.add(what)
            self.console.print(
                f"{what}: about {(total - done) / rate:,.0f} s left", highlight=False
            )

    def _begin(self, what: str, count: int, takes: str) -> None:
        """Print that a task begins, how many steps it has, and how long it takes."""
        details = ", ".join(text for text in (f"{count:,}" if count > 1 else "", takes) if text)
        self.console.print(f"{what}: {details}" if details else what, highlight=False)
        if takes:
            self._said.add(what)

    def since_begun(self, what: str) -> tuple[int, float]:
        """Return the progress and the seconds since the first call."""
        return self._since(self._begun[what], what)

    def _since(self, at: tuple[float, int], what: str) -> tuple[int, float]:
        begun, before = at
        return self._done[what] - before, time.monotonic() - begun


@contextmanager
def watch(quiet: bool = False, stages: bool = False) -> Iterator[Watch]:
    """Show progress on stderr while the block runs: bars on a terminal, unless `quiet`, else lines.

    `stages`: see `Watch`; for commands whose stages take minutes.
    """
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    lines = console(stderr=True)
    with Progress(
        *columns, console=lines, transient=True, disable=quiet or not lines.is_terminal
    ) as bar:
        yield Watch(bar, stages and not quiet)
