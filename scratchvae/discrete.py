"""p(x | z) for counts, and for categories.

Two more likelihoods, with the same methods as those of likelihood.py: `Poisson`, for
whole numbers without an upper end, and `Categorical`, for one of K kinds.
"""

from __future__ import annotations

import numpy as np

from . import check
from .gaussian import LOG_2PI
from .layers import Array, Cache, Layer

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
