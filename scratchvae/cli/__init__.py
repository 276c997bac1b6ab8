"""The program: the command line, and all that only it needs.

None of the math is here, and nothing outside this folder imports from it.  README.md
beside this file shows what lives here, and how a row of data walks through it.
`options` says what may be asked for, `commands` does it, one function for each
sub-command; `main` is where the program begins.  A Python program that uses a run
begins with ``cli.load(folder)``.
"""

from .commands import main
from .runs import load

__all__ = ["load", "main"]
