"""One line that says how far a long run has come."""

from __future__ import annotations

import shutil
import time
from typing import Any, TextIO


class Progress:
    """Written anew on a terminal, a line of its own for each update elsewhere.

    Parameters
    ----------
    unit : str
        What is counted, such as ``"epoch"``.
    total : int
        How many of it there will be.
    stream : text stream, optional
        Where to write; nowhere without it.
    done : int, default 0
        How many there are already.
    """

    def __init__(self, unit: str, total: int, stream: TextIO | None, done: int = 0) -> None:
        self.unit, self.total, self.stream, self.done = unit, total, stream, done
        self.start, self.width = time.perf_counter(), 0
        self.terminal = stream is not None and stream.isatty()

    def update(self, done: int, text: str = "") -> None:
        """Say that so many are done, and in how many minutes and seconds the rest will be."""
        if self.stream is None:
            return
        seconds = (time.perf_counter() - self.start) / max(1, done - self.done) * (self.total - done)
        minutes, seconds = divmod(round(seconds), 60)
        line = f"{self.unit} {done}/{self.total}  {text}{'  ' if text else ''}{minutes}:{seconds:02} left"
        if self.terminal:
            line = line[:shutil.get_terminal_size().columns - 1]       # a line that wraps cannot be written anew
            line, self.width = "\r" + line.ljust(self.width), len(line)
        else:
            line += "\n"
        self.stream.write(line)
        self.stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: Any) -> None:
        if self.stream is not None and self.width:                     # leave the terminal's last line whole
            self.stream.write("\n")
            self.stream.flush()
