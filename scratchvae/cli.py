"""The command line: train, evaluate, sample, reconstruct, interpolate, encode, gradcheck.

The exit code is 0 if all went well; 2 if not, after one line on stderr that says
why; 130 after Ctrl-C.  A gradient that gradcheck finds wrong makes it 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import check, examples, options, output, runs
from .evaluation import evaluate
from .examples import Config, Data
from .gradcheck import check_model
from .hvae import HVAE
from .interrupt import Interrupted
from .layers import Array
from .runs import Run


def train(args: argparse.Namespace, given: Config) -> int:
    """Begin a run, or go on with one, and train it to its last epoch."""
    run, x, x_valid = begin(args, given) if args.resume is None else go_on(args, given)
    config = run.config
    print(f"{config['data']}: {len(x)} rows of {config['x_dim']} to train on, "
          f"{0 if x_valid is None else len(x_valid)} held out; {examples.scaling_of(config)}")
    if config["likelihood"] == "bernoulli" and config["binarize"] == "none" and ((x > 0) & (x < 1)).any():
        print("grey values under a Bernoulli likelihood: nats that compare with no others; see --binarize")
    print(f"{config['model']}: {run.model.theta.size} parameters, {config['epochs'] - run.state.epoch} epochs to go",
          flush=True)
    try:
        run.train(x, x_valid, progress=sys.stdout)
    except Interrupted:
        print(f"stopped in epoch {run.state.epoch + 1} and saved; scratchvae train --resume {run.folder} goes on")
        return 130
    finish(run)
    return 0


def begin(args: argparse.Namespace, given: Config) -> tuple[Run, Array, Array | None]:
    """Return a new run, the rows to train it on, and those held out."""
    config, data = new_config(given)
    x, x_valid = examples.for_training(config, data)
    return runs.create(args.out, config, x, args.overwrite), x, x_valid


def go_on(args: argparse.Namespace, given: Config) -> tuple[Run, Array, Array | None]:
    """Return a run where it stands, the rows to train it on, and those held out."""
    for name in given.keys() - {"epochs", "checkpoint_every"}:
        raise ValueError(f"--resume goes on with the run's own options: leave out --{name.replace('_', '-')}")
    if args.overwrite:
        raise ValueError("--resume goes on with a run: leave out --overwrite, which replaces it")
    run = opened(args.resume)
    run.config.update(given)
    if run.config["epochs"] < run.state.epoch:
        raise ValueError(f"--epochs must be at least {run.state.epoch}, which {run.folder} has behind it; "
                         f"got {run.config['epochs']}")
    data = examples.read(run.config)
    if examples.checksum(data) != run.config["crc32"]:
        raise ValueError(f"{run.config['data']} has changed since the run began, and cannot go on with it")
    runs.go_on(run)
    return run, *examples.for_training(run.config, data)


def finish(run: Run) -> None:
    """Draw the curves and some samples."""
    x = run.model.sample(100, run.config["seed"])
    if run.config["image_shape"] is None:
        output.write_numbers(run.folder / "samples.csv", {"x": examples.scaling_of(run.config).invert(x)})
    try:
        output.write_curves(run.folder / "curves.png", run.state.history)
        if run.config["image_shape"] is not None:
            output.write_picture(run.folder / "samples.png", run.config, {"samples": x}, 10)
    except ImportError as error:                       # no matplotlib: the run is no worse for it
        note(str(error))
    print(f"done: scratchvae evaluate {run.folder} tells how good it is")


def measure(args: argparse.Namespace, given: Config) -> int:
    """Say how good a model is."""
    run = opened(args.run)
    x, _, name = shown(run, args, given)
    found = evaluate(run.model, x, n_samples=args.samples, rng=given.get("seed", 0),
                     progress=sys.stderr if sys.stderr.isatty() else None)
    scale = np.broadcast_to(run.config["scale"], run.config["x_dim"])
    log_scale = float(np.log(scale).sum()) if run.config["likelihood"] == "gaussian" else 0.0
    mean = float(found.log_likelihood.mean())
    if args.json:
        facts = {"run": str(run.folder), "data": name, "binarize": run.config["binarize"], "epochs": run.state.epoch,
                 **found.as_dict(), "log_likelihood_per_dimension": mean / run.config["x_dim"],
                 "log_likelihood_before_scaling": mean - log_scale}
        print(json.dumps(facts, indent=1))
        return 0
    print(f"{run.folder} after {run.state.epoch} epochs, on {len(x)} rows of {name}")
    print(found)
    print(f"per dimension   {mean / run.config['x_dim']:10.3f} nats")
    if log_scale:
        print(f"before scaling  {mean - log_scale:10.3f} nats: the density of x as it is stored")
    return 0


def sample(args: argparse.Namespace, given: Config) -> int:
    """Draw from a model."""
    run = opened(args.run)
    output.check_path(args.out, (".png", ".npz", ".csv"), run.config)
    write(args.out, run, {"x": run.model.sample(args.count, given.get("seed", 0))}, 10)
    return 0


def reconstruct(args: argparse.Namespace, given: Config) -> int:
    """Send examples up to a level and down again."""
    run = opened(args.run)
    output.check_path(args.out, (".png", ".npz", ".csv"), run.config)
    x = shown(run, args, given)[0][:args.count]
    write(args.out, run, {"x": x, "reconstruction": decode(run, means(run, x, args.level), args.level)}, 10)
    return 0


def interpolate(args: argparse.Namespace, given: Config) -> int:
    """Walk from one example to another, in equal steps through the latents of a level."""
    run = opened(args.run)
    output.check_path(args.out, (".png", ".npz", ".csv"), run.config)
    x, _, name = shown(run, args, given)
    if len(args.between) != 2 or max(args.between) >= len(x):
        raise ValueError(f"--between must be two of the {len(x)} rows of {name}, counted from 0; "
                         f"got {','.join(map(str, args.between))}")
    first, last = means(run, x[args.between], args.level)
    share = np.linspace(0, 1, args.steps, dtype=x.dtype)[:, None]
    write(args.out, run, {"x": decode(run, (1 - share) * first + share * last, args.level)}, args.steps)
    return 0


def encode(args: argparse.Namespace, given: Config) -> int:
    """Write what q says of every example: mu and logvar of each level."""
    run = opened(args.run)
    output.check_path(args.out, (".npz", ".csv"), run.config)
    x, y, _ = shown(run, args, given)
    parts = [levels(run, x[i:i + 1000]) for i in range(0, len(x), 1000)]
    arrays = {f"{name}_{t}": np.concatenate([part[t - 1][k] for part in parts])
              for t in range(1, len(parts[0]) + 1) for k, name in enumerate(("mu", "logvar"))}
    output.write_numbers(args.out, arrays if y is None else {**arrays, "label": y})
    return 0


def gradcheck(args: argparse.Namespace, given: Config) -> int:
    """Check the gradients of the model that the options describe."""
    config, data = new_config(given)
    x = examples.prepare(config, data.x["train"][:args.rows], "train")
    ledger = check_model(runs.build(config, x), x, directions=args.directions, rng=config["seed"])
    print(ledger)
    return 0 if ledger.ok else 1


COMMANDS = {"train": train, "evaluate": measure, "sample": sample, "reconstruct": reconstruct,
            "interpolate": interpolate, "encode": encode, "gradcheck": gradcheck}


# what several of them need ------------------------------------------------------------------------


def new_config(given: Config) -> tuple[Config, Data]:
    """Return all that a model and its training depend on, from the options that were given; and the data."""
    config = {**options.DEFAULTS, **given}
    if config["latents"] is None:
        config["latents"] = [16] if config["model"] == "vae" else [16, 8, 4]
    data = examples.read(config)
    return examples.describe(config, data), data


def opened(folder: Path) -> Run:
    """Read a run, and say so if its newest checkpoint is damaged."""
    run, problem = runs.open_run(folder)
    if problem is not None:
        note(f"{one_line(problem)}; the checkpoint before it is whole, and taken instead")
    return run


def shown(run: Run, args: argparse.Namespace, given: Config) -> tuple[Array, Array | None, str]:
    """Return the rows to look at, as the model sees them, their labels, and what to call them."""
    config, part = run.config, args.split
    if "data" in given:
        config = {**config, "key": None, "labels": None, "image_shape": None, **given}
        if config["data"] not in examples.NAMED:
            config["hold_out"], part = 1, "test"       # all of the file is new to the model
    data = examples.read(config)
    if part not in data.x:
        raise ValueError(f"{config['data']} has no part {part!r} for --split; it has {', '.join(data.x)}")
    x = run.model.check_x(examples.prepare(run.config, data.x[part], part))
    return x, data.y.get(part), config["data"] if "data" in given else f"{config['data']} ({part})"


def levels(run: Run, x: Array) -> list[tuple[Array, Array]]:
    """Return mu and logvar of every level."""
    encoded = run.model.encode(x)
    return encoded if isinstance(encoded, list) else [encoded]                  # the VAE has one


def means(run: Run, x: Array, level: int) -> Array:
    """Return mu of a level."""
    return levels(run, x)[check.size("--level", level, 1, len(run.model.latent_dims)) - 1][0]


def decode(run: Run, z: Array, level: int) -> Array:
    """Return E[x | z] for z of a level."""
    return run.model.decode(z, level) if isinstance(run.model, HVAE) else run.model.decode(z)


def write(path: Path, run: Run, arrays: dict[str, Array], columns: int) -> None:
    """Write rows in the model's scale: as a picture, or in the units of the data as numbers."""
    if path.suffix == ".png":
        output.write_picture(path, run.config, arrays, columns)
    else:
        scaling = examples.scaling_of(run.config)
        output.write_numbers(path, {name: scaling.invert(rows) for name, rows in arrays.items()})


def note(message: str) -> None:
    """Say something on stderr."""
    print(f"scratchvae: {message}", file=sys.stderr)


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    try:
        args = options.parser().parse_args(argv)
        given = {name: getattr(args, name) for name in options.DEFAULTS if getattr(args, name, None) is not None}
        with np.errstate(all="ignore"), warnings.catch_warnings():              # what matters comes as an exception
            warnings.simplefilter("ignore")
            code = COMMANDS[args.command](args, given)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        note("interrupted")
        return 130
    except (ValueError, OSError, ArithmeticError, MemoryError, ImportError) as error:
        note(one_line(error))
    try:
        sys.stdout.flush()
    except OSError:                                    # a full disk, a closed pipe: Python would complain once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 2
