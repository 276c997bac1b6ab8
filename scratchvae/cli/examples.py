"""From a config to the rows that a model sees: read, split, scaled, made black and white.

A config is a dict: the command line's options by name (`options.DEFAULTS`), and
what `describe` adds, so that other data are later treated as these were.
"""

from __future__ import annotations

import shlex
import zlib
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import columns, datasets, files, mnist
from ..data.scaling import Scaling
from ..data.tables import has_index, listed, place, unformatted
from ..data.writing import as_csv
from ..layers import Array

Config = dict[str, Any]
NAMED = {"digits": datasets.digits, "mnist": mnist.mnist, "binarized-mnist": mnist.binarized_mnist}
FACTS = ("x_dim", "image_shape", "columns", "shift", "scale", "cells", "classes", "rms", "checksum")    # by `describe`
SEEDS = {"train": 1, "test": 2, "valid": 3}            # for pixels drawn by chance: in every run the same


class Data(NamedTuple):
    """The rows of each part ("train", "test", "valid") as stored, their labels, and where they stood in their file."""

    x: dict[str, Array]
    y: dict[str, Array]                                # empty without labels
    image_shape: tuple[int, int] | None
    columns: list[str] | None
    numbers: dict[str, Array]                          # of the rows, counted from 0; empty for the built-in data sets

    @property
    def watched(self) -> str | None:
        """The part that is held out to watch the training by."""
        return next((part for part in ("valid", "test") if part in self.x), None)


def read(config: Config) -> Data:
    """Read the data that a config names; of a file, every N-th row is held out.

    If the config has no likelihood, it gets the one that such data have.
    """
    if config["data"] in NAMED:
        config["likelihood"] = config["likelihood"] or "bernoulli"
        data = NAMED[config["data"]]()
        parts = [{part: array for part in SEEDS if (array := getattr(data, f"{name}_{part}", None)) is not None}
                 for name in ("x", "y")]
        return Data(parts[0], parts[1], data.image_shape, None, {})
    found = files.load(config["data"], key=config["key"], labels=config["labels"], image_shape=config["image_shape"],
                       max_bytes=config["max_bytes"], header={"auto": None, "yes": True, "no": False}[config["header"]],
                       text=True)
    if config["likelihood"] is None:
        config["likelihood"] = ("bernoulli" if config["binarize"] != "none" or not is_table(config) else
                                "gaussian" if config["model"] == "diffusion" else "mixed")
    found = chosen(found, config["keep"], config["without"])
    columns.numbered(found.columns or [])              # no two have the same name
    x, n = found.x, len(found.x)
    if config["decimal"] and x.dtype == object:
        x = np.vectorize(unformatted, [object])(x, config["decimal"])
    if config["likelihood"] == "mixed":
        x = np.vectorize(str, [object])(x.astype(object))
    elif x.dtype == object:                            # what is left must be numbers
        x = files.numbers(config["data"], x, found.columns)
    held_out = np.arange(1, n + 1) % min(config["hold_out"] or np.inf, n + 1) == 0
    numbers = {part: np.flatnonzero(mask) for part, mask in (("train", ~held_out), ("test", held_out)) if mask.any()}
    return Data({part: x[rows] for part, rows in numbers.items()},
                {part: found.y[rows] for part, rows in numbers.items()} if found.y is not None else {},
                found.image_shape, found.columns, numbers)


def is_table(config: Config) -> bool:
    """Return whether the data are a CSV file, and not said to be pictures."""
    return config["data"] not in NAMED and config["image_shape"] is None and files.format_of(config["data"]) == "csv"


def chosen(found: files.Examples, keep: list[str] | None, without: list[str] | None) -> files.Examples:
    """Return a table with the columns that were asked for, in the order of the file."""
    if keep is None and without is None:
        return found
    n, named = found.x.shape[1], found.columns or []
    if found.image_shape is not None:
        raise ValueError("--columns and --without choose columns of a table, and the data are pictures")
    kept = range(n) if keep is None else {place("--columns", name, named, n) for name in keep}
    at = sorted(set(kept) - {place("--without", name, named, n) for name in without or ()})
    if not at:
        raise ValueError("--without leaves no column to look at")
    return found._replace(x=np.ascontiguousarray(found.x[:, at]), columns=[named[i] for i in at] if named else None)


def doubts(config: Config, x: Array) -> list[str]:
    """Raise `Unusable` for columns of a table that never vary; say which ones may be of another kind, and what to do.

    x are the rows to train on, as stored.
    """
    if config["likelihood"] not in ("gaussian", "mixed") or config["image_shape"] is not None:
        return []
    names, kinds = config["columns"] or list(map(str, range(x.shape[1]))), ["gaussian"] * x.shape[1]
    if isinstance(how := scaling_of(config), columns.Table):
        x, kinds = how.numbers(x), [column.kind for column in how.columns]
    constant, said = [], defaultdict(list)
    for name, kind, values in zip(names, kinds, x.T):
        values = values[~np.isnan(values)]
        different, step = len(np.unique(values)), np.diff(values)
        if different < 2:
            constant.append(name)
        elif kind != "gaussian" or (values != np.floor(values)).any():
            continue
        elif 0 < step.min() and step.max() <= 2:       # a row in between is held out
            said["numbers that count the rows: if they tell nothing, --without"].append(name)
        elif different > 2 and values.min() == 0 and 0.5 < values.var() / values.mean() < 2:
            said["whole numbers with a variance near their mean: if they are counts, --kinds"].append(f"{name}=poisson")
        elif different <= min(columns.FEW, len(values) / 2):
            said["few different numbers: if they are kinds, --kinds"].append(f"{name}=categorical")
    if constant:
        raise columns.Unusable([f"{column(constant)} the same value in every row to train on, where a Gaussian's "
                                "density grows without limit: leave out such columns"],
                               {"without": constant} if len(constant) < len(names) else {})
    return [f"{column([name.partition('=')[0] for name in what])} {says} {shlex.quote(as_csv([what[:10]])[:-1])}"
            + ", with --likelihood mixed" * (config["likelihood"] != "mixed") for says, what in said.items()]


def kinds(config: Config) -> list[str]:
    """Return a line for each kind of mixed columns, with their names; and one for a column that was left out."""
    how = scaling_of(config)
    if not isinstance(how, columns.Table):
        return []
    with files.opened(config["data"]) as file:
        index = is_table(config) and has_index(file)
    return [*how.says(), *(["left out: column 0, which has no name, as an index"] if index else [])]


def column(names: list[str]) -> str:
    """Begin a sentence about one column, or several."""
    return f"column {listed(names)} has" if len(names) == 1 else f"columns {listed(names)} have"


def is_source(path: Path, data: str | None) -> bool:
    """Return whether this file is the one that --data names."""
    return data is not None and data not in NAMED and path.exists() and Path(data).exists() and path.samefile(data)


def read_own(config: Config) -> Data:
    """Read the data that a run began with; raise a ValueError if they are others by now."""
    try:
        data = read(config)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; the run began with it: put it back, or a link to it") from None
    if checksum(data) != config["checksum"]:
        raise ValueError(f"{config['data']} has changed since the run began: the rows held out are no longer known")
    return data


def describe(config: Config, data: Data) -> Config:
    """Return the config with what must be known of the data: where they are, shape, scaling, a checksum."""
    if "train" not in data.x:
        raise ValueError("--hold-out 1 leaves no row to train on")
    x, named = data.x["train"], config["data"] in NAMED
    facts = {"passes": None, **config, "data": config["data"] if named else str(Path(config["data"]).resolve()),
             "image_shape": data.image_shape, "columns": data.columns, "cells": None, "classes": None}
    if config["given"] == "labels":
        if not data.y:
            raise ValueError("--given labels needs labels: --labels names the column or the file that has them")
        facts["classes"] = np.unique(data.y["train"]).astype(str).tolist()
    if not named and config["labels"] and files.format_of(config["data"]) in ("idx", "npy"):
        facts["labels"] = str(Path(config["labels"]).resolve())
    if config["likelihood"] == "mixed":
        facts.update({**asdict(Scaling()), **table(config, data)})
    else:
        how = config["scaling"]
        if how == "auto":                              # the named data sets lie in [0, 1]; a table has no pixels
            how = "none" if named else "standardise" if config["likelihood"] == "gaussian" and is_table(config) else how
        facts.update({"x_dim": x.shape[1], **asdict(Scaling.choose(x, how, pictures=data.image_shape is not None))})
    seen = scaling_of(facts).apply(x[::max(1, len(x) // 1000)])                # some 1000 rows
    return {**facts, "rms": rms(seen), "checksum": checksum(data)}


def table(config: Config, data: Data) -> Config:
    """Return the columns that a model sees, and what a table's own are: their kinds, chosen from all rows."""
    if data.image_shape is not None or config["data"] in NAMED:
        raise ValueError("--likelihood mixed is for tables, and the data are pictures")
    in_file = np.argsort(np.concatenate(list(data.numbers.values())))
    x, named = np.concatenate(list(data.x.values()))[in_file], data.columns or []
    if config["scaling"] == "unit":
        raise ValueError("--scaling must be auto, standardise or none for --likelihood mixed")
    pairs = [pair.rpartition("=") for pair in config["kinds"] or []]
    for name, _, kind in pairs:
        if kind not in columns.KINDS:
            raise ValueError(f"--kinds must be NAME=KIND,... with kinds of {', '.join(columns.KINDS)}; got {kind[:40]}")
    chosen = {place("--kinds", name, named, x.shape[1]): kind for name, _, kind in pairs}
    if len(chosen) < len(pairs):
        raise ValueError(f"--kinds must name a column once; got {','.join(config['kinds'])[:80]}")
    row = files.row_in(config["data"], data.columns)
    found = columns.choose(x, named or list(map(str, range(x.shape[1]))), chosen, config["missing"] == "leave-out", row)
    found.numbers(x, row)                              # what is wrong in any row comes out now
    if config["scaling"] != "none":
        found = columns.standardised(found, data.x["train"])
    return {"x_dim": found.x_dim, "cells": [asdict(column) for column in found.columns]}


def checksum(data: Data) -> int:
    """Return a number that tells these data from others: rows, labels, names of columns, shape of pictures."""
    code = zlib.crc32(repr((list(data.x), data.columns, data.image_shape)).encode())
    for array in (*data.x.values(), *data.y.values()):
        stored = np.ascontiguousarray(array.astype(str) if array.dtype == object else array)   # the cells of a table
        code = zlib.crc32(stored.view(np.uint8).data, code)
    return code


def rms(x: Array) -> float:
    """Return the root mean square of some 1000 rows; a missing cell is 0."""
    return float(np.sqrt(np.square(np.nan_to_num(x[::max(1, len(x) // 1000)]), dtype=float).mean()))


def in_order(config: Config, data: Data, name: str) -> Data:
    """Return data with the columns of the run's own, if both have names, in the run's order; else as they are."""
    if not data.columns or not config["columns"]:
        return data
    try:
        at = columns.places(data.columns, config["columns"])
    except ValueError as error:
        raise ValueError(f"{name}: {error}; --without NAME leaves out a column") from None
    return data._replace(x={part: x[:, at] for part, x in data.x.items()})


def compare(config: Config, data: Data, x: Array, name: str) -> str:
    """Raise a ValueError if other data, as stored, cannot be for this run; return what is doubtful, or ''."""
    n_columns = len(config["cells"]) if config.get("cells") else config["x_dim"]
    if x.shape[1] != n_columns:
        raise ValueError(f"{name} has rows of {x.shape[1]} numbers, the run's own data rows of {n_columns}")
    if data.image_shape and config["image_shape"] and list(data.image_shape) != list(config["image_shape"]):
        raise ValueError(f"{name} has pictures of shape {tuple(data.image_shape)}, the run's own data of "
                         f"{tuple(config['image_shape'])}")
    if data.columns and not config["columns"] and all(column.isdecimal() for column in data.columns):
        return f"the first line of {name} was read as names of columns: --header no reads it as numbers"
    how = scaling_of(config)
    if isinstance(how, columns.Table):
        how.numbers(x, files.row_in(name, data.columns))                       # an error names the line
    own, scaled = config["rms"], rms(how.apply(x))
    stored = np.nan if config.get("cells") else rms(x)
    if own / 10 <= scaled <= 4 * own:                  # means of x, as models draw them, may be rather small
        return ""
    found = f"{name}, scaled like the run's own data, has a root mean square of {scaled:.2g}, where they have {own:.2g}"
    if own / 4 <= stored <= 4 * own and not own / 10 <= scaled <= 10 * own:
        raise ValueError(f"{found}; as stored, they have {stored:.2g}: it is scaled already, and must not be")
    return f"{found}: is it in the same units?"


def is_grey(config: Config, x: Array) -> bool:
    """Return whether the rows that a model sees are grey, and their Bernoulli "log-likelihood" is none."""
    return config["likelihood"] == "bernoulli" and bool(((x > 0) & (x < 1)).any())


def scaling_of(config: Config) -> Scaling | columns.Table:
    """Return the scaling that `describe` chose; for mixed columns, that of each."""
    if config.get("cells") is not None:
        return columns.Table([columns.Column(**column) for column in config["cells"]], config["missing"] == "leave-out")
    return Scaling(config["shift"], config["scale"])


def prepare(config: Config, x: Array, part: str, grey: bool = False) -> Array:
    """Return stored rows as the model sees them; ``grey`` leaves out the last step, black and white."""
    x, how = scaling_of(config).apply(columns.by_name(x, config.get("columns")), config["dtype"]), config["binarize"]
    if (how != "none" or config["likelihood"] == "bernoulli") and (x.min() < 0 or x.max() > 1):
        why = "--binarize" if how != "none" else "a Bernoulli likelihood (train --likelihood gaussian takes any)"
        raise ValueError(f"once scaled, --data must lie in [0, 1] for {why}; the rows "
                         f"{'to train on' if part == 'train' else 'not trained on'} go from {x.min():g} to {x.max():g}")
    if grey or how == "none":
        return x
    return datasets.binarize(x, "threshold" if how == "threshold" else "sample", SEEDS[part])


def with_labels(config: Config, x: Array, y: Array | None) -> Array:
    """Return rows as the model sees them, with the classes of these labels beside them if it is given labels."""
    if config["classes"] is None:
        return x
    if y is None:
        raise ValueError("the model is given labels, and these data have none: --labels names them")
    return np.hstack([x, np.stack([one_hot(config, label) for label in y])]).astype(x.dtype)


def one_hot(config: Config, label: Any) -> Array:
    """Return a row with a 1 in the place of this label's class."""
    if str(label) not in config["classes"]:
        raise ValueError(f"the label must be one of the rows trained on, {listed(config['classes'])}; got {label}")
    return np.array([float(str(label) == name) for name in config["classes"]])


def for_training(config: Config, data: Data) -> tuple[Array, Array | None]:
    """Return the rows to train on, grey where each batch will be made black and white anew, and those held out."""
    x = prepare(config, data.x["train"], "train", grey=config["binarize"] == "resample-each-epoch")
    x, part = with_labels(config, x, data.y.get("train")), data.watched
    return x, None if part is None else with_labels(config, prepare(config, data.x[part], part), data.y.get(part))
