"""p(x | z) for the columns of a table: counts, categories, positive numbers; several kinds side by side; missing cells.

Likelihoods with the same methods as those of likelihood.py: `Poisson`, for whole numbers without an upper end,
`Categorical`, for one of K kinds, and `LogNormal`, for what is positive and skewed.  `Mixed` is a table of them.

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
from .gaussian import LOG_2PI
from .layers import Array, Cache, Layer
from .likelihood import Likelihood

Group = tuple[Any, Array, Array]                       # a likelihood; for each variable its columns of x, and of h
SHIFT = 10                                             # from here on, five terms of Stirling's series are enough


def log_factorial(x: Array) -> tuple[Array, Array]:
    """Return log x! = log Γ(x + 1), entry by entry, for every real x > -1.

    As w! = w (w - 1)!, log x! = log (x + 10)! - Σ log(x + k) over k = 1, ..., 10; and for
    w! with w >= 10, with u = w + 1, Stirling's series is exact to rounding:

        log w! = (u - 1/2) log u - u + (1/2) log 2π + 1/(12 u) - 1/(360 u³) + ...

    MATH (4.4).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    log_factorial : array of x's shape
    cache
        For `log_factorial_backward`.
    """
    u = x + (SHIFT + 1)                                # (4.4)
    v = 1 / (u * u)                                    # (4.4)
    series = (1 / 12 - v * (1 / 360 - v * (1 / 1260 - v * (1 / 1680 - v / 1188)))) / u  # (4.4)
    below = sum(np.log(x + k) for k in range(1, SHIFT + 1))     # (4.4)
    return (u - 0.5) * np.log(u) - u + 0.5 * LOG_2PI + series - below, x        # (4.4)


def log_factorial_backward(dlog_factorial: Array, cache: Array) -> Array:
    """Return dx: the derivative of each term, log u - 1/(2u) - 1/(12 u²) + ... - Σ 1/(x + k).  MATH (4.4)."""
    x = cache
    u = x + (SHIFT + 1)                                # (4.4)
    v = 1 / (u * u)                                    # (4.4)
    slope = -(1 / 12 - v * (1 / 120 - v * (1 / 252 - v * (1 / 240 - v / 132)))) * v     # (4.4)
    slope_below = sum(1 / (x + k) for k in range(1, SHIFT + 1))  # (4.4)
    return dlog_factorial * (np.log(u) - 0.5 / u + slope - slope_below)  # (4.4)


class LogOnePlus(Layer):
    """y = log(1 + x), with y' = 1 / (1 + x): how a network sees counts, which may be large.  MATH (4.5)."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return y, and x as the cache."""
        return np.log1p(x), x                          # (4.5, first layer)

    def backward(self, dy: Array, cache: Array, input_gradient: bool = True) -> Array:
        """Return dx = dy / (1 + x)."""
        x = cache
        return dy / (1 + x)                            # (4.5, first layer)


class Poisson:
    """Each entry of x is a count, 0, 1, 2, ..., with mean e^h: h is the logarithm of the rate.

    The terms of log p grow like x log x, so that float32 loses some 1e-7 x log x nats
    of each entry, 0.01 where x is 10,000: take float64 for larger counts.

    Parameters
    ----------
    x_dim : int
        D, the number of entries of x; h has shape (n, D).

    Attributes
    ----------
    first_layer : Layer
        What a model puts before the network that sees x: log(1 + x).
    """

    def __init__(self, x_dim: int) -> None:
        self.x_dim = self.n_outputs = check.size("x_dim", x_dim)
        self.first_layer = LogOnePlus()

    def log_prob(self, x: Array, h: Array) -> tuple[Array, Cache]:
        """Return log p(x | h) in nats: Σ [ x h - e^h - log x! ].  MATH (4.5).

        Parameters
        ----------
        x : array of shape (n, D)
            Counts.  (At other x above -1 it is a smooth function, and no probability.)
        h : array of shape (n, D)
            Logarithms of rates, any real numbers.

        Returns
        -------
        log_prob : array of shape (n,)
        cache
            For `log_prob_backward`.
        """
        rate = np.exp(h)                               # (4.5)
        constant, f_cache = log_factorial(x)           # it does not depend on h   (4.5)
        return (x * h - rate - constant).sum(axis=-1), (x, h, rate, f_cache)    # (4.5)

    def log_prob_backward(self, dlog_prob: Array, cache: Cache) -> tuple[Array, Array]:
        """Return dx, dh: ∂/∂h = x - e^h, and ∂/∂x = h - (log x!)'.  MATH (4.5)."""
        x, h, rate, f_cache = cache
        dh = dlog_prob[:, None] * (x - rate)           # (4.5)
        dx = dlog_prob[:, None] * h + log_factorial_backward(-dlog_prob[:, None], f_cache)      # (4.5)
        return dx, dh

    def mean(self, h: Array) -> Array:
        """Return E[x | h], the rate, of h's shape.  MATH (4.5)."""
        return np.exp(h)

    def sample(self, h: Array, rng: np.random.Generator) -> Array:
        """Draw x, of h's shape (h above 41 as 41: NumPy draws no larger counts).  MATH (4.5)."""
        return rng.poisson(np.exp(np.minimum(h, 41))).astype(h.dtype)

    def bias(self, x_mean: Array) -> Array:
        """Return the logarithm of the means, kept off 0, where it is infinite.  MATH (4.5)."""
        return np.log(np.maximum(x_mean, 0.001))

    def check_support(self, x: Array, name: str = "x") -> None:
        """Raise a ValueError unless all are whole numbers from 0 on; a mean, of shape (D,), may have fractions."""
        low, fractions = x.real.min(), x.real[x.real != np.floor(x.real)]
        if low < 0:
            raise ValueError(f"{name} must not be below 0 for a Poisson likelihood, which is over counts; "
                             f"its values begin at {low:g}")
        if fractions.size and x.ndim > 1:
            raise ValueError(f"{name} must be whole numbers for a Poisson likelihood, which is over counts; "
                             f"it has {fractions[0]:g}")


class Categorical:
    """x is one of K kinds, a row with one 1 and otherwise 0 ("one-hot"): kind k with probability softmax(logits)_k.

    Several such variables side by side: see mixed.py.

    Parameters
    ----------
    x_dim : int
        K, at least 2; h is the logits, of shape (n, K).
    """

    def __init__(self, x_dim: int) -> None:
        self.x_dim = self.n_outputs = check.size("x_dim", x_dim, 2)

    def _log_softmax(self, logits: Array) -> Array:
        """Return log_p, the logarithm of each kind's probability.  MATH (4.6)."""
        top = logits.max(axis=-1, keepdims=True)       # taken off, so that no exponent is above 0   (4.6)
        return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))  # (4.6)

    def log_prob(self, x: Array, logits: Array) -> tuple[Array, Cache]:
        """Return log p(x | logits) in nats: Σₖ x_k (l_k - log Σⱼ exp l_j).  MATH (4.6).

        Parameters
        ----------
        x : array of shape (n, K)
            One-hot.
        logits : array of shape (n, K)
            Any real numbers; the same number added to all of a row changes nothing.

        Returns
        -------
        log_prob : array of shape (n,)
        cache
            For `log_prob_backward`.
        """
        log_p = self._log_softmax(logits)              # of each kind   (4.6)
        return (x * log_p).sum(axis=-1), (x, log_p)    # (4.6)

    def log_prob_backward(self, dlog_prob: Array, cache: Cache) -> tuple[Array, Array]:
        """Return dx, dlogits: ∂/∂x_k = log p_k, and ∂/∂l_k = x_k - p_k, where Σ x = 1.  MATH (4.6)."""
        x, log_p = cache
        dx = dlog_prob[:, None] * log_p                # (4.6)
        dlogits = dlog_prob[:, None] * (x - x.sum(axis=-1, keepdims=True) * np.exp(log_p))      # (4.6)
        return dx, dlogits

    def mean(self, logits: Array) -> Array:
        """Return E[x | logits], the probability of each kind, of the logits' shape.  MATH (4.6)."""
        return np.exp(self._log_softmax(logits))

    def sample(self, logits: Array, rng: np.random.Generator) -> Array:
        """Draw x, one-hot, of the logits' shape: the first kind up to which the probabilities exceed u.  MATH (4.6)."""
        share = self.mean(logits).cumsum(axis=-1)
        u = rng.random((*logits.shape[:-1], 1))
        kind = (share / share[..., -1:] <= u).sum(axis=-1)                     # the last share is 1, and u below it
        return np.eye(self.x_dim, dtype=logits.dtype)[kind]

    def bias(self, x_mean: Array) -> Array:
        """Return the logarithm of the shares of the kinds, kept off 0, where it is infinite.  MATH (4.6)."""
        return np.log(np.maximum(x_mean, 0.001))

    def check_support(self, x: Array, name: str = "x") -> None:
        """Raise a ValueError unless every row has one 1 and otherwise 0; a mean, of shape (K,), may lie between."""
        kinds = (x.real == 0) | (x.real == 1) if x.ndim > 1 else x.real >= 0
        if not (kinds.all() and np.allclose(x.real.sum(axis=-1), 1, atol=1e-3)):
            raise ValueError(f"{name} must have one 1 among the {self.x_dim} columns of a row, and otherwise 0, for a "
                             "Categorical likelihood")


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
