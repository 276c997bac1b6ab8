"""The program: the command line, and all that only it needs.

None of the math is here, and nothing outside this folder imports from it.  README.md
beside this file shows what lives here, and how a row of data walks through it.
`options` says what may be asked for, `commands` does it, one function for each
sub-command; `program` is where it begins.  A Python program that uses a run begins
with ``cli.load(folder)``.
"""

from .folders import load
from .program import main

__all__ = ["load", "main"]
