"""The progress line of a long run, and a Ctrl-C that waits for a safe moment."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TextIO

from .. import check


class Progress(AbstractContextManager[Any]):
    """Written anew on a terminal, a line of its own for each update elsewhere.

    Parameters
    ----------
    unit : str
        What is counted, such as ``"epoch"``.
    total : int
        How many of it there will be.
    progress : bool or text stream, optional
        Where to write: True is stderr, None is stderr if that is a terminal, False is nowhere.
    done : int, default 0
        How many there are already.
    """

    def __init__(self, unit: str, total: int, progress: bool | TextIO | None, done: int = 0) -> None:
        if progress is None or isinstance(progress, bool):
            wanted = progress or (progress is None and sys.stderr and sys.stderr.isatty())
            progress = sys.stderr if wanted else None
        self.stream = check.stream("progress", progress)
        self.unit, self.total, self.done, self.start, self.width = unit, total, done, time.perf_counter(), 0

    def update(self, done: int, text: str = "") -> None:
        """Show how many are done, and how long the rest will take."""
        if self.stream is None:
            return
        seconds = (time.perf_counter() - self.start) / max(1, done - self.done) * (self.total - done)
        minutes, seconds = divmod(round(seconds), 60)
        line = f"{self.unit} {done}/{self.total}  {minutes}:{seconds:02} left{'  ' if text else ''}{text}"
        if self.stream.isatty():
            import shutil                              # takes 2 ms, for what a terminal alone needs
            width = shutil.get_terminal_size().columns - 1             # a line that wraps cannot be written anew
            while len(line) > width and "  " in line:                  # what comes last matters least
                line = line.rpartition("  ")[0]
            line = line[:width]
            line, self.width = "\r" + line.ljust(self.width), len(line)
        else:
            line += "\n"
        self.stream.write(line)
        self.stream.flush()

    def __exit__(self, *_: Any) -> None:
        if self.width:                                 # leave the terminal's last line whole
            self.stream.write("\n")
            self.stream.flush()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C that came through between two steps: model, optimiser and state fit together."""


@contextmanager
def held_back() -> Iterator[list[int]]:
    """Note Ctrl-C in the list that is returned, for a loop to raise `Interrupted` where it can stop.

    A second Ctrl-C is not held back.  Nothing changes outside the main thread, or
    where the program has a handler of its own.
    """
    pressed: list[int] = []

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    ours = threading.current_thread() is threading.main_thread() \
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if ours:
            signal.signal(signal.SIGINT, note)
        yield pressed
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:                                        # it came after the last step
        raise Interrupted
