"""Write a file whole or not at all; make a folder; cells as CSV."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any


def write(path: str | os.PathLike[str], data: bytes, keep: Path | None = None) -> None:
    """Write a file whole or not at all: under another name, which then replaces the old file.

    Parameters
    ----------
    path : path
    data : bytes
    keep : Path, optional
        Another name for the old file, if there is one; by default it is given up.

    Raises
    ------
    OSError
        If it cannot be written; what stood there before still does.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} cannot be written: {os.strerror(errno.EISDIR)}")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())                          # on the disk, and no longer in its cache
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(part, path)
        if os.name == "posix":                               # the folder too, where the names are
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise type(error)(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):                              # it is not there; or the disk is read-only
            part.unlink()


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is in, unless they are there; of any depth."""
    try:
        for folder in (*reversed(path.parents), path):
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
    except FileExistsError:
        raise FileExistsError(f"{str(path)!r} cannot be made: {str(folder)!r} is a file, or a link to "
                              "nothing") from None
    except OSError as error:
        raise type(error)(f"{str(path)!r} cannot be made: {error.strerror}") from error


def as_csv(lines: Iterable[Iterable[Any]]) -> str:
    """Return lines of cells as the text of a CSV file."""
    import csv
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
