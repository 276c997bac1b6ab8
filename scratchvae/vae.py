"""The variational autoencoder, written out.

    q(z | x) = N(mu, exp(logvar)), mu and logvar from a network that sees x
    p(z)     = N(0, I)
    p(x | z) a likelihood, its parameters from a network that sees z

    log p(x) >= E_q[ log p(x | z) ] - KL( q(z | x) || p(z) )

Kingma and Welling 2014 (arXiv 1312.6114), equation 3; MATH (5.2), (5.3).  The
expectation is estimated with one draw of z; the KL has a closed form.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import check, gaussian
from .compare import LogRatio, StandardKL
from .layers import Array, Cache, Generator, Seed
from .likelihood import Likelihood
from .mlp import MLP
from .model import Model, conditional
from .objective import ELBO, ELBOGradient


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
        p(x | z); see likelihood.py, and mixed.py for others.
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
                 rng: Seed = 0, dtype: DTypeLike = np.float32) -> None:
        super().__init__(x_dim, [check.size("latent_dim", latent_dim)], likelihood, dtype)
        hidden, rng = check.sizes("hidden_dims", hidden_dims), check.generator("rng", rng)
        self.latent_dim, = self.latent_dims
        self.compare: Any = StandardKL()               # q(z | x) with p(z) = N(0, I)
        self.q = self.with_first_layer(conditional((x_dim, *hidden, self.latent_dim), activation, rng))
        self.p = MLP((self.latent_dim, *hidden[::-1], self.likelihood.n_outputs), activation, rng)
        self.set_output_bias(self.p, x_mean)
        self.pack(q1=self.q, p1=self.p)                # named as level 1 of a hierarchy

    def draw_noise(self, n: int, rng: Generator) -> Array:
        """Draw eps ~ N(0, I), of shape (n, latent_dim)."""
        return self.normal(check.generator("rng", rng), check.size("n", n), self.latent_dim)

    def bound(self, x: Array, noise: Array) -> tuple[ELBO, Cache]:
        """Return the bound for each example, and a cache; see `Model.forward`, which comes here.  MATH (5.3), (6.2).

        Parameters
        ----------
        x : array of shape (n, x_dim)
        noise : array of shape (n, latent_dim)
            eps.  Further columns are noise for `compare`; the KL to N(0, I) needs none.
        """
        q, q_cache = self.q.forward(x)                                      # (n, 2 d): q(z | x) = [mu | logvar]   (6.2)
        z, z_cache = gaussian.draw(q, noise[:, :self.latent_dim])           # (n, d): z ~ q(z | x)   (3.2)
        h, p_cache = self.p.forward(z)                                      # (n, n_outputs): p(x | z)   (6.2)
        reconstruction, r_cache = self.likelihood.log_prob(x, h)            # (n,): log p(x | z)   (6.2)
        prior_matching, k_cache = self.compare.forward(z, q, noise[:, self.latent_dim:])  # (n,): KL(q||N(0, I))  (6.2)
        elbo = ELBO(reconstruction, prior_matching, np.zeros((len(x), 0), self.dtype))  # no level between   (5.3)
        return elbo, (q_cache, z_cache, p_cache, r_cache, k_cache)

    def backward(self, delbo: ELBOGradient, cache: Cache, input_gradient: bool = False) -> Array:
        """Fill ``gradient``, given that of the loss by each part of the bound; see `Model.backward`.

        Read it from the bottom of `bound` up: each line there has its line here.  MATH (6.2).
        """
        q_cache, z_cache, p_cache, r_cache, k_cache = cache
        dz_k, dq_k, _ = self.compare.backward(delbo.dprior_matching, k_cache)  # (n, d) or 0, (n, 2 d)   (6.2)
        dx_r, dh = self.likelihood.log_prob_backward(delbo.dreconstruction, r_cache)    # (n, D), (n, n_outputs)   (6.2)
        dz = self.p.backward(dh, p_cache) + dz_k                            # (n, d): p(x | z) and compare use z   (6.2)
        dq = gaussian.draw_backward(dz, z_cache) + dq_k                     # (n, 2 d): draw and compare use q   (6.2)
        dx_q = self.q.backward(dq, q_cache, input_gradient)                 # (n, D), or (n, 0)   (6.2)
        return dx_q + dx_r if input_gradient else dx_q                      # q(z | x) and log p(x | z) use x   (6.2)

    def log_weight(self, x: Array, n_samples: int, rng: Generator) -> Array:
        """Return log p(x, z) - log q(z | x) at draws z ~ q(z | x), of shape (n_samples, n).  MATH (5.5)."""
        q = np.tile(self.q.forward(x)[0], (n_samples, 1))                       # (n_samples n, 2 d)
        z, _ = gaussian.draw(q, self.normal(rng, len(q), self.latent_dim))
        h, _ = self.p.forward(z)
        log_ratio, _ = LogRatio().forward(z, q, np.zeros_like(q))               # log q(z | x) - log p(z)
        return self.likelihood.log_prob(x, h.reshape(n_samples, len(x), -1))[0] - log_ratio.reshape(n_samples, len(x))

    def encode(self, x: ArrayLike) -> tuple[Array, Array]:
        """Return mu and logvar of q(z | x), both of shape (n, latent_dim).  MATH (6.2)."""
        return gaussian.halves(self.q.forward(self.check_x(x))[0])

    def decode(self, z: ArrayLike, rng: Seed = None) -> Array:
        """Return E[x | z], of shape (n, x_dim); with a generator or a seed, a draw x ~ p(x | z).  MATH (6.2)."""
        h, _ = self.p.forward(check.array("z", z, ("n", self.latent_dim), self.dtype))
        return self.likelihood.mean(h) if rng is None else self.likelihood.sample(h, check.generator("rng", rng))

    def reconstruct(self, x: ArrayLike) -> Array:
        """Return E[x | z] at z = mu of q(z | x), of shape (n, x_dim)."""
        return self.decode(self.encode(x)[0])

    def sample(self, n: int, rng: Seed = None, draw: bool = False) -> Array:
        """Draw z from the prior, return E[x | z], of shape (n, x_dim); with ``draw``, x ~ p(x | z).  MATH (6.2).

        rng is a generator or a seed; by default each call draws anew.
        """
        rng = check.generator("rng", rng)
        z = self.normal(rng, check.size("n", n), self.latent_dim)
        return self.decode(z, rng if check.flag("draw", draw) else None)
