"""Layers: the smallest things that have a forward and a backward.

The contract, the same for every part of this library::

    y, cache = layer.forward(x)         # cache: what backward will need
    dx = layer.backward(dy, cache)      # dx = d(loss)/dx, given dy = d(loss)/dy

A gradient ``dv`` is d(loss)/dv, a real number for each entry of ``v``, and has
v's shape.  The cache is returned, not hidden in the layer, so passes do not
disturb each other.  ``backward`` *writes* the gradients of the parameters into
the arrays that stand next to them (``dW``, ``db``): what they held before, such
as the gradient of the last step, is gone.

Rows are examples: x has shape (n, n_in), one row for each of the n examples.
MATH (2.2) is an equation of MATH.md, which derives what the docstrings state.

Every forward here accepts complex numbers, because the gradient checker
differentiates with a complex step (see gradcheck.py).  Two habits follow.
There is no ``abs``, which is not differentiable in the complex sense; and
``maximum``, ``minimum`` and ``>`` choose a branch, which is fine: NumPy compares
complex numbers by their real parts, and where these are equal by the imaginary
ones, so that all three choose the same.

``out=kept(shape)`` is there for speed alone: read it as if it were not there.
While a model trains, large results go into arrays that are kept from step to
step, never into one that a cache of this step still holds; elsewhere it is
``out=None``, a new array (see workspace.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .workspace import kept

Array = NDArray[Any]


def glorot(n_in: int, n_out: int, rng: np.random.Generator) -> Array:
    """Draw weights that keep the variance of tanh-like layers near constant.

    Uniform on (-a, a) with a = √(6 / (n_in + n_out)), so that
    Var W = a²/3 = 2 / (n_in + n_out): a compromise between 1/n_in, which keeps the
    variance of y = x W (a sum of n_in terms), and 1/n_out, which keeps that of
    dx = dy Wᵀ (a sum of n_out terms).  Glorot and Bengio 2010, equation 16.  MATH (2.7).

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
    a = np.sqrt(6.0 / (n_in + n_out))
    return rng.uniform(-a, a, size=(n_in, n_out))


def he(n_in: int, n_out: int, rng: np.random.Generator) -> Array:
    """Draw weights that keep the variance of ReLU layers near constant.

    Normal with Var W = 2 / n_in: as ``glorot`` for the forward pass, doubled,
    because a ReLU passes only half of what reaches it.  He et al. 2015,
    equation 10.  MATH (2.8).

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
    return np.sqrt(2.0 / n_in) * rng.standard_normal((n_in, n_out))


class Layer:
    """What a layer is; write your own by giving it ``forward`` and ``backward``.

    A parameter ``v`` is an attribute named in ``parameter_names``; next to it
    stands ``dv``, its gradient, of the same shape.  A layer without parameters,
    such as an activation, names none.  A layer is used once in a pass; see MATH (2.1).
    """

    parameter_names: tuple[str, ...] = ()

    def forward(self, x: Array) -> tuple[Array, Any]:
        """Return y and what ``backward`` will need."""
        raise NotImplementedError

    def backward(self, dy: Array, cache: Any) -> Array:
        """Return dx, and set the gradient of each parameter."""
        raise NotImplementedError


class Dense(Layer):
    """The affine map y = x W + b.  MATH (2.2).

    *Scalar case.*  y = x w + b has the derivatives ∂y/∂x = w, ∂y/∂w = x and
    ∂y/∂b = 1, so dx = dy·w, dw = x·dy and db = dy.

    *Matrix case.*  Entry by entry, y[n,j] = Σᵢ x[n,i] W[i,j] + b[j].  Each
    gradient collects dy over everything that its variable touched:

    - W[i,j] touches y[n,j] for every example n, by the factor x[n,i]:
      dW[i,j] = Σₙ x[n,i] dy[n,j].  The sum runs over the *first* index of both,
      and a matrix product sums the *last* index of its left factor: hence the
      transpose, dW = xᵀ dy.
    - b[j] touches y[n,j] for every n, by the factor 1: db[j] = Σₙ dy[n,j].
    - x[n,i] touches y[n,j] for every j, by the factor W[i,j]:
      dx[n,i] = Σⱼ dy[n,j] W[i,j].  The sum runs over the *last* index of both,
      and a matrix product sums the *first* index of its right factor: hence
      dx = dy Wᵀ.

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

    def __init__(self, n_in: int, n_out: int, rng: np.random.Generator, initialise: Any = glorot) -> None:
        self.W: Array = initialise(n_in, n_out, rng)   # (n_in, n_out)
        self.b: Array = np.zeros(n_out)                # (n_out,)
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y of shape (n, n_out), and x, which dW will need."""
        y = np.dot(x, self.W, out=kept((len(x), len(self.b))))       # y = x W
        y += self.b                                                  # + b, the same for every row
        return y, x

    def backward(self, dy: Array, cache: Array, input_gradient: bool = True) -> Array:
        """Set dW and db, return dx (an empty array if it is not wanted)."""
        x = cache
        np.dot(x.T, dy, out=self.dW)                                 # dW = xᵀ dy
        np.add.reduce(dy, axis=0, out=self.db)                       # db = Σₙ dy
        if not input_gradient:                                       # the data need no gradient
            return np.empty((len(x), 0), dy.dtype)
        return np.dot(dy, self.W.T, out=kept(x.shape))               # dx = dy Wᵀ


# Activations act on each entry alone, so their derivative is one number for
# each entry, and the chain rule is a product entry by entry: dx = dy · y'(x).


class Tanh(Layer):
    """y = tanh x, with y' = 1 - tanh² x = 1 - y²: the output is all it needs.  MATH (2.3)."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and y as the cache."""
        y = np.tanh(x, out=kept(x.shape))
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        """Return dx = dy (1 - y²)."""
        y = cache
        dx = np.multiply(y, y, out=kept(y.shape))
        np.subtract(1, dx, out=dx)
        return np.multiply(dy, dx, out=dx)


class ReLU(Layer):
    """y = max(x, 0), with y' = 1 where x > 0, else 0.

    At x = 0 itself there is a kink; like everyone, we take 0 there.  MATH (2.4).
    """

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and y as the cache: y > 0 exactly where x > 0."""
        y = np.maximum(x, 0, out=kept(x.shape))
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        """Return dx = dy where y > 0, else 0."""
        y = cache
        return np.multiply(dy, y > 0, out=kept(y.shape))


class LeakyReLU(Layer):
    """y = max(x, a x) with 0 <= a < 1: y' = 1 where x > 0, else a.  MATH (2.4).

    Parameters
    ----------
    slope : float, default 0.01
        The slope a for negative x (Maas et al. 2013).
    """

    def __init__(self, slope: float = 0.01) -> None:
        if not 0 <= slope < 1:
            raise ValueError(f"slope must lie in [0, 1), so that max(x, slope x) leaks; got {slope}")
        self.slope = slope

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and x as the cache."""
        y = np.multiply(x, self.slope, out=kept(x.shape))
        return np.maximum(x, y, out=y), x

    def backward(self, dy: Array, cache: Array) -> Array:
        """Return dx = dy where x > 0, else a dy."""
        x = cache
        dx = np.maximum(x > 0, dy.dtype.type(self.slope), out=kept(x.shape))     # 1 where x > 0, else a
        return np.multiply(dy, dx, out=dx)


def softplus(x: Array) -> Array:
    """Return log(1 + eˣ), entry by entry, without overflow.

    For x > 0, log(1 + eˣ) = log(eˣ (1 + e⁻ˣ)) = x + log(1 + e⁻ˣ).  Both signs in
    one line: max(x, 0) + log(1 + e^(-|x|)), and -|x| = min(x, -x).  MATH (2.5).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of x's shape
    """
    return np.maximum(x, 0) + np.log1p(np.exp(np.minimum(x, -x)))


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + e⁻ˣ), entry by entry, without overflow.

    For x <= 0 it is eˣ / (1 + eˣ).  Both signs in one line, with
    e = e^(-|x|) <= 1: the numerator is 1 where x > 0 and e elsewhere, which is
    max(e, [x > 0]).  MATH (2.6).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of x's shape
    """
    e = np.exp(np.minimum(x, -x))
    return np.maximum(e, x > 0) / (1 + e)


class Softplus(Layer):
    """y = log(1 + eˣ), a smooth ReLU, with y' = eˣ / (1 + eˣ) = sigmoid(x).  MATH (2.5)."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and x as the cache."""
        return softplus(x), x

    def backward(self, dy: Array, cache: Array) -> Array:
        """Return dx = dy sigmoid(x)."""
        x = cache
        return dy * sigmoid(x)


class Sigmoid(Layer):
    """y = 1 / (1 + e⁻ˣ), with y' = e⁻ˣ / (1 + e⁻ˣ)² = y (1 - y).  MATH (2.6)."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and y as the cache."""
        y = sigmoid(x)
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        """Return dx = dy y (1 - y)."""
        y = cache
        return dy * (y * (1 - y))


ACTIVATIONS: dict[str, type[Layer]] = {
    "tanh": Tanh, "relu": ReLU, "leaky_relu": LeakyReLU, "softplus": Softplus, "sigmoid": Sigmoid,
}
