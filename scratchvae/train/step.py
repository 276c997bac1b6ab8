"""A step of training: the gradient of each share of a batch, their sum, a step of the optimiser.

The loss of a batch is a mean over its n rows.  So where the batch is cut into shares, its gradient is the sum over
the shares of the gradient of their part of that mean, MATH (9.4), and a share's part is ``elbo.loss_backward(beta,
n=n)``.  One process has one share, the whole batch; workers (team.py) have several, and each takes some of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..data.datasets import binarize
from ..layers import Array
from ..model import Model
from .losses import sums
from .optim import OPTIMIZERS
from .state import State, stream

ROWS = 16                                              # up to 16 rows are one share of a step
MOST_ROWS = 128                                        # of a share of more; fewer shares are fewer gradients to add
SHARES = 8                                             # of a batch, at most


def cut(n: int) -> list[slice]:
    """Return the shares of n rows: 1 up to 16 rows, else 2, 4 or 8, as few as have at most 128 rows each."""
    count = 1 if n <= ROWS else 2
    while count < SHARES and count * MOST_ROWS < n:
        count *= 2
    return [slice(n * s // count, n * (s + 1) // count) for s in range(count)]


def lay(model: Model, theta: Array, gradient: Array) -> None:
    """Let the model's parameters and gradients be views into these vectors, with the values that they have."""
    theta[:], gradient[:] = model.theta, model.gradient
    model.theta, model.gradient, end = theta, gradient, 0
    for key, view in model.parameters.items():
        (network, part, name), here = key.split("."), slice(end, end + view.size)
        end += view.size
        layer = model.networks[network].layers[part]
        for owned, whole, views in ((name, theta, model.parameters), ("d" + name, gradient, model.gradients)):
            views[key] = whole[here].reshape(view.shape)
            setattr(layer, owned, views[key])


def by_entries(optimizer: Any, theta: Array) -> bool:
    """Return whether an optimiser moves each entry of theta by itself; a subclass, or a step of its own, may not."""
    return type(optimizer) in OPTIMIZERS.values() and all(
        np.isscalar(value) or name in ("m", "v", "w") and getattr(value, "dtype", theta.dtype) == theta.dtype
        for name, value in vars(optimizer).items())


def fixed(model: Any, optimizer: Any) -> list[Any]:
    """Return what a callback must leave, where there are workers: the kind of optimiser, and where each array lies."""
    owners = [model, *(layer for network in model.networks.values() for layer in network.layers.values())] \
        if isinstance(model, Model) else []
    return [by_entries(optimizer, model.theta), *(np.asarray(getattr(owner, name)).ctypes.data for owner in owners
                                                  for name in getattr(owner, "parameter_names", ("theta", "gradient")))]


class Steps:
    """The steps of a `fit`, made by this process.  MATH (9.4).

    Parameters
    ----------
    model : Model
    x : array of shape (n, x_dim)
    optimizer : SGD or Adam
    batch_size : int
    state : State
        Of the run; all noise follows from it.
    resample : bool
    loss_of : function
        Of a model: returns its loss, such as an `OneDraw`.
    average : float, optional
        As for `fit`.
    gradients : list of arrays of shape (size,), optional
        One for each share of a batch, which is cut as for workers.
    w, n : int, default 0 and 1
        This is worker w of n: it has the shares w, w + n, ... and a slice of theta.
    meet : function, optional
        Returns when all workers have called it.
    """

    ahead = ()                                         # steps that were made and not yet returned: a Team has some

    def __init__(self, model: Any, x: Array, optimizer: Any, batch_size: int, state: State, resample: bool,
                 loss_of: Callable[[Any], Any], average: float | None, *, gradients: Any = None, w: int = 0,
                 n: int = 1, meet: Callable[[], Any] = lambda: None) -> None:
        self.model, self.x, self.optimizer, self.batch_size, self.state = model, x, optimizer, batch_size, state
        self.resample, self.loss_of, self.average, self.w, self.n, self.meet = resample, loss_of, average, w, n, meet
        self.whole = gradients is None                 # a batch is one share
        self.gradients = [model.gradient] if gradients is None else gradients
        self.here = slice(model.theta.size * w // n, model.theta.size * (w + 1) // n)
        self.order = np.empty(len(x), int)
        self.see_changes()

    def see_changes(self) -> None:
        """Make the loss of each share: of the model, or of a copy that leaves its gradient elsewhere."""
        self.losses = {}
        for s in range(self.w, len(self.gradients), self.n):
            model = copy.deepcopy(self.model) if s else self.model
            if s:
                lay(model, self.model.theta, self.gradients[s])
            self.losses[s] = self.loss_of(model)
        self.waits = self.loss_of(self.model).free_bits is not None

    def noises(self, epoch: int, step: int) -> list[np.random.Generator]:
        """Return the generators of the shares of a step."""
        return [stream(self.state.seed, "share", epoch, step, s) for s in self.losses]

    def step(self, epoch: int, step: int, beta: Any, following: int = 0) -> Array:
        """Do a step of an epoch; return the parts of the bound, summed over the batch, as in ``State.sums``."""
        if not self.whole:
            parts = np.empty((len(self.gradients), 1 + len(self.model.latent_dims)))
            return self.make(step, beta, self.noises(epoch, step), parts)
        batch, rng = self.x[self.order[step * self.batch_size:(step + 1) * self.batch_size]], self.state.rng
        if self.resample:
            batch = binarize(batch, "sample", rng)
        elbo, half = self.losses[0].begin(batch, rng, beta)
        parts = sums(elbo)
        self.losses[0].finish(half, beta, parts[1:] / len(batch), len(batch))
        self.optimizer.step(self.model.theta, self.model.gradient)
        if self.average is not None:
            self.state.add(self.model.theta, self.average)
        return parts

    def make(self, step: int, beta: Any, rngs: Iterable[np.random.Generator], parts: Array) -> Array:
        """Do this worker's part of a step; leave each share's parts of the bound in ``parts``, return their sum."""
        rows = self.order[step * self.batch_size:(step + 1) * self.batch_size]
        shares, halves = cut(len(rows)), {}
        for s, rng in zip(range(self.w, len(shares), self.n), rngs):
            batch = self.x[rows[shares[s]]]
            if self.resample:
                batch = binarize(batch, "sample", rng)
            elbo, halves[s] = self.losses[s].begin(batch, rng, beta)
            parts[s] = sums(elbo)
        if self.waits:                                 # free bits need the KL of all shares
            self.meet()
        whole = parts[:len(shares)].sum(axis=0)
        for s, half in halves.items():
            self.losses[s].finish(half, beta, whole[1:] / len(rows), len(rows))
        self.meet()
        gradient = self.model.gradient[self.here]      # that of share 0
        for s in range(1, len(shares)):                # from the first to the last: the same bits, whoever adds
            gradient += self.gradients[s][self.here]
        theta = self.model.theta[self.here]
        self.optimizer.step(theta, gradient)
        if self.average is not None:
            self.state.add(theta, self.average)
        return whole
