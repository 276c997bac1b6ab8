"""What a command is asked for: its options become a config and its data, a run, the rows to look at."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..layers import Array
from . import examples, folders, options
from .examples import Config, Data
from .output import note, one_line
from .runs import Run


FOR_FILES = ("key", "labels", "header", "image_shape", "hold_out", "max_bytes", "keep", "without", "decimal")
ONLY_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("levels", "log_noise"), ("model", ("diffusion",))),
    **dict.fromkeys(("latents", "free_bits", "objective", "importance", "estimator"),
                    ("model", ("vae", "hvae", "topdown"))),
    **dict.fromkeys(("kinds", "missing"), ("likelihood", ("mixed",))),
    "consistency": ("model", ("hvae",)), "prior": ("model", ("vae",))}


def new_config(given: Config) -> tuple[Config, Data]:
    """Return all that a model and its training depend on, from the options that were given; and the data."""
    config = {**options.DEFAULTS, **given}
    about_files(given, config["data"])
    if config["model"] == "diffusion":
        config.update({"hidden": [256, 256], "activation": "leaky_relu", **given})
    elif config["latents"] is None:
        config["latents"] = [16] if config["model"] == "vae" else [16, 8, 4]
    if len(config["log_noise"]) != 2 or config["log_noise"][0] >= config["log_noise"][1]:
        raise ValueError(f"--log-noise must be two numbers that rise, such as -3,8; got {config['log_noise']}")
    if config["likelihood"] == "mixed" and (config["model"] == "diffusion" or config["binarize"] != "none"):
        raise ValueError("--likelihood mixed cannot be combined with --model diffusion or --binarize")
    data = examples.read(config)
    for name in given:                                 # by now there is a likelihood
        choice, values = ONLY_WITH.get(name, ("data", ()))
        if values and config[choice] not in values:
            raise ValueError(f"{options.word(name)} is only for --{choice} {', '.join(values)}; got {config[choice]}")
    return examples.describe(config, data), data


def about_files(given: Config, data: str | None) -> None:
    """Raise a ValueError if there is an option that says how to read a file, but no file."""
    for name in FOR_FILES:
        if name in given and (data is None or data in examples.NAMED):
            raise ValueError(f"{options.word(name)} only applies to files; " + (
                "without --data the run's own data are read" if data is None else f"{data} is a built-in data set"))


def opened(folder: Path, best: bool = False) -> tuple[Run, int]:
    """Read a run, to use its model at the best epoch if that was kept; return which epoch; say what is damaged."""
    run, problem = folders.open_run(folder)
    epoch, another = run.take_best() if best else (run.state.epoch, None)
    for error in filter(None, (problem, another)):
        note(f"{one_line(error)}; " + ("the checkpoint before it is whole, and taken instead" if error is problem
                                       or any(folder.glob("best*.npz")) else "the last epoch is taken instead"))
    return run, epoch


class Shown(NamedTuple):
    """The rows to look at, as the model sees them and as stored; their labels, if there are any; their name."""

    x: Array
    stored: Array
    labels: dict[str, Array]
    name: str
    numbers: Array                                     # of the rows, counted from 0, in their file or their part


def shown(run: Run, args: argparse.Namespace, given: Config) -> Shown:
    """Return the rows that the options name, of the run's own data or of others."""
    config, part = run.config, args.split or "test"
    about_files(given, args.data)
    if "data" in given:
        config = {**config, "key": None, "labels": None, "image_shape": None, **given}
        if config["data"] not in examples.NAMED:
            if args.split:
                raise ValueError(f"--split only applies to the run's own data; all rows of {config['data']} are used")
            config["hold_out"] = 1                     # all of the file is new to the model
        data, name = examples.in_order(run.config, examples.read(config), config["data"]), config["data"]
    else:
        data = examples.read_own(config)
        chose = "; these rows also chose the epoch" if config["patience"] and part == data.watched else ""
        name = f"{config['data']}, {'trained on' if part == 'train' else 'held out'} ({part}{chose})"
    if part not in data.x:
        raise ValueError(f"{config['data']} has no part {part!r}: choose with --split from {', '.join(data.x)}")
    stored = data.x[part]
    doubt = examples.compare(run.config, data, stored, name) if "data" in given else ""
    x = examples.with_labels(run.config, examples.prepare(run.config, stored, part), data.y.get(part))
    x = run.model.check_x(x)
    if doubt:
        note(doubt)
    labels = {"label": data.y[part]} if part in data.y else {}
    return Shown(x, stored, labels, name, data.numbers.get(part, np.arange(len(x))))
