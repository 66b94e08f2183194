"""How things that go wrong reach a user: one line, an exit code, no traceback.

Exit codes: 0 done, 1 incomplete, 2 bad input, 130 interrupted. A user's mistake is a `ValueError`
anywhere in the library; only the command lines turn it into a line.
"""

import os
import sys
from collections.abc import Callable

DONE, INCOMPLETE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


class FormatError(ValueError):
    """A file that is not a valid trace or profile; the message names file, row or field, value and
    bound.
    """


def run_command(program: str, command: Callable[[], object]) -> int:
    """Run a command line's body and return the exit code, errors as one line on stderr."""
    try:
        code = _called(command)
        sys.stdout.flush()
        if code == INTERRUPTED:  # the command-line library turns the interrupt into this code
            raise KeyboardInterrupt
        return code if isinstance(code, int) else DONE
    except KeyboardInterrupt:
        return _complain(program, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        _leave_stdout()  # whoever read our output has gone
        return INCOMPLETE
    except OSError as error:
        _leave_stdout()
        file = f"{error.filename}: " if error.filename else ""
        return _complain(program, f"{file}{error.strerror or error}", BAD_INPUT)
    except MemoryError:
        return _complain(program, "out of memory", INCOMPLETE)
    except ValueError as error:
        return _complain(program, str(error), BAD_INPUT)
    except Exception as error:
        usage = getattr(error, "format_message", None)  # the command-line library's own complaints
        if usage is None:
            raise
        return _complain(program, usage(), BAD_INPUT)


def _called(command: Callable[[], object]) -> object:
    try:
        return command()
    except Exception as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # its message is the whole help page
            raise
        print(error.format_message())  # type: ignore[attr-defined]
        return DONE


def _leave_stdout() -> None:
    """Keep the interpreter from complaining, when it closes stdout, of what cannot be written
    there.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(program: str, message: str, code: int) -> int:
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return code
