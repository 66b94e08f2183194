"""The command `lapsd`, also as `python -m lapsd`.

It handles signals before it imports any other module of lapsd, so that an interrupt in the first
second, while libraries load, also ends in one line.
"""

import gc
import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the current folder, whose files must not take the place of libraries

INTERRUPTED = 128  # plus the number of the signal: the exit code


def exit_at_once(number: int = 2) -> None:
    """End the process with one line, as the signal `number` demands."""
    shown = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides the cursor
    try:
        os.write(2, shown + b"lapsd: interrupted\n")
    finally:
        os._exit(INTERRUPTED + number)


try:
    import signal
    from importlib import import_module
    from time import monotonic
    from types import FrameType
except KeyboardInterrupt:
    exit_at_once()

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
SAME_S = 1.0  # one key press may send several signals
# Libraries create many objects that stay. Looking for garbage among them, at Python's own threshold
# (700) and at the end of the process, took a fifth of the CPU time of `lapsd compare`.
MORE_OBJECTS = 10_000


class Stop:
    """Handles the signals that stop the program: Ctrl-C, termination and hang-up.

    The first signal raises `KeyboardInterrupt`, so that the command can finish what it must. The
    process exits at once if this exception could get lost or change into another one, because a
    module is being imported; and at a second signal, more than `SAME_S` seconds after the first.
    A signal that the process ignores from the start, as under `nohup`, stays ignored.

    Attributes
    ----------
    number : int
        The number of the latest signal; 0: none was received.
    """

    def __init__(self) -> None:
        self.number, self._since = 0, 0.0
        for name in SIGNALS:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)
        sys.unraisablehook = self._receive_unraisable

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.number and monotonic() - self._since < SAME_S:
            return
        is_first, self.number, self._since = not self.number, number, monotonic()
        if is_first and not _is_importing(frame):
            raise KeyboardInterrupt
        exit_at_once(number)

    def _receive_unraisable(self, error: "sys.UnraisableHookArgs") -> None:
        """End the process if the interrupt was raised where Python drops exceptions."""
        if issubclass(error.exc_type, KeyboardInterrupt):
            exit_at_once(self.number)
        sys.__unraisablehook__(error)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def main() -> None:
    """Run the command and exit with its code."""
    gc.set_threshold(MORE_OBJECTS)
    try:
        stop = Stop()
        code = import_module("lapsd.cli").run()
        if stop.number:  # no clean-up is left that a further signal could disturb
            os._exit(INTERRUPTED + stop.number if code == INTERRUPTED + signal.SIGINT else code)
    except KeyboardInterrupt:
        exit_at_once()
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
