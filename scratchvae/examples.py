"""From a config to the rows that a model sees: read, split, scaled, made black and white.

A config is a dict: the command line's options by name (`options.DEFAULTS`), and
what `describe` adds, so that other data are later treated as these were.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import datasets, files
from .layers import Array
from .scaling import Scaling

Config = dict[str, Any]
NAMED = {"digits": datasets.digits, "mnist": datasets.mnist, "binarized-mnist": datasets.binarized_mnist}
SEEDS = {"train": 1, "test": 2, "valid": 3}            # for pixels drawn by chance: in every run the same


class Data(NamedTuple):
    """The rows of each part ("train", "test", "valid") as stored, and their labels where there are any."""

    x: dict[str, Array]
    y: dict[str, Array]
    image_shape: tuple[int, int] | None


def read(config: Config) -> Data:
    """Read the data that a config names; of a file, every so many-th row is held out."""
    if config["data"] in NAMED:
        data = NAMED[config["data"]]()
        x = {"train": data.x_train, "test": data.x_test, "valid": data.x_valid}
        y = {"train": data.y_train, "test": data.y_test}
        return Data({part: rows for part, rows in x.items() if rows is not None},
                    {part: labels for part, labels in y.items() if labels is not None}, data.image_shape)
    labels = config["labels"]
    found = files.load(config["data"], key=config["key"], image_shape=config["image_shape"],
                       labels=int(labels) if labels and labels.lstrip("-").isdecimal() else labels)
    every = config["hold_out"] or len(found.x) + 1     # 0: none
    held_out = np.arange(1, len(found.x) + 1) % every == 0
    parts = {name: mask for name, mask in (("train", ~held_out), ("test", held_out)) if mask.any()}
    return Data({name: found.x[mask] for name, mask in parts.items()},
                {name: found.y[mask] for name, mask in parts.items()} if found.y is not None else {},
                found.image_shape)


def describe(config: Config, data: Data) -> Config:
    """Return the config with what must be known of the data: where they are, shape, scaling, a checksum."""
    if "train" not in data.x:
        raise ValueError("--hold-out 1 leaves no row to train on")
    x, named = data.x["train"], config["data"] in NAMED
    how = "none" if named and config["scaling"] == "auto" else config["scaling"]      # they lie in [0, 1]
    scaling = Scaling.choose(x, how, pictures=data.image_shape is not None)
    return {**config, "data": config["data"] if named else str(Path(config["data"]).resolve()),
            "x_dim": x.shape[1], "image_shape": data.image_shape, **asdict(scaling), "crc32": checksum(data)}


def checksum(data: Data) -> int:
    """Return a number that tells the rows to train on from others."""
    return zlib.crc32(np.ascontiguousarray(data.x["train"]).data)


def scaling_of(config: Config) -> Scaling:
    """Return the scaling that `describe` chose."""
    return Scaling(config["shift"], config["scale"])


def prepare(config: Config, x: Array, part: str, grey: bool = False) -> Array:
    """Return stored rows as the model sees them; ``grey`` leaves out the last step, black and white."""
    x, how = scaling_of(config).apply(x, config["dtype"]), config["binarize"]
    if how == "none":
        return x
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"--binarize needs data that lie in [0, 1] once they are scaled; "
                         f"these go from {x.min():g} to {x.max():g}")
    return x if grey else datasets.binarize(x, "threshold" if how == "threshold" else "sample", SEEDS[part])


def for_training(config: Config, data: Data) -> tuple[Array, Array | None]:
    """Return the rows to train on, grey where each batch will be made black and white anew, and those held out."""
    x = prepare(config, data.x["train"], "train", grey=config["binarize"] == "resample-each-epoch")
    held_out = next((part for part in ("valid", "test") if part in data.x), None)
    return x, None if held_out is None else prepare(config, data.x[held_out], held_out)
