"""The autoencoder: a code without a prior.

One network maps x to a short code z, another maps z back, and both are trained to
reproduce x.  The codes may lie anywhere, so a z drawn from N(0, I) often falls where
no code is, and g(z) does not look like data.  The VAE
repairs this, with noise on z and a prior that it must match.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import check
from .layers import Array, Cache, Generator, Seed
from .likelihood import Likelihood
from .mlp import MLP
from .model import Model
from .objective import ELBO, ELBOGradient


class Autoencoder(Model):
    """z = f(x), and x is compared with p(x | z), given by g(z).

    The objective is log p(x | z) at that z: the reconstruction part of an ELBO
    whose other parts are zero, so beta has no effect.  It is not a bound on log p(x).

    Parameters
    ----------
    x_dim, latent_dim : int
        Columns of x and of z.
    hidden_dims : sequence of int, default (64,)
        Hidden layers of f; g has the same in reverse.  Empty for linear maps.
    activation : str, default 'tanh'
        One of `layers.ACTIVATIONS`.
    likelihood : {'bernoulli', 'gaussian'} or object, default 'bernoulli'
        p(x | z); see likelihood.py, and mixed.py for others.
    x_mean : array of shape (x_dim,), optional
        The data's mean, for the first bias of g's output.
    rng : numpy.random.Generator or int, default 0
        The source of the first weights, or a seed.
    dtype : NumPy dtype, default float32
    """

    def __init__(self, x_dim: int, latent_dim: int, hidden_dims: Sequence[int] = (64,), *, activation: str = "tanh",
                 likelihood: str | Likelihood = "bernoulli", x_mean: ArrayLike | None = None,
                 rng: Seed = 0, dtype: DTypeLike = np.float32) -> None:
        super().__init__(x_dim, [check.size("latent_dim", latent_dim)], likelihood, dtype)
        hidden, rng = check.sizes("hidden_dims", hidden_dims), check.generator("rng", rng)
        self.f = self.with_first_layer(MLP((x_dim, *hidden, latent_dim), activation, rng))
        self.g = MLP((latent_dim, *hidden[::-1], self.likelihood.n_outputs), activation, rng)
        self.set_output_bias(self.g, x_mean)
        self.pack(f=self.f, g=self.g)

    def draw_noise(self, n: int, rng: Generator) -> None:
        """Return None: the autoencoder has no noise."""

    def check_noise(self, noise: None, n: int) -> None:
        """Return None."""

    def bound(self, x: Array, noise: None) -> tuple[ELBO, Cache]:
        """Return the reconstruction, as an ELBO without further parts, and a cache.  MATH (6.1)."""
        z, f_cache = self.f.forward(x)                 # (n, d)   (6.1)
        h, g_cache = self.g.forward(z)                 # (n, n_outputs)   (6.1)
        reconstruction, r_cache = self.likelihood.log_prob(x, h)       # (n,): log p(x | z)   (6.1)
        elbo = ELBO(reconstruction, np.zeros(len(x), self.dtype), np.zeros((len(x), 0), self.dtype))
        return elbo, (f_cache, g_cache, r_cache)

    def backward(self, delbo: ELBOGradient, cache: Cache, input_gradient: bool = False) -> Array:
        """Fill ``gradient``; return dx if it is wanted, else an empty array.  MATH (6.1)."""
        f_cache, g_cache, r_cache = cache
        dx_r, dh = self.likelihood.log_prob_backward(delbo.dreconstruction, r_cache)    # (n, D), (n, n_outputs)   (6.1)
        dz = self.g.backward(dh, g_cache)          # (n, d)   (6.1)
        dx_f = self.f.backward(dz, f_cache, input_gradient)        # (n, D), or (n, 0)   (6.1)
        return dx_f + dx_r if input_gradient else dx_f  # x is used by f and by log p(x | z)   (6.1)

    def encode(self, x: ArrayLike) -> Array:
        """Return the code z, of shape (n, latent_dim)."""
        return self.f.forward(self.check_x(x))[0]

    def decode(self, z: ArrayLike) -> Array:
        """Return E[x | z], of shape (n, x_dim)."""
        return self.likelihood.mean(self.g.forward(check.array("z", z, ("n", *self.latent_dims), self.dtype))[0])

    def reconstruct(self, x: ArrayLike) -> Array:
        """Return E[x | z] at the code z of x, of shape (n, x_dim)."""
        return self.decode(self.encode(x))
