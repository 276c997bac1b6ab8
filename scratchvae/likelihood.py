"""p(x | z): how a decoder's output h is read as a distribution over x.

Each likelihood needs a number of outputs h for each example (``n_outputs``), and has
``log_prob`` with its backward, the mean of x, a sampler, a check of the data, and the
output bias that makes a fresh decoder return the data's mean.  `Likelihood` lists them: write your own by
giving it these.  (Two things it may have besides, as those of mixed.py do:
``first_layer``, a layer that a model puts before the network that sees x, and whose
backward takes ``input_gradient`` as that of Dense; and
``missing``, True if x may have NaN.)
"""

from typing import Protocol

import numpy as np

from . import check, gaussian
from .layers import Array, Cache, Generator, sigmoid


class Likelihood(Protocol):
    """What a model needs of p(x | z); the docstrings of `Bernoulli` say more."""

    x_dim: int                                         # the columns of x
    n_outputs: int                                     # the columns of h

    def log_prob(self, x: Array, h: Array, /) -> tuple[Array, Cache]: ...

    def log_prob_backward(self, dlog_prob: Array, cache: Cache, /) -> tuple[Array, Array]: ...

    def mean(self, h: Array, /) -> Array: ...

    def sample(self, h: Array, rng: Generator, /) -> Array: ...

    def bias(self, x_mean: Array, /) -> Array: ...

    def check_support(self, x: Array, name: str = "x", /) -> None: ...


class Bernoulli:
    """Each entry of x is 1 with probability sigmoid(logit), else 0.

    Grey values in [0, 1] are accepted, as is common.  Then ``log_prob`` is the mean of
    log p(b | z) over the binary images b that one may draw with the grey values as
    probabilities, and a bound or a log p(x) computed with it is a lower bound on the
    mean log p(b).  It is not a log-probability of the grey image itself.

    Parameters
    ----------
    x_dim : int
        D, the number of entries of x; h is the logits, of shape (n, D).
    """

    def __init__(self, x_dim: int) -> None:
        self.x_dim = self.n_outputs = check.size("x_dim", x_dim)

    def log_prob(self, x: Array, logits: Array) -> tuple[Array, Cache]:
        """Return log p(x | logits) in nats: Σ [ x l - softplus(l) ], with l the logit.

        No probability that could round to 0 is formed, so log p is finite for every l.  MATH (4.1).

        Parameters
        ----------
        x : array of shape (n, D)
            In [0, 1].
        logits : array of shape (n, D)
            Any real numbers.

        Returns
        -------
        log_prob : array of shape (n,)
        cache
            For `log_prob_backward`.
        """
        e = np.exp(np.minimum(logits, -logits))        # e^(-|l|) of softplus(l) = max(l, 0) + log(1 + e^(-|l|))   (4.1)
        log_p = x * logits - np.maximum(logits, 0) - np.log1p(e)        # (4.1)
        return log_p.sum(axis=-1), (x, logits, e)      # (4.1)

    def log_prob_backward(self, dlog_prob: Array, cache: Cache) -> tuple[Array, Array]:
        """Return dx, dlogits: ∂/∂x = l, and ∂/∂l = x - s(l), where s is the sigmoid, softplus'.  MATH (4.1)."""
        x, logits, e = cache
        tail = e / (1 + e)                             # sigmoid(-|l|); sigmoid(l) is 1 - tail, or tail if l < 0   (4.1)
        dx = dlog_prob[:, None] * logits               # (4.1)
        dlogits = dlog_prob[:, None] * (x - ~np.signbit(logits) + np.copysign(tail, logits))  # x - s(l)   (4.1)
        return dx, dlogits

    def mean(self, logits: Array) -> Array:
        """Return E[x | logits], the probability of a 1, of the logits' shape.  MATH (4.3)."""
        return sigmoid(logits)

    def sample(self, logits: Array, rng: Generator) -> Array:
        """Draw x, of the logits' shape.  MATH (4.3)."""
        return (rng.random(logits.shape) < self.mean(logits)).astype(logits.dtype)

    def bias(self, x_mean: Array) -> Array:
        """Return the logits of the pixel means, kept off 0 and 1, whose logits are infinite.  MATH (4.3)."""
        p = np.clip(x_mean, 0.001, 0.999)
        return np.log(p / (1 - p))

    def check_support(self, x: Array, name: str = "x") -> None:
        """Raise a ValueError unless every entry of x lies in [0, 1]."""
        low, high = x.real.min(), x.real.max()
        if low < 0 or high > 1:
            hint = " (negative: use 'gaussian')" if low < 0 else " (divide 8-bit pixels by 255)" if high < 256 else ""
            raise ValueError(f"{name} must lie in [0, 1] for a Bernoulli likelihood; "
                             f"its values go from {low:g} to {high:g}{hint}")


class Gaussian:
    """Each entry of x is normal: N(mu, exp(logvar)).

    Parameters
    ----------
    x_dim : int
        D, the number of entries of x.
    logvar : float, optional
        A number fixes the variance of every entry; then h is mu, of shape
        (n, D).  Without it the network learns one for each entry and example,
        and h is mu and logvar side by side, of shape (n, 2 D).  Then log p(x) has
        no upper limit: an entry that never varies drives its logvar to -∞.
    """

    def __init__(self, x_dim: int, logvar: float | None = None) -> None:
        self.x_dim = check.size("x_dim", x_dim)
        self.logvar = None if logvar is None else check.number("logvar", logvar, -np.inf, open_low=True)
        self.n_outputs = self.x_dim if logvar is not None else 2 * self.x_dim

    def _mu_logvar(self, h: Array) -> tuple[Array, Array]:
        """Return mu and logvar: the two halves of h, or h and one number.  MATH (4.2)."""
        if self.logvar is None:
            return gaussian.halves(h)                  # (3.1)
        return h, np.full(1, self.logvar, h.real.dtype)          # one number for all entries

    def log_prob(self, x: Array, h: Array) -> tuple[Array, Cache]:
        """Return log p(x | h) in nats, with the constant -(D/2) log 2π: `gaussian.log_prob`.  MATH (4.2).

        Parameters
        ----------
        x : array of shape (n, D)
        h : array of shape (n, n_outputs)

        Returns
        -------
        log_prob : array of shape (n,)
        cache
            For `log_prob_backward`.
        """
        mu, logvar = self._mu_logvar(h)
        return gaussian.log_prob(x, mu, logvar)        # (4.2)

    def log_prob_backward(self, dlog_prob: Array, cache: Cache) -> tuple[Array, Array]:
        """Return dx, dh.  MATH (4.2)."""
        dx, dmu, dlogvar = gaussian.log_prob_backward(dlog_prob, cache)  # (4.2)
        return dx, dmu if self.logvar is not None else gaussian.halves_backward(dmu, dlogvar)   # (4.2)

    def mean(self, h: Array) -> Array:
        """Return E[x | h], of shape (n, D).  MATH (4.3)."""
        return self._mu_logvar(h)[0]

    def sample(self, h: Array, rng: Generator) -> Array:
        """Draw x, of shape (n, D).  MATH (4.3)."""
        mu, logvar = self._mu_logvar(h)
        return gaussian.sample(mu, logvar, rng.standard_normal(mu.shape))[0].astype(h.dtype)

    def bias(self, x_mean: Array) -> Array:
        """Return x_mean for mu, and 0 for logvar where it is learned.  MATH (4.3)."""
        return np.concatenate([x_mean, np.zeros(self.n_outputs - self.x_dim)])

    def check_support(self, x: Array, name: str = "x") -> None:
        """Do nothing: every finite number is allowed."""


LIKELIHOODS: dict[str, type[Bernoulli] | type[Gaussian]] = {"bernoulli": Bernoulli, "gaussian": Gaussian}
