"""How q and p are compared at a level: forward takes z, q and p and returns nats, backward returns dz, dq and dp.

q and p are Gaussians as a network returns them, one array [mu | logvar] of shape (n, 2 d); z is a draw from q.
There are three ways to estimate the mean of log q - log p over z ~ q.  Where neither q nor p depends on that z, all
three have the same mean:

    KL          KL( q || p )            the mean over z, in closed form
    ExactDraw   -H( q ) - log p(z)      the mean of log q in closed form, log p at the draw
    LogRatio    log q(z) - log p(z)     both at the draw

StandardKL is the KL to N(0, I), written out; it does not look at p.  A model has one for each level, chosen when it is
built or its ``consistency`` is set: StandardKL at the top; below it ExactDraw or KL; LogRatio in importance.py.
"""

from typing import Any

from . import gaussian
from .gaussian import halves, halves_backward
from .layers import Array, Cache


class KL:
    """KL( q || p ).  MATH (3.5), (8.1)."""

    def forward(self, z: Array, q: Array, p: Array) -> tuple[Array, Cache]:
        """Return kl, of shape (n,), in nats; z is not used."""
        return gaussian.kl(*halves(q), *halves(p))     # (3.5)

    def backward(self, dkl: Array, cache: Cache) -> tuple[Any, Array, Array]:
        """Return dz = 0, dq and dp."""
        dmu_q, dlogvar_q, dmu_p, dlogvar_p = gaussian.kl_backward(dkl, cache)   # (3.5)
        return 0, halves_backward(dmu_q, dlogvar_q), halves_backward(dmu_p, dlogvar_p)  # (3.1)


class StandardKL:
    """KL( q || N(0, I) ), for the top level.  MATH (3.5)."""

    def forward(self, z: Array, q: Array, p: Array) -> tuple[Array, Cache]:
        """Return kl, of shape (n,), in nats; z and p are not used."""
        return gaussian.kl_standard(*halves(q))        # (3.5, N(0, I))

    def backward(self, dkl: Array, cache: Cache) -> tuple[Any, Array, Any]:
        """Return dz = 0, dq and dp = 0."""
        dmu, dlogvar = gaussian.kl_standard_backward(dkl, cache)        # (3.5, N(0, I))
        return 0, halves_backward(dmu, dlogvar), 0     # (3.1, N(0, I))


class ExactDraw:
    """-H( q ) - log p(z).  MATH (7.3)."""

    def forward(self, z: Array, q: Array, p: Array) -> tuple[Array, Cache]:
        """Return kl, of shape (n,), in nats."""
        _, logvar_q = halves(q)
        entropy, q_cache = gaussian.entropy(logvar_q)                          # (n,)   (7.3)
        log_p, p_cache = gaussian.log_prob(z, *halves(p))                       # (n,)   (7.3)
        return -entropy - log_p, (q_cache, p_cache)    # (7.3)

    def backward(self, dkl: Array, cache: Cache) -> tuple[Array, Array, Array]:
        """Return dz, dq and dp; the entropy does not depend on mu."""
        q_cache, p_cache = cache
        dz, dmu_p, dlogvar_p = gaussian.log_prob_backward(-dkl, p_cache)        # (n, d) each   (7.3)
        dlogvar_q = gaussian.entropy_backward(-dkl, q_cache)                    # (n, d)   (7.3)
        dmu_q = 0 * dlogvar_q
        return dz, halves_backward(dmu_q, dlogvar_q), halves_backward(dmu_p, dlogvar_p)  # (3.1)


class LogRatio:
    """log q(z) - log p(z).  MATH (14.2)."""

    def forward(self, z: Array, q: Array, p: Array) -> tuple[Array, Cache]:
        """Return kl, of shape (n,), in nats."""
        return gaussian.log_ratio(z, *halves(q), *halves(p))    # (14.2)

    def backward(self, dkl: Array, cache: Cache) -> tuple[Array, Array, Array]:
        """Return dz, dq and dp; z is the point of both densities."""
        dz, dmu_q, dlogvar_q, dmu_p, dlogvar_p = gaussian.log_ratio_backward(dkl, cache)        # (14.2)
        return dz, halves_backward(dmu_q, dlogvar_q), halves_backward(dmu_p, dlogvar_p)  # (3.1)
