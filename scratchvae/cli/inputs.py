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


def new_config(given: Config) -> tuple[Config, Data]:
    """Return all that a model and its training depend on, from the options that were given; and the data."""
    config = {**options.DEFAULTS, **given}
    about_files(given, config["data"])
    model, is_diffusion = config["model"], config["model"] == "diffusion"
    for name in (("latents", "consistency", "free_bits", "objective", "importance", "estimator") if is_diffusion else
                 ("levels", "log_noise")):
        if name in given:
            raise ValueError(f"{options.word(name)} is not for --model {model}")
    if is_diffusion:
        config.update({"hidden": [256, 256], "activation": "leaky_relu", **given})
    elif config["latents"] is None:
        config["latents"] = [16] if model == "vae" else [16, 8, 4]
    mixed, low_high = config["likelihood"] == "mixed", config["log_noise"]
    for wrong, says in (
            (len(low_high) != 2 or low_high[0] >= low_high[-1],
             f"--log-noise must be two numbers that rise, such as -3,8; got {low_high}"),
            (config["prior"] != "normal" and model != "vae", f"--prior diffusion is of --model vae, not of {model}"),
            (mixed and is_diffusion, "--likelihood mixed is not for a diffusion"),
            (mixed and config["binarize"] != "none", "--likelihood mixed is not for --binarize"),
            ("consistency" in given and model == "topdown",
             "--consistency is of --model hvae; the third part of a topdown has one form, exact and a KL"),
            ("consistency" in given and len(config["latents"]) == 1,
             "--consistency is between levels, and there is one; --model hvae may have several"),
            (config["likelihood"] and not mixed and "kinds" in given, "--kinds is of --likelihood mixed"),
            (config["likelihood"] and not mixed and "missing" in given, "--missing is of --likelihood mixed")):
        if wrong:
            raise ValueError(says)
    data = examples.read(config)
    return examples.describe(config, data), data


def about_files(given: Config, data: str | None) -> None:
    """Raise a ValueError if there is an option that says how to read a file, but no file."""
    for name in FOR_FILES:
        if name in given and (data is None or data in examples.NAMED):
            raise ValueError(f"{options.word(name)} only applies to files; " + (
                "without --data the run's own data are read" if data is None else f"{data} is a built-in data set"))


def opened(folder: Path, best: bool = False) -> tuple[Run, int]:
    """Read a run, to use its model at the best epoch if that was kept; return which epoch; say what was damaged."""
    run, problem = folders.open_run(folder)
    epoch, another = run.take_best() if best else (run.state.epoch, None)
    for error in (problem, another):
        if error is not None:
            note(f"{one_line(error)}; the checkpoint before it is whole, and taken instead")
    return run, epoch


class Shown(NamedTuple):
    """The rows to look at, as the model sees them and as stored; their labels, names and numbers."""

    x: Array
    stored: Array
    y: Array | None
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
    return Shown(x, stored, data.y.get(part), name, data.numbers.get(part, np.arange(len(x))))
