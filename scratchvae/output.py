"""What a command made, as numbers or as a picture: the file's ending says which."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import files
from .examples import Config
from .layers import Array
from .training import History


def check_path(path: Path, endings: Sequence[str], config: Config) -> None:
    """Raise a ValueError if this cannot be written, before any work is done for it."""
    if path.suffix not in endings:
        raise ValueError(f"--out must end in {' or '.join(endings)}; got {str(path)!r}")
    if not path.parent.is_dir():
        raise ValueError(f"--out: there is no folder {str(path.parent)!r}")
    if path.suffix == ".png" and config["image_shape"] is None:
        raise ValueError("--out cannot be a picture, as the run's data are none: use .npz or .csv")


def write_numbers(path: Path, arrays: dict[str, Array]) -> None:
    """Write arrays of equal length by name (.npz), or side by side with a line for each row (.csv)."""
    if path.suffix == ".npz":
        archive, content = io.BytesIO(), dict[str, Any](arrays)
        np.savez(archive, **content)
        return files.write(path, archive.getvalue())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = {f"{name}_{i}" if array.ndim > 1 else name: column for name, array in arrays.items()
               for i, column in enumerate(array.reshape(len(array), -1).T, start=1)}
    writer.writerow(columns)
    writer.writerows(zip(*([format(v, ".9g") for v in column] if column.dtype == np.float32 else column.tolist()
                           for column in columns.values())))
    files.write(path, text.getvalue().encode())


def write_picture(path: Path, config: Config, arrays: dict[str, Array], columns: int) -> None:
    """Draw arrays of images below each other, broken into lines of so many."""
    from . import plotting                             # matplotlib takes its time, and not everyone has it

    n, x_dim = len(next(iter(arrays.values()))), config["x_dim"]
    filled = np.full((len(arrays), -(-n // columns) * columns, x_dim), np.nan)
    filled[:, :n] = list(arrays.values())
    if config["likelihood"] != "bernoulli":            # not ink but light, and of any range
        low, high = np.nanpercentile(filled, (0.5, 99.5))
        filled = (high - filled) / max(high - low, np.finfo(float).tiny)
    lines = filled.reshape(len(arrays), -1, columns, x_dim).swapaxes(0, 1).reshape(-1, columns, x_dim)
    height, width = config["image_shape"]
    labels = list(arrays) * (len(lines) // len(arrays)) if len(arrays) > 1 else []
    page = plotting.figure(0.6 * columns + 1, 0.6 * len(lines) * height / width + 0.3)
    plotting.images(page.subplots(), lines, (height, width), row_labels=labels)
    save_page(path, page)


def write_curves(path: Path, history: History) -> None:
    """Draw how the bound and its parts went."""
    from . import plotting

    page = plotting.figure(9, 3.5)
    bound, levels = page.subplots(1, 2)
    plotting.curves(bound, history, ["elbo", "reconstruction"], "the bound and its reconstruction part")
    plotting.curves(levels, history, [name for name in history if name.startswith(("consistency", "prior_matching"))],
                    "KL of each level")
    save_page(path, page)


def save_page(path: Path, page: Any) -> None:
    """Write a figure as PNG."""
    picture = io.BytesIO()
    page.savefig(picture, format="png")
    files.write(path, picture.getvalue())
