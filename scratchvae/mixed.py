"""p(x | z) for a table: positive numbers, columns with a likelihood each, and cells that are missing.

Given z the variables of a row are independent, so that log p(x | z) is a sum over
them.  A missing cell (NaN) is left out of the sum: this gives the log-probability of the
observed cells, log ∫ p(x | z) d(missing).  So the bound is one on log p(observed cells),
without a value made up for the rest.  MATH (4.7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import check, gaussian
from .layers import Array, Cache, Layer
from .likelihood import Likelihood

Group = tuple[Any, Array, Array]                       # a likelihood; for each variable its columns of x, and of h


class Logarithm(Layer):
    """y = log x, with y' = 1 / x: how a network sees what is positive and skewed.  MATH (4.8)."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and x as the cache."""
        return np.log(x), x                            # (4.8, first layer)

    def backward(self, dy: Array, cache: Array, input_gradient: bool = True) -> Array:
        """Return dx = dy / x."""
        x = cache
        return dy / x                                  # (4.8, first layer)


class LogNormal:
    """Each entry of x is positive, and its logarithm is normal: log x ~ N(mu, exp(logvar)).

    For what is skewed to the right, such as incomes, weights, and times.

    Parameters
    ----------
    x_dim : int
        D, the number of entries of x; h is mu and logvar side by side, of shape (n, 2 D).

    Attributes
    ----------
    first_layer : Layer
        What a model puts before the network that sees x: log x.
    """

    def __init__(self, x_dim: int) -> None:
        self.x_dim = check.size("x_dim", x_dim)
        self.n_outputs = 2 * self.x_dim
        self.first_layer = Logarithm()

    def log_prob(self, x: Array, h: Array) -> tuple[Array, Cache]:
        """Return log p(x | h) in nats: log N(log x; mu, exp(logvar)) - Σ log x.  MATH (4.8).

        Parameters
        ----------
        x : array of shape (n, D)
            Above 0.
        h : array of shape (n, 2 D)

        Returns
        -------
        log_prob : array of shape (n,)
        cache
            For `log_prob_backward`.
        """
        y = np.log(x)                                  # (n, D)   (4.8)
        log_p, cache = gaussian.log_prob(y, *gaussian.halves(h))        # (4.8)
        return log_p - y.sum(axis=-1), (x, cache)      # (4.8)

    def log_prob_backward(self, dlog_prob: Array, cache: Cache) -> tuple[Array, Array]:
        """Return dx and dh: dx = (dy - dlog_prob) / x.  MATH (4.8)."""
        x, y_cache = cache
        dy, dmu, dlogvar = gaussian.log_prob_backward(dlog_prob, y_cache)       # (4.8)
        return (dy - dlog_prob[:, None]) / x, gaussian.halves_backward(dmu, dlogvar)    # (4.8)

    def mean(self, h: Array) -> Array:
        """Return E[x | h] = exp(mu + σ²/2), of shape (n, D).  MATH (4.8)."""
        mu, logvar = gaussian.halves(h)
        return np.exp(mu + np.exp(logvar) / 2)

    def sample(self, h: Array, rng: np.random.Generator) -> Array:
        """Draw x, of shape (n, D).  MATH (4.8)."""
        mu, logvar = gaussian.halves(h)
        return np.exp(gaussian.sample(mu, logvar, rng.standard_normal(mu.shape))[0]).astype(h.dtype)

    def bias(self, x_mean: Array) -> Array:
        """Return log x_mean - 1/2 for mu, and 0 for logvar.  MATH (4.8)."""
        return np.concatenate([np.log(x_mean) - 0.5, np.zeros(self.x_dim)])

    def check_support(self, x: Array, name: str = "x") -> None:
        """Raise a ValueError unless every entry of x is above 0."""
        if x.real.min() <= 0:
            raise ValueError(f"{name} must be above 0 for a LogNormal likelihood; its values begin at {x.real.min():g}")


class Mixed:
    """Variables side by side, each with its own likelihood.

    Parameters
    ----------
    parts : sequence of likelihoods
        One for each variable, in the order of their columns: ``Gaussian(1)`` takes one
        column, ``Categorical(3)`` three.  An object that occurs several times is asked
        once for all of its variables, so that ``[Gaussian(1)] * 30`` is as fast as one.
    missing : bool, default False
        Whether x may have NaN, which says that a cell is not known.  A variable of several
        columns is missing in a row if one of them is.

    Attributes
    ----------
    x_dim, n_outputs : int
        The columns of x and of h, those of all variables side by side.
    first_layer : Layer
        What a model puts before the network that sees x: `Seen`.
    """

    def __init__(self, parts: Sequence[Likelihood], missing: bool = False) -> None:
        self.parts = check.likelihoods("parts", parts)
        self.missing = check.flag("missing", missing)
        self.x_dim = check.size("x_dim, the columns of all parts,", sum(part.x_dim for part in self.parts))
        self.n_outputs = sum(part.n_outputs for part in self.parts)
        at_x = np.split(np.arange(self.x_dim), np.cumsum([part.x_dim for part in self.parts])[:-1])
        at_h = np.split(np.arange(self.n_outputs), np.cumsum([part.n_outputs for part in self.parts])[:-1])
        found: dict[int, list[int]] = {}
        for i, part in enumerate(self.parts):
            found.setdefault(id(part), []).append(i)   # variables that have one object
        self.groups: list[Group] = [(self.parts[i[0]], np.array([at_x[j] for j in i]), np.array([at_h[j] for j in i]))
                                    for i in found.values()]
        self.first_layer = Seen(self.groups)

    def log_prob(self, x: Array, h: Array) -> tuple[Array, Cache]:
        """Return log p(x | h) in nats, a sum over the observed variables.  MATH (4.7).

        Parameters
        ----------
        x : array of shape (n, D)
            NaN where a cell is missing.
        h : array of shape (n, n_outputs)

        Returns
        -------
        log_prob : array of shape (n,)
        cache
            For `log_prob_backward`.
        """
        x = np.broadcast_to(x, (*h.shape[:-1], self.x_dim))
        log_p: Any = 0
        caches = []
        for part, at_x, at_h in self.groups:
            cells = x[..., at_x].reshape(-1, part.x_dim)                        # a row for each cell
            there = np.logical_not(np.isnan(cells).any(axis=-1))
            cells = np.where(there[:, None], cells, 1)                          # its log p will not count   (4.7)
            cell_log_p, cache = part.log_prob(cells, h[..., at_h].reshape(-1, part.n_outputs))  # (4.7)
            log_p = log_p + np.where(there, cell_log_p, 0).reshape(*h.shape[:-1], -1).sum(axis=-1)      # (4.7)
            caches.append((there, cache))
        return log_p, caches

    def log_prob_backward(self, dlog_prob: Array, cache: Cache) -> tuple[Array, Array]:
        """Return dx, dh: those of each variable in its own columns, and 0 for a cell that is missing.  MATH (4.7)."""
        n = len(dlog_prob)
        dx, dh = (np.empty((n, columns), dlog_prob.dtype) for columns in (self.x_dim, self.n_outputs))
        for (part, at_x, at_h), (there, part_cache) in zip(self.groups[::-1], cache[::-1]):
            dcell_log_p = np.where(there, np.repeat(dlog_prob, len(at_x)), 0)   # a number for each cell   (4.7)
            dcells, dh_cells = part.log_prob_backward(dcell_log_p, part_cache)  # (4.7)
            dx[:, at_x] = dcells.reshape(n, *at_x.shape)        # (4.7)
            dh[:, at_h] = dh_cells.reshape(n, *at_h.shape)      # (4.7)
        return dx, dh

    def _columns(self, h: Array, read: Callable[[Any, Array], Array]) -> Array:
        """Return x; each likelihood computes its columns from its own part of h."""
        x = np.empty((*h.shape[:-1], self.x_dim), h.dtype)
        for part, at_x, at_h in self.groups:
            x[..., at_x] = read(part, h[..., at_h].reshape(-1, part.n_outputs)).reshape(*h.shape[:-1], *at_x.shape)
        return x

    def mean(self, h: Array) -> Array:
        """Return E[x | h], of shape (n, D).  MATH (4.7)."""
        return self._columns(h, lambda part, cells: part.mean(cells))

    def sample(self, h: Array, rng: np.random.Generator) -> Array:
        """Draw x, of shape (n, D), without missing cells.  MATH (4.7)."""
        return self._columns(h, lambda part, cells: part.sample(cells, rng))

    def bias(self, x_mean: Array) -> Array:
        """Return the bias of each variable, side by side.  MATH (4.7)."""
        h = np.empty(self.n_outputs)
        for part, at_x, at_h in self.groups:
            for columns, outputs in zip(at_x, at_h):
                h[outputs] = part.bias(x_mean[columns])
        return h

    def check_support(self, x: Array, name: str = "x") -> None:
        """Raise a ValueError unless each value is one that its likelihood accepts, or missing."""
        for part, at_x, _ in self.groups:
            for columns in at_x:
                cells = x[..., columns]
                cells = cells if cells.ndim == 1 else cells[~np.isnan(cells).any(axis=-1)]
                if cells.size:
                    where = str(columns[0]) if len(columns) == 1 else f"{columns[0]}:{columns[-1] + 1}"
                    part.check_support(cells, f"{name}[{where if x.ndim == 1 else f':, {where}'}]")


class Seen(Layer):
    """How the network of q(z | x) sees a row: 0 where a cell is missing, counts as log(1 + x), what is lognormal
    as log x, all else as it is.

    Filling in 0 for q's input keeps the bound valid: any q gives a lower bound.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.layers = [(part.first_layer, at_x.ravel()) for part, at_x, _ in groups if hasattr(part, "first_layer")]

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """Return y of x's shape, and the cache.  MATH (4.7)."""
        gone = np.isnan(x)
        y = np.where(gone, 1, x)                       # 1 has a logarithm   (4.7, missing)
        caches = []
        for layer, columns in self.layers:
            y[:, columns], cache = layer.forward(y[:, columns])  # (4.7, layer)
            caches.append(cache)
        return np.where(gone, 0, y), (gone, caches)    # (4.7, seen)

    def backward(self, dy: Array, cache: Cache, input_gradient: bool = True) -> Array:
        """Return dx: 0 where a cell is missing, through its layer where a column has one, else dy.  MATH (4.7)."""
        gone, caches = cache
        dx = np.where(gone, 0, dy)                     # (4.7, missing)
        for (layer, columns), layer_cache in zip(self.layers, caches):
            dx[:, columns] = layer.backward(dx[:, columns], layer_cache)        # (4.7, layer)
        return dx
