"""A run: the folder of a model in training, and what it takes to go on, or to use the model.

    checkpoint.npz            parameters, optimiser, generator, config, where training stood: see checkpoint.py
    checkpoint.previous.npz   the one before it
    config.json               the config once more, for people to read
    history.csv               a line for each epoch
    curves.png, samples.png   drawn at the end; samples.csv where the data are no pictures
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .. import __version__, check, checkpoint
from ..diffusion import Diffusion
from ..hvae import HVAE
from ..layers import Array
from ..optim import SGD, Adam
from ..progress import Interrupted
from ..topdown import TopDown
from ..training import History, Schedule, State, decay, fit, steps, warm_up
from ..vae import VAE
from .examples import FACTS, Config, is_source
from .options import DEFAULTS

CHECKPOINTS = ("checkpoint.npz", "checkpoint.previous.npz")
NAMES = (*CHECKPOINTS, "config.json", "history.csv", "curves.png", "samples.png", "samples.csv")


def build(config: Config, x: Array | None = None) -> VAE | HVAE | Diffusion:
    """Return a fresh model, as a config describes it; with the rows to train on, it starts from their mean."""
    latents, options = config["latents"], {name: config[name] for name in ("activation", "likelihood", "dtype")}
    if x is not None:
        options["x_mean"] = x.mean(axis=0)
    if config["model"] == "diffusion":
        if any(isinstance(entry, list) for entry in config["hidden"]):
            raise ValueError("--hidden must be given once for a diffusion, which has one network for all levels")
        return Diffusion(config["x_dim"], math.inf if config["levels"] == "inf" else config["levels"],
                         config["hidden"], log_noise=config["log_noise"], rng=config["seed"], **options)
    if config["model"] == "vae" and len(latents) != 1:
        raise ValueError("--latents must be one number for a vae, which has one level; --model hvae and topdown "
                         "have several")
    nested = any(isinstance(entry, list) for entry in config["hidden"])
    for option, by_level in (("--hidden", config["hidden"] if nested else [config["hidden"]]),
                             ("--free-bits", config["free_bits"] or [0.0])):
        if len(by_level) not in (1, len(latents)):
            raise ValueError(f"{option} must be given once, or for each level, of which there "
                             f"{'are' if len(latents) > 1 else 'is'} {len(latents)}; got {len(by_level)}")
    if config["model"] == "hvae":
        return HVAE(config["x_dim"], latents, config["hidden"], consistency=config["consistency"], rng=config["seed"],
                    **options)
    if config["model"] == "topdown":
        return TopDown(config["x_dim"], latents, config["hidden"], rng=config["seed"], **options)
    return VAE(config["x_dim"], latents[0], config["hidden"], rng=config["seed"], **options)


def rate_schedule(config: Config) -> Schedule:
    """Return the learning rate's schedule: constant, exponential:LAST, or steps:EPOCH=RATE,EPOCH=RATE,..."""
    rate, (kind, _, rest) = config["learning_rate"], config["schedule"].partition(":")
    try:
        if config["schedule"] == "constant":
            return steps(rate, {})
        if kind == "exponential":
            return decay(rate, float(rest), config["epochs"])
        if kind == "steps":
            changes = (change.split("=") for change in rest.split(","))
            return steps(rate, {int(epoch): float(new) for epoch, new in changes})
    except ValueError:
        pass
    raise ValueError("--schedule must be constant, exponential:RATE or steps:EPOCH=RATE,EPOCH=RATE,..., with rates "
                     f"above 0; got {config['schedule']!r}")


def table(history: History) -> bytes:
    """Return a history as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(history)
    writer.writerows([format(value, ".10g") for value in epoch] for epoch in zip(*history.values()))
    return text.getvalue().encode()


@dataclass
class Run:
    """A model, and where its training stands; `new` and `open_run` make one."""

    folder: Path
    config: Config
    model: VAE | HVAE | Diffusion
    optimizer: SGD | Adam
    state: State

    def save(self) -> None:
        """Write the checkpoint, and the history beside it."""
        checkpoint.save(self.folder / "checkpoint.npz", self.model, self.optimizer, self.state, self.config)
        checkpoint.write(self.folder / "history.csv", table(self.state.history))

    def write_config(self) -> None:
        """Write the config where people can read it, a line for each option."""
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in self.config.items())
        checkpoint.write(self.folder / "config.json", f"{{\n{lines}\n}}\n".encode())

    def train(self, x: Array, x_valid: Array | None, progress: TextIO | None = None) -> None:
        """Train to the last epoch; save every so often, at the end, and when Ctrl-C ends it before."""
        config = self.config
        try:
            fit(self.model, x, x_valid=x_valid, epochs=config["epochs"], batch_size=config["batch_size"],
                optimizer=self.optimizer, learning_rate=rate_schedule(config), free_bits=config["free_bits"],
                average=config["average"],
                beta=warm_up(config["warm_up"]) if config["warm_up"] else 1.0,
                resample=config["binarize"] == "resample-each-epoch", progress=progress or False, state=self.state,
                after_step=checkpoint.every(config["checkpoint_every"], lambda state: self.save()))
        except Interrupted:
            self.save()
            raise
        self.save()

    def levels(self, x: Array) -> list[tuple[Array, Array]]:
        """Return mu and logvar of every level."""
        if isinstance(self.model, Diffusion):
            raise ValueError("the latents of a diffusion are x with noise: there is nothing to encode, or to walk "
                             "through; sample, evaluate and reconstruct look at it")
        encoded = self.model.encode(x)
        return encoded if isinstance(encoded, list) else [encoded]              # the VAE has one

    def means(self, x: Array, level: int) -> Array:
        """Return mu of a level."""
        return self.levels(x)[check.size("--level", level, 1, len(self.model.latent_dims)) - 1][0]

    def decode(self, z: Array, level: int) -> Array:
        """Return E[x | z] for z of a level."""
        return self.model.decode(z, level) if isinstance(self.model, HVAE) else self.model.decode(z)

    def reconstruct(self, x: Array, level: int) -> Array:
        """Return E[x | z] for the mean z of x at a level; for a diffusion, at a draw of z."""
        if isinstance(self.model, Diffusion):
            model = self.model.with_levels(1000) if self.model.T == math.inf else self.model
            return model.reconstruct(x, check.size("--level", level, 1, model.T))
        return self.decode(self.means(x, level), level)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from training in this folder; whatever ends the process, the lock ends with it."""
    with ExitStack() as stack:
        try:
            import fcntl                               # not on Windows, where nothing is locked
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder} is in use: another process trains in it") from None
        except (ImportError, OSError):                 # a file system without locks; or no folder, as others will say
            pass
        yield


def new(folder: Path, config: Config, x: Array) -> Run:
    """Return a new run, to be trained on x, of which nothing is on disk; all of the config is known to be good."""
    config = json.loads(json.dumps({**config, "scratchvae": __version__}))     # as a checkpoint will give it back
    model = build(config, x)
    rate_schedule(config)
    return Run(folder, config, model, Adam(config["learning_rate"]), State.start(model, config["seed"]))


def begin(run: Run, overwrite: bool = False) -> None:
    """Write a new run into its folder: from then on it can be killed and resumed."""
    there = [name for name in NAMES if os.path.lexists(run.folder / name)]
    if there and not overwrite:
        raise ValueError(f"{run.folder} has a {there[0]} already: go on with --resume {run.folder}, or replace it "
                         "with --overwrite")
    if there and not any(name in there for name in CHECKPOINTS):
        raise ValueError(f"{run.folder} has a {there[0]}, but is not the folder of a run: nothing is replaced there")
    for name in there:
        if is_source(run.folder / name, run.config["data"]):
            raise ValueError(f"--out would replace the data that are read: {run.folder / name}")
    run.save()                                         # before anything is given up
    for name in NAMES:
        if name not in ("checkpoint.npz", "history.csv"):                      # these are of the new run by now
            (run.folder / name).unlink(missing_ok=True)
    run.write_config()


def open_run(folder: Path) -> tuple[Run, Exception | None]:
    """Read a run; if its newest checkpoint is no good, take the previous one, and return what was wrong as well."""
    path = folder / "checkpoint.npz"
    if not os.path.lexists(path) and not os.path.lexists(checkpoint.previous(path)):
        raise ValueError(f"{folder} is not the folder of a run: it has no checkpoint.npz")
    found, problem = checkpoint.load_newest(path)
    if isinstance(found.config, dict):
        found.config.setdefault("average", None)       # of a run that is older than this option
    missing = {*DEFAULTS, *FACTS} - set(found.config or ())
    if missing:
        raise ValueError(f"{path} was not written by this version of `scratchvae train`: its config has no "
                         f"{min(missing)}")
    model = build(found.config)
    model.theta[:] = found.theta
    return Run(folder, found.config, model, found.optimizer, found.state), problem


def go_on(run: Run) -> None:
    """Make the folder of a run that was opened ready for more training."""
    rate_schedule(run.config)
    path = run.folder / "checkpoint.npz"
    if path.exists():
        try:
            checkpoint.load(path)
        except ValueError:                             # it must not be kept as the previous one of the next
            os.replace(path, path.with_name("checkpoint.damaged.npz"))
    for half_written in run.folder.glob(".*.part"):     # a kill may leave it
        half_written.unlink()
    run.write_config()
