"""A learned prior: the prior of a VAE is a diffusion over z, and both are trained together.

    log p(x) >= E_q[ log p(x | z) ] + H( q(z | x) ) + E_q[ log p(z) ]

is MATH (5.3) with the KL written out.  Where p(z) is N(0, I), the last two terms have a closed form.  Here
p(z) is a diffusion whose data are the draws z, and log p(z) is replaced by its bound: this is still a bound
on log p(x), and one gradient trains all of it.  The diffusion's gradient by its data, dz, moves q to where
the prior is high.

A fresh diffusion over z is N(0, I), MATH (13.12): training begins with the plain VAE.

Vahdat, Kreis and Kautz 2021 (arXiv 2106.05931).  (The latent diffusion of Rombach et al. 2022, arXiv
2112.10752, has the same parts, trained one after the other.)  MATH (15.1) to (15.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import check, gaussian
from .diffusion import Diffusion
from .gaussian import halves, halves_backward
from .layers import Array, Cache
from .objective import ELBOGradient
from .vae import VAE

LEVELS = 200                                           # that stand for infinitely many, to draw z and for log p(z)


class DiffusionPrior:
    """-H( q ) - log p(z), with the bound of a diffusion for log p(z).  MATH (15.1).

    It replaces `compare.StandardKL`; its argument p is the noise of the diffusion.
    """

    def __init__(self, diffusion: Diffusion) -> None:
        self.diffusion = diffusion

    def forward(self, z: Array, q: Array, noise: Array) -> tuple[Array, Cache]:
        """Return it for each row, of shape (n,), in nats.  MATH (15.1).

        Parameters
        ----------
        z : array of shape (n, d)
        q : array of shape (n, 2 d)
        noise : array of shape (n, 1 + 2 d)
            A time, and eps for z_1 and for z_{t+1}, side by side.
        """
        _, logvar = halves(q)
        entropy, q_cache = gaussian.entropy(logvar)                             # (n,): H( q )   (3.4)
        elbo, p_cache = self.diffusion.bound(z, [noise[:, 0], *halves(noise[:, 1:])])       # <= log p(z)   (13.4)
        return -entropy - elbo.total, (q_cache, p_cache)                  # (15.1)

    def backward(self, dkl: Array, cache: Cache) -> tuple[Array, Array, Any]:
        """Return dz, dq and, as noise has no gradient, 0; fill the gradient of the diffusion.  MATH (15.2)."""
        q_cache, p_cache = cache
        delbo = ELBOGradient(-dkl, dkl, dkl[:, None])  # of each part of the bound, in which log p(z) has a minus
        dz = self.diffusion.backward(delbo, p_cache, input_gradient=True)       # (n, d): z is its data
        dlogvar = gaussian.entropy_backward(-dkl, q_cache)                      # (n, d)
        return dz, halves_backward(np.zeros_like(dlogvar), dlogvar), 0


class LatentDiffusion(VAE):
    """A VAE whose prior p(z) is a diffusion with infinitely many levels; its bound and backward are those of `VAE`.

    Parameters
    ----------
    x_dim, latent_dim : int
        Columns of x and of z.
    hidden_dims : sequence of int, default (64,)
        Hidden layers of q's network; p's has the same in reverse.
    prior_hidden_dims : sequence of int, default (64, 64)
        Hidden layers of the prior's network.
    log_noise : sequence of 2 floats, default (-6, 6)
        gamma of the prior, from its first to its last level; see `Diffusion`.
    rng : numpy.random.Generator or int, default 0
        The source of the first weights, or a seed.
    **options
        activation, likelihood, x_mean and dtype, as for `VAE`.

    Attributes
    ----------
    prior : Diffusion
        p(z).  Its parameters lie in the model's theta, under the name "prior".

    Raises
    ------
    ValueError
        If an argument is not of this kind; the message names it.
    """

    def __init__(self, x_dim: int, latent_dim: int, hidden_dims: Sequence[int] = (64,), *,
                 prior_hidden_dims: Sequence[int] = (64, 64), log_noise: Sequence[float] = (-6.0, 6.0),
                 rng: Any = 0, **options: Any) -> None:
        rng, prior_hidden_dims = check.generator("rng", rng), check.sizes("prior_hidden_dims", prior_hidden_dims)
        super().__init__(x_dim, latent_dim, hidden_dims, rng=rng, **options)
        self.prior = Diffusion(latent_dim, np.inf, prior_hidden_dims, log_noise=log_noise, variance="forward",
                               likelihood="gaussian", rng=rng, dtype=self.dtype)
        self.compare = DiffusionPrior(self.prior)
        self.pack(**self.networks, prior=self.prior.f)

    def astype(self, dtype: DTypeLike) -> Any:
        """Return a copy of the model in another precision: float32, float64 or complex128."""
        twin = super().astype(dtype)
        twin.prior.dtype = twin.dtype
        return twin

    def draw_noise(self, n: int, rng: np.random.Generator) -> Array:
        """Draw eps ~ N(0, I), and the noise of the prior, side by side: of shape (n, 1 + 3 latent_dim)."""
        rng = check.generator("rng", rng)
        eps, (time, *of_prior) = super().draw_noise(n, rng), self.prior.draw_noise(n, rng)
        return np.concatenate([eps, time[:, None], *of_prior], axis=1)

    def check_noise(self, noise: Any, n: int) -> Array:
        """Return the noise in the model's precision, or raise a ValueError."""
        noise, d = check.array("noise", noise, (n, 1 + 3 * self.latent_dim), self.dtype), self.latent_dim
        self.prior.check_noise([noise[:, d], *halves(noise[:, d + 1:])], n)
        return noise

    def log_weight(self, x: Array, n_samples: int, rng: np.random.Generator) -> Array:
        """Return log p(x, z) - log q(z | x) at draws z ~ q(z | x), of shape (n_samples, n).

        The prior has 200 levels here.  They are drawn, too: it is the weight of a path.  MATH (15.3).
        """
        q = np.tile(self.q.forward(x)[0], (n_samples, 1))                       # (n_samples n, 2 d)
        z, _ = gaussian.draw(q, self.normal(rng, len(q), self.latent_dim))
        h = self.p.forward(z)[0].reshape(n_samples, len(x), -1)
        log_p_z = self.prior.with_levels(LEVELS).log_weight(z, 1, rng)          # (1, n_samples n): log p/q of its path
        log_ratio = gaussian.log_prob(z, *halves(q))[0] - log_p_z               # log q(z | x) - log p(z)
        return self.likelihood.log_prob(x, h)[0] - log_ratio.reshape(n_samples, len(x))

    def sample(self, n: int, rng: int | np.random.Generator | None = None, draw: bool = False) -> Array:
        """Draw z from the learned prior, return E[x | z]; else as `VAE.sample`.  MATH (15.3)."""
        rng, draw = check.generator("rng", rng), check.flag("draw", draw)
        return self.decode(self.prior.with_levels(LEVELS).sample(n, rng, draw=True), rng if draw else None)
