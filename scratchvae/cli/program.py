"""Train a VAE, or a hierarchical one, on your own data; see how good it is; draw from it.

A first walk, some ten seconds in all:

  scratchvae train --data digits --binarize resample-each-epoch --out runs/digits
  scratchvae evaluate runs/digits
  scratchvae sample runs/digits --out digits.png

A run is a folder.  Kill it when you like: `scratchvae train --resume runs/digits`
goes on, to the same bits.  `scratchvae COMMAND --help` has more examples.

It works on one core.  `train` and `evaluate` use more with --workers auto.  (Matrices are
multiplied by one thread, as a second one can slow down a busy machine a lot;
OPENBLAS_NUM_THREADS sets another number, but not for workers.)

The exit code is 0 if all went well; 2 if not, after one line on stderr that says
why; 130 after Ctrl-C, 141 if nobody reads the output to its end; 1 if gradcheck or
explain finds a wrong gradient.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence

import numpy as np

from .. import startup
from ..data.columns import Unusable
from . import options
from .commands import COMMANDS
from .output import note, one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    startup.listen()
    try:
        return perform(argv)
    except KeyboardInterrupt:
        startup.end()
        note("interrupted")
        return 130
    finally:
        startup.end()


def perform(argv: Sequence[str] | None) -> int:
    """Do what the words say; turn what goes wrong into one line."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:                             # closed by the shell
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")                      # rather than fail at a column's name
    argv = sys.argv[1:] if argv is None else argv
    try:
        manual = {name: command.__doc__ or "." for name, command in COMMANDS.items()}          # -OO has none
        args = options.parser(__doc__ or "", manual).parse_args(argv)
        given = {name: getattr(args, name) for name in options.DEFAULTS if getattr(args, name, None) is not None}
        with np.errstate(all="ignore"), warnings.catch_warnings():              # what matters comes as an exception
            warnings.simplefilter("ignore")
            code = COMMANDS[args.command](args, given)
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:                            # as in `scratchvae evaluate DIR | head -1`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Unusable as error:
        works = f"; this works: {options.mended(argv, args, error.fix)}" if error.fix else ""
        lines = f"{error}{works}".splitlines()
        for line in lines if len(lines) <= 20 else [*lines[:18], f"... ({len(lines)} columns in all)", lines[-1]]:
            note(line)
    except (ValueError, OSError, ArithmeticError, MemoryError, ImportError) as error:
        note(one_line(error))
    try:
        sys.stdout.flush()
    except OSError:                                    # a full disk, a closed pipe: Python would complain once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 2
