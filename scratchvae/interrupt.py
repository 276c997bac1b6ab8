"""Ctrl-C, held back until a step is complete."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
