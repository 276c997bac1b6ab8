"""What a command made, as numbers or as a picture: the file's ending says which."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..data import writing
from ..data.columns import Table
from ..data.tables import is_number
from ..layers import Array
from ..train.state import History
from .examples import Config, is_source, scaling_of
from .folders import CHECKPOINTS, NAMES

DRAWN = {"curves.png", "samples.png", "samples.csv"}   # of a run, which may be drawn anew
PICTURES = (".png", ".pdf", ".svg")                    # endings; pdf and svg are for slides and print
NUMBERS = (".npz", ".csv")
ALL = (*PICTURES, *NUMBERS)


def say(text: object, stream: TextIO | None = None) -> None:
    """Print at once; what is no printable character, such as an escape code in a file's name, by its number."""
    print("".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in str(text)),
          file=stream or sys.stdout, flush=True)


def note(message: str) -> None:
    """Say something on stderr."""
    with suppress(OSError):                            # nobody listens
        say(f"scratchvae: {message}", sys.stderr)


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def check_path(path: Path, endings: Sequence[str], config: Config, data: str | None = None, out: str = "--out") -> None:
    """Raise a ValueError if this cannot be written, or must not be, before any work is done for it.

    The run's own data and the other ``data`` are not to be lost, nor what a run lives on.
    """
    if path.suffix not in endings:
        raise ValueError(f"{out} must end in {' or '.join(endings)}; got {str(path)!r}")
    if not path.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {str(path.parent)!r}")
    for source in (config["data"], data):
        if is_source(path, source):
            raise ValueError(f"{out} would replace the data that are read: {source}")
    if path.name in set(NAMES) - DRAWN and any((path.parent / kept).exists() for kept in CHECKPOINTS):
        raise ValueError(f"{out} would replace a part of a run: {path}")
    if path.suffix in PICTURES and config["image_shape"] is None:
        raise ValueError(f"{out} cannot be a picture, as the run's data are not pictures: use .npz or .csv")


def write(path: Path, config: Config, arrays: dict[str, Array], columns: int, what: str, labels: Sequence[str] = (),
          stored: Mapping[str, Array] = {}, drawn: bool = False) -> None:
    """Write rows in the model's scale as a picture, or, in the units of the data, as numbers; say what was written.

    Arrays in ``stored`` are in these units already, with the digits that they have in
    their file; as numbers they are written in place of those of the same name.
    """
    if path.suffix in PICTURES:
        write_picture(path, config, arrays, columns, labels)
    else:
        numbers = {name: scaling_of(config).invert(rows, drawn) for name, rows in arrays.items()}
        write_numbers(path, {**numbers, **stored}, config["columns"])
    say(f"wrote {path}: {what}")


def write_numbers(path: Path, arrays: dict[str, Array], names: Sequence[str] | None = None) -> None:
    """Write arrays of equal length by name (.npz), or side by side with a line for each row (.csv).

    In a CSV file the columns of x have these names, and those of another array the
    same after its own; without names, all have numbers.
    """
    if path.suffix == ".npz":
        archive, content = io.BytesIO(), dict[str, Any](arrays)
        content.update({name: array.astype(str) for name, array in arrays.items() if array.dtype == object})
        np.savez(archive, **content)
        return writing.write(path, archive.getvalue())
    head: list[str] = []
    for name, array in arrays.items():
        columns = names or range(1, array.shape[-1] + 1)
        head += [name] if array.ndim == 1 else names if names and name == "x" else [f"{name}_{i}" for i in columns]
    cells = (map(str, column) for array in arrays.values() for column in array.reshape(len(array), -1).T)
    writing.write(path, writing.as_csv(map(harmless, line) for line in [head, *zip(*cells)]).encode())


def harmless(cell: str) -> str:
    """Return a cell of a CSV file, with a ' before what a spreadsheet would take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") and not is_number(cell) else cell


def write_picture(path: Path, config: Config, arrays: dict[str, Array], columns: int,
                  labels: Sequence[str] = ()) -> None:
    """Draw arrays of images below each other, this many on a line; labels stand below the columns."""
    from ..train import plotting  # matplotlib takes its time, and not everyone has it

    n, x_dim = len(next(iter(arrays.values()))), config["x_dim"]
    filled = np.full((len(arrays), -(-n // columns) * columns, x_dim), np.nan)
    filled[:, :n] = list(arrays.values())
    if config["likelihood"] != "bernoulli":            # not ink but light, and of any range
        low, high = np.nanpercentile(filled, (0.5, 99.5))
        filled = (high - filled) / max(high - low, np.finfo(float).tiny)
    lines = filled.reshape(len(arrays), -1, columns, x_dim).swapaxes(0, 1).reshape(-1, columns, x_dim)
    height, width = config["image_shape"]
    names = list(arrays) * (len(lines) // len(arrays)) if len(arrays) > 1 else []
    page = plotting.figure(0.6 * columns + 1, 0.6 * len(lines) * min(height / width, 4) + 0.3)
    plotting.images(page.subplots(), lines, (height, width), row_labels=names, column_labels=labels)
    save_page(path, page)


def write_table(path: Path, config: Config, real: Array, drawn: Array) -> None:
    """Draw how the columns of a table, and pairs of them, are distributed, and those of what was sampled."""
    from ..train import plotting

    how, page = scaling_of(config), plotting.figure(10, 5)
    cells = [how.invert(rows, drawn=True) for rows in (real, drawn)]
    numbers = [how.numbers(rows) if isinstance(how, Table) else rows for rows in cells]
    plotting.table(page, numbers[0], numbers[1], config["columns"] or list(map(str, range(numbers[0].shape[1]))))
    save_page(path, page)


def write_curves(path: Path, history: History, warm_up: int = 0) -> None:
    """Draw how the bound and its parts went; the epochs in which beta rose are shaded."""
    from ..train import plotting

    page = plotting.figure(9, 3.5)
    bound, levels = page.subplots(1, 2)
    plotting.curves(bound, history, ["elbo", "reconstruction"], "the bound and its reconstruction part", warm_up)
    plotting.curves(levels, history, [name for name in history if name.startswith(("consistency", "prior_matching"))],
                    "KL of each level", warm_up)
    save_page(path, page)


def save_page(path: Path, page: Any) -> None:
    """Write a figure in the format that the path ends in."""
    picture = io.BytesIO()
    page.savefig(picture, format=path.suffix[1:])
    writing.write(path, picture.getvalue())
