"""The variational autoencoder, written out.

    q(z | x) = N(mu, exp(logvar)), mu and logvar from a network that sees x
    p(z)     = N(0, I)
    p(x | z) a likelihood, its parameters from a network that sees z

    log p(x) >= E_q[ log p(x | z) ] - KL( q(z | x) || p(z) )

Kingma and Welling 2014 (arXiv 1312.6114), equation 3; MATH (5.2), (5.3).  The
expectation is estimated with one draw of z; the KL has a closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import check, gaussian
from .layers import Array, Cache
from .likelihood import Likelihood
from .mlp import MLP
from .model import ELBO, Model, conditional


class VAE(Model):
    """A variational autoencoder with one level of latents.

    Parameters
    ----------
    x_dim, latent_dim : int
        Columns of x and of z.
    hidden_dims : sequence of int, default (64,)
        Hidden layers of q's network; p's has the same in reverse.  Empty for
        linear maps.
    activation : str, default 'tanh'
        One of `layers.ACTIVATIONS`.
    likelihood : {'bernoulli', 'gaussian'} or object, default 'bernoulli'
        p(x | z); see likelihood.py, and discrete.py and mixed.py for others.
    x_mean : array of shape (x_dim,), optional
        The data's mean, for the first bias of p's output.
    rng : numpy.random.Generator or int, default 0
        The source of the first weights, or a seed.
    dtype : NumPy dtype, default float32

    Raises
    ------
    ValueError
        If an argument is not of this kind; the message names it.
    """

    def __init__(self, x_dim: int, latent_dim: int, hidden_dims: Sequence[int] = (64,), *, activation: str = "tanh",
                 likelihood: str | Likelihood = "bernoulli", x_mean: ArrayLike | None = None,
                 rng: int | np.random.Generator = 0, dtype: DTypeLike = np.float32) -> None:
        super().__init__(x_dim, [check.size("latent_dim", latent_dim)], activation, likelihood, dtype)
        hidden, rng = check.sizes("hidden_dims", hidden_dims), check.generator("rng", rng)
        self.latent_dim, = self.latent_dims
        self.q = self.seeing(conditional((x_dim, *hidden, self.latent_dim), activation, rng))
        self.p = MLP((self.latent_dim, *hidden[::-1], self.likelihood.n_outputs), activation, rng)
        self.set_output_bias(self.p, x_mean)
        self.pack(q1=self.q, p1=self.p)                # named as level 1 of a hierarchy

    def draw_noise(self, n: int, rng: np.random.Generator) -> Array:
        """Draw eps ~ N(0, I), of shape (n, latent_dim)."""
        return self.normal(check.generator("rng", rng), check.size("n", n), self.latent_dim)

    def bound(self, x: Array, noise: Array, drawn: bool = False) -> tuple[ELBO, Cache]:
        """Return the bound for each example, and a cache; see `Model.forward`, which comes here.  MATH (5.3), (6.2).

        Parameters
        ----------
        x : array of shape (n, x_dim)
        noise : array of shape (n, latent_dim)
        drawn : bool, default False
            Take log q(z | x) - log p(z) at the z drawn, not its mean, the KL: MATH (14.2).
        """
        n = len(x)
        h_q, q_cache = self.q.forward(x)                                        # (n, 2 d)
        mu, logvar = gaussian.halves(h_q)                                       # (n, d) each: q(z | x)
        z, z_cache = gaussian.sample(mu, logvar, noise)                         # (n, d): z ~ q(z | x)
        h_p, p_cache = self.p.forward(z)                                        # (n, n_outputs): p(x | z)
        reconstruction, r_cache = self.likelihood.log_prob(x, h_p)              # (n,): log p(x | z)
        if drawn:
            zero = np.zeros_like(z)
            prior_matching, k_cache = gaussian.log_ratio(z, mu, logvar, zero, zero)     # (n,): log q(z | x) - log p(z)
        else:
            prior_matching, k_cache = gaussian.kl_standard(mu, logvar)          # (n,): KL( q(z | x) || N(0, I) )
        elbo = ELBO(reconstruction, prior_matching, np.zeros((n, 0), self.dtype))
        return elbo, (q_cache, z_cache, p_cache, r_cache, k_cache, n, drawn)

    def backward(self, cache: Cache, beta: ArrayLike = 1.0, alpha: float = 1.0, input_gradient: bool = False,
                 weight: Any = 1.0, to_q: Array | None = None) -> Array:
        """Fill ``gradient`` with the gradient of ``elbo.loss(beta, alpha)``.

        Read it from the bottom of `bound` up: each line there has its line here.
        MATH (6.2), (14.4), (14.5).

        Parameters
        ----------
        cache
            From `forward`.
        beta, alpha : float, default 1
            Weights of the KL and of the reconstruction.
        input_gradient : bool, default False
            Also return dx, for which training has no use.
        weight : float or array of shape (n,), default 1
            Weight of each row in the mean; for an array, of mean 1.
        to_q : array of shape (n,), optional
            Let q learn through z alone, what reaches it times this number, row by row; see importance.py.
            For a cache of ``drawn=True``.

        Returns
        -------
        dx : array of shape (n, x_dim), or (n, 0) if it is not wanted
        """
        q_cache, z_cache, p_cache, r_cache, k_cache, n, drawn = cache
        alpha = check.alpha(alpha)
        dreconstruction = np.full(n, -alpha / n * weight, self.dtype)           # (n,): loss = mean of -alpha R
        dprior_matching = np.full(n, self.check_beta(beta) / n * weight)        # (n,): + beta · prior matching
        if drawn:
            dz_k, dmu_k, dlogvar_k, *_ = gaussian.log_ratio_backward(dprior_matching, k_cache)  # z is its point
        else:
            dmu_k, dlogvar_k = gaussian.kl_standard_backward(dprior_matching, k_cache)  # (n, d) each
        dx_r, dh_p = self.likelihood.log_prob_backward(dreconstruction, r_cache)        # (n, D), (n, n_outputs)
        dz = self.p.backward(dh_p, p_cache)                                     # (n, d)
        if drawn:
            dz = dz + dz_k                                                      # z is used by p and by log q - log p
        if to_q is not None:
            dz = to_q[:, None] * dz
        dmu_z, dlogvar_z = gaussian.sample_backward(dz, z_cache)                # (n, d) each
        if to_q is None:
            dh_q = gaussian.halves_backward(dmu_z + dmu_k, dlogvar_z + dlogvar_k)   # (n, 2 d); used by z and by the KL
        else:
            dh_q = gaussian.halves_backward(dmu_z, dlogvar_z)                   # what log q itself tells q is not there
        dx_q = self.q.backward(dh_q, q_cache, input_gradient)                   # (n, D)
        return dx_q + dx_r if input_gradient else dx_q                          # x is used by q and by log p(x | z)

    def log_weight(self, x: Array, n_samples: int, rng: np.random.Generator) -> Array:
        """Return log p(x, z) - log q(z | x) at draws z ~ q(z | x), of shape (n_samples, n).  MATH (5.5)."""
        mu, logvar = gaussian.halves(self.q.forward(x)[0])
        z = gaussian.sample(mu, logvar, self.normal(rng, n_samples, *mu.shape))[0]
        h_p = self.p.forward(z.reshape(-1, self.latent_dim))[0].reshape(n_samples, len(x), -1)
        zero = np.zeros_like(mu)
        log_p, log_q = gaussian.log_prob(z, zero, zero)[0], gaussian.log_prob(z, mu, logvar)[0]
        return self.likelihood.log_prob(x, h_p)[0] + (log_p - log_q)

    def encode(self, x: ArrayLike) -> tuple[Array, Array]:
        """Return mu and logvar of q(z | x), both of shape (n, latent_dim).  MATH (7.1)."""
        return gaussian.halves(self.q.forward(self.check_x(x))[0])

    def decode(self, z: ArrayLike, rng: int | np.random.Generator | None = None) -> Array:
        """Return E[x | z], of shape (n, x_dim); with a generator or a seed, a draw x ~ p(x | z).  MATH (7.1)."""
        h, _ = self.p.forward(check.array("z", z, ("n", self.latent_dim), self.dtype))
        return self.likelihood.mean(h) if rng is None else self.likelihood.sample(h, check.generator("rng", rng))

    def reconstruct(self, x: ArrayLike) -> Array:
        """Return E[x | z] at z = mu of q(z | x), of shape (n, x_dim)."""
        return self.decode(self.encode(x)[0])

    def sample(self, n: int, rng: int | np.random.Generator = 0, draw: bool = False) -> Array:
        """Draw z from the prior, return E[x | z], of shape (n, x_dim); with ``draw``, x ~ p(x | z).  MATH (7.1)."""
        rng = check.generator("rng", rng)
        z = self.normal(rng, check.size("n", n), self.latent_dim)
        return self.decode(z, rng if check.flag("draw", draw) else None)
