"""The program: the command line, and all that only it needs.

Here live the sub-commands and their options, the reading of files that nobody
has checked (IDX, npy, npz, csv), MNIST and its download, the scaling of a user's
numbers, a run's folder, and what is written for a user.  None of the math is
here, and nothing outside this folder imports from it.

How a row of data walks through it::

    a file --> files ----> examples ----> training.fit --> runs --> output --> a picture
               tables      split into     (the library)    the      in the     or numbers
               mnist       parts, scaled                   folder   units of
               download    (scaling), black                on disk  the file
                           and white

`options` says what may be asked for, `commands` does it, one function for each
sub-command; `main` is where the program begins.  A Python program that uses a run
begins with ``cli.load(folder)``.
"""

from .commands import main
from .runs import load

__all__ = ["load", "main"]
