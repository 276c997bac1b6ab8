"""The folder of a run: begun, opened, gone on with, and kept from other processes.

    checkpoint.npz            parameters, optimiser, generator, config, where training stood: see checkpoint.py
    checkpoint.previous.npz   the one before it
    best.npz                  with --patience: the same at the best epoch, which every command uses but train --resume
    config.json               the config once more, for people to read
    history.csv               a line for each epoch
    held_out.csv              the numbers of the rows that are held out, if the data are a file
    curves.png, samples.png   drawn at the end; samples.csv besides where the data are no pictures
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from .. import check
from ..data.columns import Table
from ..data.scaling import Scaling
from ..diffusion import Diffusion
from ..hvae import HVAE
from ..train import checkpoint
from ..train.budget import STEPS
from ..vae import VAE
from . import options
from .examples import FACTS, Config, is_source, scaling_of
from .runs import Run, as_now, build, place, rate_schedule

CHECKPOINTS = ("checkpoint.npz", "checkpoint.previous.npz")
NAMES = (*CHECKPOINTS, "best.npz", "best.previous.npz", "config.json", "history.csv", "held_out.csv",
         "curves.png", "samples.png", "samples.csv")


@contextmanager
def alone(folder: Path) -> Iterator[tuple[int, int] | None]:
    """Keep other processes from training in this folder, and return its `place`; the lock ends with the process.

    The lock is on the folder, not on its name: if the folder is removed and another
    made, a second process may train there, and the first must write no more.  As long
    as it holds the folder open, no new one gets the same number.
    """
    with ExitStack() as stack:
        held = None
        try:
            import fcntl  # not on Windows, where nothing is locked
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = place(handle)
        except BlockingIOError:
            raise ValueError(f"{folder} is in use: another process trains in it") from None
        except (ImportError, OSError):                 # a file system without locks; or no folder, as others will say
            pass
        yield held


def sweep(folder: Path) -> None:
    """Remove what a kill left half-written."""
    for name in NAMES:
        for half_written in folder.glob(f".{name}.{'[0-9a-f]' * 8}.part"):
            half_written.unlink()


def begin(run: Run, overwrite: bool = False) -> None:
    """Write a new run into its folder: from then on it can be killed and resumed."""
    there = [name for name in NAMES if os.path.lexists(run.folder / name)]
    if there and not overwrite:
        raise ValueError(f"{run.folder} has a {there[0]} already: go on with --resume, or replace it with --overwrite")
    if there and not any(name in there for name in CHECKPOINTS):
        raise ValueError(f"{run.folder} has a {there[0]}, but is not the folder of a run: nothing is replaced there")
    for name in there:
        if (run.folder / name).is_dir():
            raise ValueError(f"{run.folder / name} is a folder, where a run has a file: nothing is replaced there")
        if is_source(run.folder / name, run.config["data"]):
            raise ValueError(f"--out would replace the data that are read: {run.folder / name}")
    sweep(run.folder)
    run.save()                                         # before anything is given up
    for name in {*NAMES} - {"checkpoint.npz", "history.csv"}:                   # these are of the new run by now
        (run.folder / name).unlink(missing_ok=True)
    run.write_config()


def open_run(folder: Path) -> tuple[Run, Exception | None]:
    """Read a run; if its newest checkpoint is no good, take the previous one, and return what was wrong as well."""
    path = folder / "checkpoint.npz"
    if not os.path.lexists(path) and not os.path.lexists(checkpoint.previous(path)):
        raise ValueError(f"{folder} is not the folder of a run: it has no checkpoint.npz")
    found, problem = checkpoint.load_newest(path)
    config = as_now(found.config)
    if missing := set(FACTS) - set(config):
        raise ValueError(f"{path} was not written by this version of `scratchvae train`: it lacks {min(missing)}")
    config, model = confirmed(config, found.theta.size, path)
    if model.theta.shape != found.theta.shape or model.theta.dtype != found.theta.dtype:
        raise ValueError(f"{path} has {found.theta.size} parameters, the model of its config {model.theta.size}")
    model.theta[:] = found.theta
    return Run(folder, config, model, found.optimizer, found.state), problem


def load(folder: str | os.PathLike[str]) -> Run:
    """Return a run that `scratchvae train` made, to be used in Python.

    ``run.model`` is the model; ``run.scaling.apply(x)`` takes rows from the units
    of the data to those of the model, ``run.scaling.invert`` back;
    ``run.log_likelihood(x)`` is log p(x) in the units of the data::

        run = cli.load("runs/table")
        surprising = run.log_likelihood(x) < -20
        new = run.scaling.invert(run.model.sample(100, draw=True))

    Raises
    ------
    ValueError
        If it is not the folder of a run.
    """
    run, _ = open_run(Path(check.path("folder", folder)))
    run.take_best()
    return run


def at_least(config: Config) -> int:
    """Return how many parameters the model of a config has at least: its weights, but for those of logvar.

    Raise a ValueError for more than 4000 layers: to build them takes seconds.
    """
    ends = [config["x_dim"], *([config["x_dim"]] if config["model"] == "diffusion" else config["latents"])]
    hidden = config["hidden"]
    levels = hidden if any(isinstance(entry, list) for entry in hidden) else [hidden] * (len(ends) - 1)
    networks = [[n, *between, m] for n, between, m in zip(ends, levels, ends[1:])]
    networks += [network[::-1] for network in networks] * (config["model"] != "diffusion")             # q's, and p's
    if sum(map(len, networks)) > 4000:
        raise ValueError("latents and hidden must give at most 4000 layers")
    # all networks see the labels but that of the prior, whose layers go from z to 64, 64 and z
    labels, prior = len(config["classes"] or ()), (128 * ends[-1] + 64 * 64) * (config["prior"] == "diffusion")
    return prior + sum(labels * network[1] + sum(n * m for n, m in zip(network, network[1:])) for network in networks)


def confirmed(config: Config, size: int, path: Path) -> tuple[Config, VAE | HVAE | Diffusion]:
    """Return the config of a checkpoint and a fresh model, if the config is one that `train` writes.

    ``size`` is how many parameters the checkpoint has.  Its checksum shows only that it is whole.
    """
    try:
        if len(str([config[name] for name in options.DEFAULTS])) > 2**20:
            raise ValueError("its options are longer than a command line can be")
        options.confirm(config)
        x_dim, shape, columns = check.size("x_dim", config["x_dim"]), config["image_shape"], config["columns"]
        if config["model"] != "diffusion":
            check.sizes("latents", config["latents"])
        if at_least(config) > size:                    # before any memory is asked for
            raise ValueError(f"its model has at least {at_least(config)} parameters, and the file has {size}")
        how = scaling_of(config)
        n_columns = len(how.columns) if isinstance(how, Table) else x_dim
        for name, wrong in (
                ("image_shape", shape is not None and (len(shape) != 2 or shape[0] * shape[1] != x_dim)),
                ("cells", isinstance(how, Table) != (config["likelihood"] == "mixed")),
                ("x_dim", isinstance(how, Table) and how.x_dim != x_dim),
                ("columns", columns is not None and (len(columns) != n_columns or
                                                     not all(isinstance(column, str) for column in columns)))):
            if wrong:
                raise ValueError(f"{name} cannot be {check.shown(config[name])}")
        Scaling(config["shift"], config["scale"]).apply(np.zeros((1, x_dim)))
        check.number("rms", config["rms"], 0)
        check.size("passes", config["passes"] or 1, 1, STEPS)
        check.size("checksum", config["checksum"], 0, np.inf)
        check.size("threads", 1 if config["threads"] is None else config["threads"])     # None in older runs
        rate_schedule(config)
        return config, build(config)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} has a config that `scratchvae train` does not write: {error}") from None


def go_on(run: Run) -> None:
    """Make the folder of a run that was opened ready for more training."""
    rate_schedule(run.config)
    path = run.folder / "checkpoint.npz"
    if path.exists():
        try:
            checkpoint.load(path)
        except ValueError:                             # it must not be kept as the previous one of the next
            os.replace(path, path.with_name("checkpoint.damaged.npz"))
    sweep(run.folder)
    run.write_config()
