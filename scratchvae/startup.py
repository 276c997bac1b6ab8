"""Sets the number of BLAS threads for the command line; no effect when the library is imported.

It stands here because the number can only be set before NumPy is loaded, and this folder loads it.

OpenBLAS, which multiplies NumPy's matrices, reads once, when it is loaded, how many
threads it shall use, and without an answer takes one for each core.  Its threads
wait for each other by running in circles.  On two cores that had other work to do,
an epoch of Fashion-MNIST took 3.9 seconds with one thread and 85.6 with two; on two
that had none, ten epochs of MNIST took 41 seconds with one and 37 with two.  So the
command takes one, unless OPENBLAS_NUM_THREADS or OMP_NUM_THREADS says otherwise.

Ctrl-C while the imports are under way would print a page of Python.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")    # the first that is set is obeyed


def is_command(argv: Sequence[str], orig_argv: Sequence[str]) -> bool:
    """Return whether this process is ``scratchvae`` or ``python -m scratchvae``, from its words and Python's."""
    if argv[:1] == ["-m"]:                             # Python says so while it looks for the module
        return "-mscratchvae" in orig_argv or ("-m", "scratchvae") in zip(orig_argv, orig_argv[1:])
    name = os.path.basename(argv[0]) if argv else ""
    return name.removesuffix(".exe").removesuffix("-script.py") == "scratchvae"


COMMAND = is_command(sys.argv, sys.orig_argv)


def threads() -> int:
    """Return how many threads a matrix product may use: the last bits of a sum depend on it."""
    for name in VARIABLES:
        if os.environ.get(name, "").isdecimal() and int(os.environ[name]) > 0:
            return int(os.environ[name])
    return os.cpu_count() or 1


def leave(number: int, frame: Any) -> None:
    """End the process at Ctrl-C, in one line."""
    os.write(2, b"scratchvae: interrupted\n")
    os._exit(130)


def listen() -> None:
    """From here on Ctrl-C is an exception, for the command to catch."""
    if COMMAND:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end() -> None:
    """From here on there is nothing left that Ctrl-C could spare."""
    if COMMAND:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if COMMAND:
    if not any(os.environ.get(name) for name in VARIABLES):
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, leave)
