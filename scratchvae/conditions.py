"""Conditions: p(x | y), for a label y beside x in each row.

    log p(x | y) >= E_q[ log p(x | z, y) ] - KL( q(z | x, y) || p(z) )

Nothing in the derivation of a bound changes if every density is conditioned on the same y.  So each network of
any model sees y as further columns of its input, and that is all.  For the first layer these columns are further
rows of W, y V beside x W + b; they begin at 0, so that a fresh model does not see its label.

A row of the data is x and y side by side, [ x | y ].  y of zeros only may stand for "no label": if the label of
some rows is dropped in training, the same network learns p(x | y) and p(x), and the difference of the two
scores is that of log p(y | x).  This is what guidance needs.  MATH (15.4), (15.5).
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import check
from .layers import Array, Cache, Dense
from .mlp import MLP
from .model import Model
from .objective import ELBO, ELBOGradient


class Told(Dense):
    """A Dense layer that sees a label beside its input; it shares the parameters of another.  MATH (15.4)."""

    def __init__(self, dense: Dense, label: Array) -> None:
        vars(self).update(vars(dense))                 # W, b and their gradients: the same arrays
        self.label = label                             # (n, y_dim), for x of n rows, or of n rows several times

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y of shape (n, n_out), and the input with its label, which dW will need."""
        return super().forward(np.concatenate([x, np.tile(self.label, (len(x) // len(self.label), 1))], axis=1))

    def backward(self, dy: Array, cache: Array, input_gradient: bool = True) -> Array:
        """Set dW, db and ``dlabel``, return dx (an empty array if it is not wanted)."""
        dx = super().backward(dy, cache, input_gradient)
        if input_gradient:                             # what is used several times has the sum of its uses
            self.dlabel = dx[:, -self.label.shape[1]:].reshape(-1, *self.label.shape).sum(axis=0)
        return dx[:, :-self.label.shape[1]]


class Conditional(Model):
    """A model of x given a label y: all its networks see y.  (A learned prior does not.)

    Parameters
    ----------
    model : VAE, HVAE, TopDown or Diffusion
        Of x alone.  A copy of it is made, with further rows in the first W of each network.
    y_dim : int
        Columns of y; of a class, as many as there are classes, with a 1 in that of the class and else 0.

    Attributes
    ----------
    model : Model
        The copy.  Its networks need a label: see `given`.

    Raises
    ------
    ValueError
        If an argument is not of this kind; the message names it.
    """

    def __init__(self, model: Any, y_dim: int) -> None:
        if not isinstance(model, Model) or isinstance(model, Conditional) or not model.networks:
            raise ValueError(f"model must be a VAE, an HVAE, a TopDown or a Diffusion; got {check.shown(model)}")
        self.model, self.y_dim = copy.deepcopy(model), check.size("y_dim", y_dim)
        self.x_dim, self.latent_dims = model.x_dim, model.latent_dims
        self.likelihood, self.dtype = model.likelihood, model.dtype
        for network in self.told.values():
            first = network.layers["dense1"]
            first.W = np.concatenate([first.W, np.zeros((y_dim, first.W.shape[1]))])
        self.pack(**self.model.networks)

    @property
    def told(self) -> dict[str, MLP]:
        """The networks that see the label."""
        return {name: network for name, network in self.model.networks.items() if name != "prior"}

    def astype(self, dtype: DTypeLike) -> Any:
        """Return a copy of the model in another precision: float32, float64 or complex128."""
        twin = super().astype(dtype)
        for inner in (twin.model, getattr(twin.model, "prior", twin.model)):
            inner.dtype = twin.dtype
        return twin

    def given(self, y: ArrayLike) -> Any:
        """Return the model of x given this label, of shape (y_dim,): it samples, encodes and measures as any other.

        MATH (15.5).  It shares the parameters; it is not for training.
        """
        return self.beside(check.array("y", y, (self.y_dim,), self.dtype)[None])

    def beside(self, y: Array) -> Any:
        """Return the model of rows x that have these labels, of shape (n, y_dim), in their order."""
        swapped = {}
        for network in self.told.values():
            swapped[id(network)] = twin = copy.copy(network)
            twin.layers = {**network.layers, "dense1": Told(network.layers["dense1"], y)}

        def swap(part: Any) -> Any:
            return {key: swap(value) for key, value in part.items()} if isinstance(part, dict) else \
                swapped.get(id(part), part)

        given = object.__new__(type(self.model))       # copy.copy would lay out its parameters anew
        given.__dict__.update(swap(vars(self.model)))
        return given

    def split(self, rows: Array) -> tuple[Any, Array]:
        """Return the model of these rows' x, and x."""
        return self.beside(rows[:, self.x_dim:]), rows[:, :self.x_dim]

    def check_x(self, x: ArrayLike) -> Array:
        """Return rows [ x | y ] in the model's precision, or raise a ValueError that says what is wrong with them."""
        rows = check.array("x, with its labels beside it,", x, ("n", self.x_dim + self.y_dim), self.dtype, True)
        y = check.array("the labels beside x", rows[:, self.x_dim:], ("n", self.y_dim), self.dtype)
        return np.concatenate([self.model.check_x(rows[:, :self.x_dim]), y], axis=1)

    def draw_noise(self, n: int, rng: np.random.Generator) -> Any:
        """Draw the noise of one forward pass over n examples."""
        return self.model.draw_noise(n, rng)

    def check_noise(self, noise: Any, n: int) -> Any:
        """Return the noise in the model's precision, or raise a ValueError."""
        return self.model.check_noise(noise, n)

    def bound(self, x: Array, noise: Any) -> tuple[ELBO, Cache]:
        """Return the bound on log p(x | y) for each row [ x | y ], and a cache; see `Model.forward`.  MATH (15.4)."""
        model, x = self.split(x)
        elbo, cache = model.bound(x, noise)
        return elbo, (model, cache)

    def backward(self, delbo: ELBOGradient, cache: Cache, input_gradient: bool = False) -> Array:
        """Fill ``gradient``; return that by the rows, x and y, if it is wanted.  MATH (15.4)."""
        model, cache = cache
        dx = model.backward(delbo, cache, input_gradient)
        if not input_gradient:
            return dx
        dy = sum(model.networks[name].layers["dense1"].dlabel for name in self.told)         # used by each of them
        return np.concatenate([dx, dy], axis=1)

    def log_weight(self, x: Array, n_samples: int, rng: np.random.Generator) -> Array:
        """Return log p(x, z | y) - log q(z | x, y) at draws z ~ q(z | x, y), of shape (n_samples, n).  MATH (5.5)."""
        model, x = self.split(x)
        return model.log_weight(x, n_samples, rng)

    def sample(self, n: int, rng: Any = None, draw: bool = False, **options: Any) -> Array:
        """Draw x as the model's own ``sample`` does, for classes 0, 1, ... in turn; `given` takes one label."""
        y = np.resize(np.eye(self.y_dim, dtype=self.dtype), (check.size("n", n), self.y_dim))
        return self.beside(y).sample(n, rng, draw=draw, **options)
