"""fit: pass after pass over the data, a step of the optimiser for each batch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from . import check
from .datasets import binarize
from .layers import Array
from .model import ELBO, Model
from .optim import SGD, Adam

History = dict[str, list[float]]


def parts(elbo: ELBO) -> dict[str, float]:
    """Return the bound and its parts by name, each a mean over the examples, in nats."""
    named = {"elbo": elbo.total, "reconstruction": elbo.reconstruction, "prior_matching": elbo.prior_matching}
    named.update({f"consistency_{t}": column for t, column in enumerate(elbo.consistency.T, start=1)})
    return {name: float(value.mean(dtype=float)) for name, value in named.items()}


def warm_up(epochs: int) -> Callable[[int], float]:
    """Return a schedule for beta that rises in equal steps to 1, which it reaches at this epoch.

    While beta is small, a latent costs little and the decoder learns to use it;
    with beta = 1 from the start, many are given up before that.  Bowman et al.
    2016 (arXiv 1511.06349), section 3.1.
    """
    check.size("epochs", epochs)
    return lambda epoch: min(1.0, epoch / epochs)


def decay(first: float, last: float, epochs: int) -> Callable[[int], float]:
    """Return a learning rate that falls by the same factor every epoch, from the first to the last."""
    check.number("first", first, 0, open_low=True)
    check.number("last", last, 0, open_low=True)
    check.size("epochs", epochs)
    return lambda epoch: float(first * (last / first) ** ((epoch - 1) / max(1, epochs - 1)))


class Progress:
    """One line on a terminal, written anew after each epoch; silent elsewhere."""

    def __init__(self, epochs: int, show: bool | None, stream: TextIO) -> None:
        self.epochs, self.stream, self.start, self.width = epochs, stream, time.perf_counter(), 0
        self.show = stream.isatty() if show is None else show

    def update(self, epoch: int, means: dict[str, float]) -> None:
        """Write the parts of the bound and the time left."""
        if not self.show:
            return
        left = (time.perf_counter() - self.start) * (self.epochs / epoch - 1)
        line = f"epoch {epoch}/{self.epochs}  " + "  ".join(
            f"{name.replace('_', ' ')} {value:.2f}" for name, value in means.items())
        line += f" nats  {left // 60:.0f}:{left % 60:02.0f} left"
        self.stream.write("\r" + line.ljust(self.width))
        self.width = len(line)
        self.stream.flush()

    def close(self) -> None:
        """End the line."""
        if self.show and self.width:
            self.stream.write("\n")


def fit(model: Model, x: Any, *, epochs: int = 100, batch_size: int = 64, optimizer: SGD | Adam | None = None,
        learning_rate: Callable[[int], float] | None = None, beta: float | Array | Callable[[int], Any] = 1.0,
        seed: int = 0, resample: bool = False, x_valid: Any = None,
        callback: Callable[[Model, History], Any] | None = None, progress: bool | None = None) -> History:
    """Train a model, in place.

    Parameters
    ----------
    model : Autoencoder, VAE, HVAE, or what follows their contract
    x : array of shape (n, x_dim)
    epochs, batch_size : int, default 100 and 64
        Passes over the data, each in a new order; examples for each step.
    optimizer : SGD or Adam, optional
        By default ``Adam()``.
    learning_rate : function of the epoch, optional
        Sets the optimiser's learning rate at the start of every epoch, counted
        from 1; ``decay(1e-3, 1e-4, epochs)`` is such a function.
    beta : float, array of shape (T,), or function of the epoch, default 1
        The weight of the KL parts, or of each level's.  Epochs count from 1;
        ``warm_up(50)`` is such a function.
    seed : int, default 0
        The order of the data, the noise and the resampling follow from it: the
        same seed on the same machine gives the same bits.
    resample : bool, default False
        Draw black-and-white pixels from the grey ones anew for every batch, as
        many papers do.
    x_valid : array of shape (m, x_dim), optional
        Held-out data; its bound, with the same noise each time, is recorded
        after every epoch.
    callback : function, optional
        Called as ``callback(model, history)`` after every epoch; training ends
        if it returns True.
    progress : bool, optional
        Show a progress line on stderr; by default only on a terminal.

    Returns
    -------
    dict of str to list of float
        For each epoch ``epoch``, ``seconds`` since the start, ``beta`` (of the top
        level), and in nats ``elbo``, ``reconstruction``, ``prior_matching``,
        ``consistency_1``, ...: means over the epoch's batches, while the
        parameters moved.  With x_valid, the same names after ``valid_``.

    Raises
    ------
    ValueError
        If an argument is wrong; the message names it.
    FloatingPointError
        If the bound becomes infinite or not a number.

    Notes
    -----
    Ctrl-C stops between two steps at the latest; the model is then as the last
    step left it, and can be used or trained further.
    """
    x = model.check_x(x)
    check.size("epochs", epochs)
    check.size("batch_size", batch_size)
    optimizer = Adam() if optimizer is None else optimizer
    beta_of = beta if callable(beta) else lambda epoch: beta
    rng, valid_rng = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    if x_valid is not None:
        x_valid = model.check_x(x_valid)
        valid_noise = model.draw_noise(len(x_valid), valid_rng)
    history: History = {}
    line = Progress(epochs, progress, sys.stderr)
    try:
        for epoch in range(1, epochs + 1):
            sums: dict[str, float] = {}
            beta_now = beta_of(epoch)
            if learning_rate is not None:
                optimizer.learning_rate = learning_rate(epoch)
            order = rng.permutation(len(x))
            for start in range(0, len(x), batch_size):
                batch = x[order[start:start + batch_size]]
                if resample:
                    batch = binarize(batch, "sample", rng)
                elbo, cache = model.forward(batch, model.draw_noise(len(batch), rng))
                model.backward(cache, beta_now)
                optimizer.step(model.theta, model.gradient)
                for name, value in parts(elbo).items():
                    sums[name] = sums.get(name, 0.0) + value * len(batch) / len(x)
            if not np.isfinite(sums["elbo"]):
                raise FloatingPointError(f"the ELBO became {sums['elbo']} in epoch {epoch}; "
                                         "a smaller learning rate, or a warm-up of beta, may help")
            record = {"epoch": float(epoch), "seconds": time.perf_counter() - line.start,
                      "beta": float(np.ravel(beta_now)[-1]), **sums}
            if x_valid is not None:
                valid = parts(model.forward(x_valid, valid_noise)[0])
                record.update({f"valid_{name}": value for name, value in valid.items()})
            for name, value in record.items():
                history.setdefault(name, []).append(value)
            line.update(epoch, sums)
            if callback is not None and callback(model, history):
                break
    finally:
        line.close()
    return history
