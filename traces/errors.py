"""Errors and warnings as a user sees them on the command line: one line each, and an exit code.

Exit codes: 0 done, 1 incomplete (also if the reader of stdout exits first, as `head` does), 2 bad
input, 130 interrupted (143 by SIGTERM, 129 by SIGHUP). The library raises a `ValueError` for a
user's mistake; only the command lines turn it into one line of text.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lapsd.traces.streams import safe_streams

DONE, INCOMPLETE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


class Reported(int):
    """An exit code whose reason was printed already."""


class FormatError(ValueError):
    """Raised for a file that is not a valid trace or profile.

    The message names the file, the row or field, the value and its bound.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import FormatError
    >>> try:
    ...     lapsd.load_trace("nothing.parquet")
    ... except FormatError as error:
    ...     print(error)
    trace nothing.parquet: no such file
    """


@safe_streams()
def run_command(program: str, command: Callable[[], object]) -> int:
    """Run the body of a command line and return its exit code.

    An error is printed as one line on stderr, and so is a warning of lapsd.
    """
    try:
        with _warnings_as_lines(program):
            code = _call(command)
        sys.stdout.flush()
        # the command-line library returns this code for an interrupt
        if code == INTERRUPTED and not isinstance(code, Reported):
            raise KeyboardInterrupt
        return code if isinstance(code, int) else DONE
    except KeyboardInterrupt:
        return _print_error(program, "interrupted", Reported(INTERRUPTED))
    except BrokenPipeError:
        _discard_stdout()  # the reader of a pipe, such as head, has exited
        return INCOMPLETE
    except OSError as error:
        _discard_stdout()
        file = f"{error.filename}: " if error.filename else ""
        return _print_error(program, f"{file}{error.strerror or error}", BAD_INPUT)
    except MemoryError:
        return _print_error(program, "out of memory", INCOMPLETE)
    except ValueError as error:
        return _print_error(program, str(error), BAD_INPUT)
    except Exception as error:
        usage = getattr(error, "format_message", None)  # an error of the command-line library
        if usage is None:
            raise
        return _print_error(program, usage(), BAD_INPUT)


@contextmanager
def _warnings_as_lines(program: str) -> Iterator[None]:
    """Print each warning once, as one line; the line of another library's names its kind."""
    printed: set[str] = set()
    with warnings.catch_warnings():

        def print_line(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            own = category.__module__.startswith("lapsd.")
            line = str(message) if own else f"{category.__name__}: {message}"
            if line not in printed:
                printed.add(line)
                _print_error(program, line, DONE)

        warnings.showwarning = print_line
        yield


def _call(command: Callable[[], object]) -> object:
    """Call the command; print the help page if the command line has no arguments."""
    try:
        return command()
    except Exception as error:
        if (
            type(error).__name__ != "NoArgsIsHelpError"
        ):  # the message of this error is the help page
            raise
        print(error.format_message())  # type: ignore[attr-defined]
        return DONE


def _discard_stdout() -> None:
    """Prevent an error when the interpreter closes a stdout that cannot be written to."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(program: str, message: str, code: int) -> int:
    with suppress(OSError):  # the reader of stderr has exited, or its disk is full
        print(f"{program}: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code
