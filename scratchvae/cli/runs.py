"""A run: a model in training, as its config describes it; it is trained, saved, and used in the units of the data."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .. import __version__, check, schedule, startup
from ..conditions import Conditional
from ..data.columns import Table, means
from ..data.scaling import Scaling
from ..data.tables import number_of
from ..data.writing import as_csv, write
from ..diffusion import Diffusion
from ..hvae import HVAE
from ..layers import Array
from ..prior import LatentDiffusion
from ..topdown import TopDown
from ..train import checkpoint
from ..train.budget import LOOKED_AT, copies, waited
from ..train.imputation import fill
from ..train.fit import fit
from ..train.losses import loss_of
from ..train.optim import SGD, Adam
from ..train.progress import Interrupted
from ..train.schedules import Schedule, decay, steps, warm_up
from ..train.state import State
from ..vae import VAE
from .examples import Config, prepare, scaling_of
from .options import DEFAULTS

MAY_CHANGE = ("epochs", "checkpoint_every", "workers", "learning_rate", "schedule", "warm_up")  # on resume


def build(config: Config, x: Array | None = None) -> Any:
    """Return a fresh model, as a config describes it; with the rows to train on, it starts from their mean."""
    x_dim, latents, hidden, how = config["x_dim"], config["latents"], config["hidden"], scaling_of(config)
    options = {"rng": config["seed"], **{name: config[name] for name in ("activation", "likelihood", "dtype")}}
    if isinstance(how, Table):
        options["likelihood"] = how.likelihood()
    if x is not None:
        options["x_mean"] = means(x[:, :x_dim])        # without labels
    by_level = any(isinstance(entry, list) for entry in hidden)
    model: Any
    if config["model"] == "diffusion":
        if by_level:
            raise ValueError("--hidden must be given once for a diffusion, which has one network for all levels")
        levels = math.inf if config["levels"] == "inf" else config["levels"]
        model = Diffusion(x_dim, levels, hidden, log_noise=config["log_noise"], **options)
    elif config["model"] == "vae" and len(latents) != 1:
        raise ValueError("--latents must be one number for a vae; --model hvae and topdown have several levels")
    else:
        for option, given in ("--hidden", hidden if by_level else [0]), ("--free-bits", config["free_bits"] or [0]):
            if len(given) not in (1, len(latents)):
                raise ValueError(f"{option} must be given once, or for each level ({len(latents)}); got {len(given)}")
        if config["model"] == "vae":
            model = (LatentDiffusion if config["prior"] == "diffusion" else VAE)(x_dim, latents[0], hidden, **options)
        elif config["model"] == "hvae":
            model = HVAE(x_dim, latents, hidden, consistency=config["consistency"], **options)
        else:
            model = TopDown(x_dim, latents, hidden, **options)
    return model if config["classes"] is None else Conditional(model, len(config["classes"]))


def as_now(config: Any) -> Config:
    """Return a config with all options of today, by their names of today; the run may be older than some."""
    own = config if isinstance(config, dict) else {}   # a checkpoint may hold anything
    full = {**own, **DEFAULTS, **dict.fromkeys(("cells", "classes", "threads", "passes")), **own}     # in its own order
    return {key: check.new_name(value) if key in ("consistency", "estimator") else value for key, value in full.items()}


def rate_schedule(config: Config) -> Schedule:
    """Return the learning rate's schedule: constant, exponential:LAST, or steps:EPOCH=RATE,EPOCH=RATE,..."""
    rate, (kind, _, rest) = config["learning_rate"], config["schedule"].partition(":")
    try:
        if config["schedule"] == "constant":
            return steps(rate, {})
        if kind == "exponential":
            return decay(rate, number_of(rest), config["epochs"])
        if kind == "steps":
            changes = (change.split("=") for change in rest.split(","))
            return steps(rate, {number_of(epoch, int): number_of(new) for epoch, new in changes})
    except ValueError:
        pass
    raise ValueError("--schedule must be constant, exponential:RATE or steps:EPOCH=RATE,..., with rates above 0; got "
                     f"{config['schedule']!r}")


@dataclass
class Run:
    """A model, and where its training stands; `new` makes one, and `folders.open_run`."""

    folder: Path
    config: Config
    model: Any
    optimizer: SGD | Adam
    state: State
    place: tuple[int, int] | None = None               # device and number of the folder that is ours: `folders.alone`

    def save(self) -> None:
        """Write the checkpoint, and the history beside it."""
        self.check_place()
        checkpoint.save(self.folder / "checkpoint.npz", self.model, self.optimizer, self.state, self.config)
        epochs = zip(*self.state.history.values())
        lines = [self.state.history, *([format(value, ".10g") for value in epoch] for epoch in epochs)]
        write(self.folder / "history.csv", as_csv(lines).encode())

    def check_place(self) -> None:
        """Raise a ValueError if another folder has taken the place of ours."""
        if self.place is not None and self.place != place(self.folder):
            raise ValueError(f"{self.folder} was removed or replaced while this run trained in it; nothing is saved")

    @property
    def stale(self) -> int:
        """Epochs since the bound on the rows held out was highest."""
        return waited(self.state.history.get("valid_elbo", []), 20 if self.config["passes"] else 2)    # 2: no noise

    def watch(self, *_: Any) -> bool:
        """Keep the parameters if this epoch was the best; return whether to wait no longer for a better one."""
        bounds = self.state.history["valid_elbo"]
        if bounds[-1] > max(bounds[:-1], default=-math.inf):
            self.check_place()
            checkpoint.save(self.folder / "best.npz", self.model, self.optimizer, self.state, self.config)
        return self.stale >= self.config["patience"]

    def take_best(self) -> tuple[int, Exception | None]:
        """Take the parameters of the best epoch, if they were kept; return which that is, and what was wrong, or None.

        Then it is the best one before the file was damaged; or the last one, if there is no file.
        """
        path = self.folder / "best.npz"
        if not self.config["patience"] or not (path.exists() or checkpoint.previous(path).exists()):
            lost = FileNotFoundError(f"{path} is missing")
            return self.state.epoch, lost if self.config["patience"] and self.state.epoch else None
        found, problem = checkpoint.load_newest(path)
        now = {name: self.config[name] for name in MAY_CHANGE}
        if found.theta.shape != self.model.theta.shape or {**as_now(found.config), **now} != self.config:
            raise ValueError(f"{path} is of another run than the checkpoint beside it: move it away")
        self.model.theta[:] = found.theta
        return found.state.epoch, problem

    def write_config(self) -> None:
        """Write the config where people can read it, a line for each option."""
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in self.config.items())
        write(self.folder / "config.json", f"{{\n{lines}\n}}\n".encode())

    def train(self, x: Array, x_valid: Array | None, progress: TextIO | None = None) -> None:
        """Train to the last epoch; save every so often, at the end, and when Ctrl-C ends it before."""
        config, rise = self.config, warm_up(self.config["warm_up"] or 1)
        if config["patience"] and self.stale >= config["patience"]:            # it has ended already
            return
        if config["passes"] and x_valid is not None:
            x, x_valid = copies(x, config["passes"]), copies(x_valid, -(-LOOKED_AT // len(x_valid)))
        try:
            fit(self.model, x, x_valid=x_valid, epochs=config["epochs"], batch_size=config["batch_size"],
                optimizer=self.optimizer, learning_rate=rate_schedule(config), free_bits=config["free_bits"],
                average=config["average"], beta=lambda epoch: config["beta"] * rise(epoch),
                objective=config["objective"], n_samples=config["importance"], estimator=config["estimator"],
                resample=config["binarize"] == "resample-each-epoch", progress=progress or False, state=self.state,
                callback=self.watch if config["patience"] else None, workers=config["workers"],
                after_step=checkpoint.every(config["checkpoint_every"], lambda state: self.save()))
        except Interrupted:
            self.save()
            raise
        except FloatingPointError as error:            # a smaller rate may go on from the epoch before
            self.save()
            raise FloatingPointError(f"{error}; epoch {self.state.epoch} is saved, and scratchvae train --resume "
                                     f"{self.folder} takes another --learning-rate or --schedule") from None
        except ChildProcessError as error:             # theta stands in the middle of a step, and is not saved
            raise ChildProcessError(f"{error}; train --resume {self.folder} goes on from the checkpoint") from None
        self.save()

    @property
    def scaling(self) -> Scaling | Table:
        """The way from the data's units to the model's, ``apply``, and back, ``invert``."""
        return scaling_of(self.config)

    def log_scales(self, x: Array) -> Array:
        """Return by how much log p(x) of rows is higher in the model's units than in the data's, of shape (n,).

        A density of x is that of the scaled x divided by Π scale, so this is Σ log scale over
        the cells that are there.  It is 0 for a Bernoulli likelihood, and for pixels made
        black and white: these have probabilities, not densities.
        """
        if self.config["likelihood"] == "bernoulli" or self.config["binarize"] != "none":
            return np.zeros(len(x))
        return self.scaling.log_scale(x[:, :self.config["x_dim"]])             # without labels

    def log_likelihood(self, x: Array, n_samples: int = 1000, rng: int | np.random.Generator = 0,
                       workers: int | str | None = None) -> Array:
        """Return log p(x) of rows in the data's units, in nats, as a density in these units; shape (n,)."""
        scaled = self.apply(x)
        if workers is None:
            return self.model.log_likelihood(scaled, n_samples, rng) - self.log_scales(scaled)
        from ..train import team                       # multiprocessing takes its time
        return team.log_likelihood(self.model, scaled, n_samples, rng, workers=workers) - self.log_scales(scaled)

    def apply(self, x: Any) -> Array:
        """Return rows in the data's units, such as a DataFrame with the run's columns, as the model sees them."""
        return prepare(self.config, x, "test")

    def encode(self, x: Any) -> list[tuple[Array, Array]]:
        """Return mu and logvar of every level, of rows in the data's units."""
        return levels(self.model, self.apply(x))

    def reconstruct(self, x: Any, level: int = 1) -> Array:
        """Return E[x | z] for the mean z of rows at a level; they and it are in the data's units."""
        return self.scaling.invert(rebuilt(self.model, self.apply(x), level))

    def sample(self, n: int, rng: int | np.random.Generator = 0) -> Array:
        """Draw n rows, in the data's units."""
        return self.scaling.invert(drawn_from(self.model, n, rng, True), drawn=True)

    def impute(self, x: Any, n_samples: int = 1000, rng: int | np.random.Generator = 0, draw: bool = False) -> Array:
        """Return rows of a table with their empty cells filled, by their mean given the others or by a draw."""
        return self.scaling.invert(fill(self.model, self.apply(x), n_samples, rng, draw), drawn=True)


def drawn_from(model: Any, n: int, rng: int | np.random.Generator, draw: bool, steps: int | None = None) -> Array:
    """Return E[x | z] or draws of x, for z from the prior; of a diffusion, through ``steps`` levels."""
    inner = model.model if isinstance(model, Conditional) else model
    if isinstance(inner, Diffusion):
        T = int(min(inner.T, schedule.MOST))
        steps = min(schedule.FEW, T) if steps is None else check.size("--steps", steps, min(2, T), T)
        return model.sample(n, rng, draw=draw, steps=steps)
    if steps is not None:
        raise ValueError("--steps is for a diffusion, whose samples pass through many levels: leave it out")
    return model.sample(n, rng, draw=draw)


def levels(model: Any, x: Array) -> list[tuple[Array, Array]]:
    """Return mu and logvar of every level."""
    if isinstance(model, Conditional):
        raise ValueError("a model that is given labels has no latents without a label: use sample --label or evaluate")
    if isinstance(model, Diffusion):
        raise ValueError("the latents of a diffusion are x with noise: use sample, evaluate or reconstruct")
    encoded = model.encode(x)
    return encoded if isinstance(encoded, list) else [encoded]                  # the VAE has one


def means_at(model: Any, x: Array, level: int) -> Array:
    """Return mu of a level."""
    return levels(model, x)[check.size("--level", level, 1, len(model.latent_dims)) - 1][0]


def decoded(model: Any, z: Array, level: int) -> Array:
    """Return E[x | z] for z of a level."""
    return model.decode(z, level) if isinstance(model, HVAE) else model.decode(z)


def rebuilt(model: Any, x: Array, level: int) -> Array:
    """Return E[x | z] for the mean z of x at a level; for a diffusion, at a draw of z."""
    if isinstance(model, Diffusion):
        model = model.with_levels(1000) if model.T == math.inf else model
        return model.reconstruct(x, check.size("--level", level, 1, model.T))
    return decoded(model, means_at(model, x, level), level)


def place(folder: Path | int) -> tuple[int, int] | None:
    """Return what tells a folder, by its name or open, from another of this name; None if there is none."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def new(folder: Path, config: Config, x: Array) -> Run:
    """Return a new run, to be trained on x: nothing is on disk yet, and the config has been checked."""
    # in JSON and back: as a checkpoint will give it
    config = json.loads(json.dumps({**config, "scratchvae": __version__, "threads": startup.threads()}))
    model = build(config, x)
    rate_schedule(config)
    if config["model"] != "diffusion":
        loss_of(model, config["objective"], config["importance"], config["estimator"], config["free_bits"])
    return Run(folder, config, model, Adam(config["learning_rate"]), State.start(model, config["seed"]))
