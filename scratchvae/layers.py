"""Layers: the smallest things that have a forward and a backward.

The contract, the same for every part of this library::

    y, cache = layer.forward(x)         # cache: what backward will need
    dx = layer.backward(dy, cache)      # dx = d(loss)/dx, given dy = d(loss)/dy

A gradient ``dv`` is d(loss)/dv, a real number for each entry of ``v``, and has
v's shape.  The cache is returned, not hidden in the layer, so passes do not
disturb each other.  ``backward`` *writes* the gradients of the parameters into
the arrays next to them (``dW``, ``db``), over what they contained before, such as
the gradient of the last step.

Rows are examples: x has shape (n, n_in), one row for each of the n examples.
MATH (1.2) is an equation of MATH.md, which derives what the docstrings state.

Every forward here accepts complex numbers, because the gradient checker
differentiates with a complex step (see verify/gradcheck.py).  Two habits follow.
There is no ``abs``, which is not differentiable in the complex sense; and
``maximum``, ``minimum`` and ``>`` choose a branch, which is fine: NumPy compares
complex numbers by their real parts, and where these are equal by the imaginary
ones, so that all three choose the same.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import check

Array = NDArray[Any]
Generator: TypeAlias = "np.random.Generator"           # as text: numpy.random is loaded when it is needed
Seed: TypeAlias = "int | np.random.Generator | None"   # a seed, a generator, or None for fresh randomness
Cache = Any                                            # what a forward leaves for its own backward, and for no one else


def glorot(n_in: int, n_out: int, rng: Generator) -> Array:
    """Draw weights that keep the variance of tanh-like layers near constant.

    Uniform on (-a, a) with a = √(6 / (n_in + n_out)), so that
    Var W = 2 / (n_in + n_out).  Glorot and Bengio 2010, equation 16.  MATH (1.7).

    Parameters
    ----------
    n_in, n_out : int
        Columns of x and of y.
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    array of shape (n_in, n_out)
    """
    n_in, n_out, rng = check.layer(n_in, n_out, rng)
    a = np.sqrt(6.0 / (n_in + n_out))
    return rng.uniform(-a, a, size=(n_in, n_out))


def he(n_in: int, n_out: int, rng: Generator) -> Array:
    """Draw weights that keep the variance of ReLU layers near constant.

    Normal with Var W = 2 / n_in.  He et al. 2015, equation 10.  MATH (1.8).

    Parameters
    ----------
    n_in, n_out : int
        Columns of x and of y.
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    array of shape (n_in, n_out)
    """
    n_in, n_out, rng = check.layer(n_in, n_out, rng)
    return np.sqrt(2.0 / n_in) * rng.standard_normal((n_in, n_out))


class Layer:
    """What a layer is; write your own by giving it ``forward`` and ``backward``.

    A parameter ``v`` is an attribute named in ``parameter_names``; next to it
    is ``dv``, its gradient, of the same shape.  A layer without parameters,
    such as an activation, names none.  A layer is used once in a pass; see MATH (1.1).
    """

    parameter_names: tuple[str, ...] = ()

    forward: Callable[[Array], tuple[Array, Cache]]    # returns y and what backward will need
    backward: Callable[..., Array]                     # takes dy and the cache, sets the gradients, returns dx


class Dense(Layer):
    """The affine map y = x W + b: dW = xᵀ dy, db = Σₙ dy, dx = dy Wᵀ.  MATH (1.2).

    Parameters
    ----------
    n_in, n_out : int
        Columns of x and of y.
    rng : numpy.random.Generator
        The source of the first weights; the first bias is zero.
    initialise : callable, default `glorot`
        ``glorot`` or ``he``.
    """

    parameter_names = ("W", "b")

    def __init__(self, n_in: int, n_out: int, rng: Generator,
                 initialise: Callable[[int, int, Generator], Array] = glorot) -> None:
        n_in, n_out, rng = check.layer(n_in, n_out, rng, initialise)
        self.W = initialise(n_in, n_out, rng)          # (n_in, n_out)
        self.b: Array = np.zeros(n_out)                # (n_out,)
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y of shape (n, n_out), and x, which dW will need."""
        return x @ self.W + self.b, x                  # b is added to every row   (1.2)

    def backward(self, dy: Array, cache: Array, input_gradient: bool = True) -> Array:
        """Set dW and db, return dx (an empty array if it is not wanted)."""
        x = cache
        np.dot(x.T, dy, out=self.dW)                   # dW = xᵀ dy: (n_in, n) (n, n_out)   (1.2)
        dy.sum(axis=0, out=self.db)                    # db = Σₙ dy   (1.2)
        if not input_gradient:                         # the data need no gradient
            return np.empty((len(x), 0), dy.dtype)
        return dy @ self.W.T                           # (n, n_out) (n_out, n_in)   (1.2)


# Activations act on each entry alone, so their derivative is one number for
# each entry, and the chain rule is a product entry by entry: dx = dy · y'(x).


class Tanh(Layer):
    """y = tanh x, with y' = 1 - tanh² x = 1 - y²: the output is all it needs.  MATH (1.3)."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and y as the cache."""
        y = np.tanh(x)                                 # (1.3)
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        """Return dx = dy (1 - y²)."""
        y = cache
        return dy * (1 - y * y)                        # (1.3)


class ReLU(Layer):
    """y = max(x, 0), with y' = 1 where x > 0, else 0.

    At x = 0 itself there is a kink, and no derivative; we take 0 there.  MATH (1.4).
    """

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and y as the cache: y > 0 exactly where x > 0."""
        y = np.maximum(x, 0)                           # (1.4, ReLU)
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        """Return dx = dy where y > 0, else 0."""
        y = cache
        return dy * (y > 0)                            # (1.4, ReLU)


class LeakyReLU(Layer):
    """y = max(x, slope · x) with 0 <= slope < 1: y' = 1 where x > 0, else the slope.  MATH (1.4).

    Parameters
    ----------
    slope : float, default 0.01
        The slope for negative x (Maas et al. 2013).
    """

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = check.number("slope", slope, 0, 1)        # so that max(x, slope x) is x for positive x

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and x as the cache."""
        return np.maximum(x, self.slope * x), x        # (1.4)

    def backward(self, dy: Array, cache: Array) -> Array:
        """Return dx = dy where x > 0, else slope · dy."""
        x = cache
        return dy * np.maximum(x > 0, self.slope, dtype=dy.dtype)      # faster than np.where   (1.4)


def softplus(x: Array) -> Array:
    """Return log(1 + eˣ), entry by entry, without overflow.

    max(x, 0) + log(1 + e^(-|x|)), where -|x| = min(x, -x).  MATH (1.5).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of x's shape
    """
    return np.maximum(x, 0) + np.log1p(np.exp(np.minimum(x, -x)))       # (1.5)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + e⁻ˣ) = eˣ / (1 + eˣ), entry by entry, without overflow.

    e^min(x, 0) / (1 + e^(-|x|)): no exponent is above 0.  MATH (1.6).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of x's shape
    """
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(np.minimum(x, -x)))   # (1.6)


class Softplus(Layer):
    """y = log(1 + eˣ), a smooth ReLU, with y' = eˣ / (1 + eˣ) = sigmoid(x).  MATH (1.5)."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and x as the cache."""
        return softplus(x), x                          # (1.5)

    def backward(self, dy: Array, cache: Array) -> Array:
        """Return dx = dy sigmoid(x)."""
        x = cache
        return dy * sigmoid(x)                         # (1.5)


class Sigmoid(Layer):
    """y = 1 / (1 + e⁻ˣ), with y' = e⁻ˣ / (1 + e⁻ˣ)² = y (1 - y).  MATH (1.6)."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and y as the cache."""
        y = sigmoid(x)                                 # (1.6)
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        """Return dx = dy y (1 - y)."""
        y = cache
        return dy * y * (1 - y)                        # (1.6)


ACTIVATIONS: dict[str, Callable[..., Layer]] = {      # for your own see mlp.MLP
    "tanh": Tanh, "relu": ReLU, "leaky_relu": LeakyReLU, "softplus": Softplus, "sigmoid": Sigmoid}
