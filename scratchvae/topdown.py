"""The hierarchy with top-down inference: the third part is a KL, exact and in closed form.

It has the p of the hierarchical VAE, and another q.  With x = z_0,

    q(z_1, ..., z_T | x) = q(z_T | x) Πₜ q(z_t | z_{t+1}, x)     top down, t = T - 1, ..., 1
    p(x, z_1, ..., z_T)  = p(z_T) Πₜ p(z_{t-1} | z_t)            top down, p(z_T) = N(0, I)

Any q that is a Markov chain given x can be factorised so.  Every z_t is fresh, given the z_{t+1}
that both of its densities are conditioned on.  So the mean of their log-ratio over z_t is a KL:

    log p(x) >= E_q[ log p(x | z_1) ]                                           reconstruction
                - KL( q(z_T | x) || p(z_T) )                                    prior matching
                - Σ_{t<T} E_q[ KL( q(z_t | z_{t+1}, x) || p(z_t | z_{t+1}) ) ]  consistency

In the hierarchy of hvae.py, q runs bottom up, so this step is not possible.  The printed
form takes it all the same: a lower bound, but not the ELBO of q, MATH (8.2).  MATH (12.1).

*Up* runs a chain without noise: a network at each level sees the means of the
level below and returns m_t with a variance: a measurement of z_t.  *Down*,
p(z_t | z_{t+1}) is the prior of z_t, and the two are merged by Bayes' rule,
`gaussian.merge`.  At the top the network returns q(z_T | x) itself, so T = 1 is the VAE.
This is the ladder VAE of Sønderby et al. 2016 (arXiv 1602.02282), with p's networks on
its way down, and with means alone going up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import gaussian
from .compare import KL, LogRatio
from .hvae import HVAE
from .layers import Array, Cache
from .likelihood import Likelihood
from .objective import ELBO, ELBOGradient


def merge(m: Array, p: Array) -> tuple[Array, Cache]:
    """Return q = [mu | logvar], the merge of m and p, of shape (n, 2 d) each.  MATH (12.3)."""
    (mu, logvar), cache = gaussian.merge(*gaussian.halves(m), *gaussian.halves(p))      # (12.3)
    return np.concatenate([mu, logvar], axis=-1), cache  # (3.1)


def merge_backward(dq: Array, cache: Cache) -> tuple[Array, Array]:
    """Return dm and dp, of shape (n, 2 d).  MATH (12.4)."""
    dmu_m, dlogvar_m, dmu_p, dlogvar_p = gaussian.merge_backward(*gaussian.halves(dq), cache)   # (12.4)
    return gaussian.halves_backward(dmu_m, dlogvar_m), gaussian.halves_backward(dmu_p, dlogvar_p)       # (3.1)


class TopDown(HVAE):
    """A hierarchical VAE whose q runs from the top level down; T = 1 is the VAE.

    It has the networks, the parameters and the first weights of an `HVAE` with the
    same arguments, and its `decode`, `sample` and `reconstruct`.

    Parameters
    ----------
    x_dim : int
        Columns of x.
    latent_dims : sequence of int, default (16, 8, 4)
        Columns of z_1, ..., z_T.
    hidden_dims : sequence of int, or T such sequences, default (64,)
        Hidden layers of the network that goes up to level t, for every level or for
        each; that of p(z_{t-1} | z_t) has the same in reverse.
    activation : str, default 'tanh'
        One of `layers.ACTIVATIONS`.
    likelihood : {'bernoulli', 'gaussian'} or object, default 'bernoulli'
        p(x | z_1); see likelihood.py, and mixed.py for others.
    x_mean : array of shape (x_dim,), optional
        The data's mean, for the first bias of the output for x.
    rng : numpy.random.Generator or int, default 0
        The source of the first weights, or a seed.
    dtype : NumPy dtype, default float32

    Attributes
    ----------
    q, p : dict of int to MLP
        ``q[t]`` is the network from m_{t-1} (x for t = 1) to m_t and its logvar, which are
        q(z_T | x) for t = T; ``p[t]`` is that of p(z_{t-1} | z_t).

    Raises
    ------
    ValueError
        If an argument is not of this kind; the message names it.
    """

    forms = {"exact": KL()}                            # in closed form

    def __init__(self, x_dim: int, latent_dims: Sequence[int] = (16, 8, 4), hidden_dims: Sequence[Any] = (64,), *,
                 activation: str = "tanh", likelihood: str | Likelihood = "bernoulli", x_mean: ArrayLike | None = None,
                 rng: int | np.random.Generator = 0, dtype: DTypeLike = np.float32) -> None:
        super().__init__(x_dim, latent_dims, hidden_dims, activation=activation, likelihood=likelihood, x_mean=x_mean,
                         rng=rng, dtype=dtype)

    def bound(self, x: Array, noise: Sequence[Array]) -> tuple[ELBO, Cache]:
        """Return the bound for each example, and a cache; see `Model.forward`, which comes here.  MATH (12.1).

        Parameters
        ----------
        x : array of shape (n, x_dim)
        noise : list of T arrays, of shape (n, d_t)
        """
        m, kl, cache, mean = {}, np.empty((len(x), self.T), self.dtype), dict[Any, Cache](), x
        for t in self.levels:                                              # up: no noise
            m[t], cache["q", t] = self.q[t].forward(mean)                  # (n, 2 d_t): a measurement of z_t   (12.1)
            mean, _ = gaussian.halves(m[t])                                # (n, d_t)   (12.1)
        q, p = m[self.T], np.zeros_like(m[self.T])                         # q(z_T | x), p(z_T) = N(0, I)
        for t in reversed(self.levels):                                    # down: draw z_t, compare, merge
            z, cache["z", t] = gaussian.draw(q, noise[t - 1])              # (n, d_t): z_t ~ q(z_t | z_{t+1}, x)   (3.2)
            kl[:, t - 1], cache["k", t] = self.compare[t].forward(z, q, p)  # (n,)   (12.1)
            p, cache["p", t] = self.p[t].forward(z)                        # (n, 2 d_{t-1}), or n_outputs   (12.1)
            if t > 1:
                q, cache["m", t - 1] = merge(m[t - 1], p)        # (n, 2 d_{t-1}): q(z_{t-1} | z_t, x)   (12.1)
        reconstruction, cache["r"] = self.likelihood.log_prob(x, p)        # (n,): log p(x | z_1)   (12.1)
        return ELBO(reconstruction, kl[:, -1], kl[:, :-1]), cache          # (12.1)

    def backward(self, delbo: ELBOGradient, cache: Cache, input_gradient: bool = False) -> Array:
        """Fill ``gradient``, given that of the loss by each part of the bound; see `Model.backward`.

        Read it from the bottom of `bound` up.  z_t was used by p's network at level t, and where q and p are
        compared (dz_k = 0 for a KL); m_t by the merge, and its mean by q's network of level t + 1; q(z_t | .) by
        the draw and where it is compared; p(z_t | z_{t+1}) by the merge and where it is compared.  MATH (12.5).
        """
        dm, dkl = {}, delbo.dkl
        dx, dp = self.likelihood.log_prob_backward(delbo.dreconstruction, cache["r"])  # (n, D), (n, n_outputs)   (12.5)
        for t in self.levels:                                           # up, as the last lines come first
            dz_p = self.p[t].backward(dp, cache["p", t])                # (n, d_t)   (12.5)
            dz_k, dq_k, dp = self.compare[t].backward(dkl[:, t - 1], cache["k", t])  # or 0, (n, 2 d_t), or 0   (12.5)
            dm[t] = gaussian.draw_backward(dz_p + dz_k, cache["z", t]) + dq_k  # (n, 2 d_t): dq, at the top dm   (12.5)
            if t < self.T:
                dm[t], dp_m = merge_backward(dm[t], cache["m", t])  # (n, 2 d_t) each   (12.5)
                dp = dp + dp_m                                          # the merge and compare use p   (12.5)
        dmean = self.up_backward(dm, cache, input_gradient)             # (n, D)   (12.5)
        return dmean + dx if input_gradient else dmean                  # q's way up and log p(x | z_1) use x   (12.5)

    def up_backward(self, dm: dict[int, Array], cache: Cache, input_gradient: bool) -> Array:
        """Go back along the way up, given dm, the gradient of each m_t; return dx if it is wanted.  MATH (12.5)."""
        for t in reversed(self.levels):
            dmean = self.q[t].backward(dm[t], cache["q", t], t > 1 or input_gradient)  # (n, d_{t-1})   (12.5, up)
            if t > 1:
                dm[t - 1][:, :self.d[t - 1]] += dmean                 # q's network above saw the mean of m   (12.5, up)
        return dmean

    def up(self, x: Array) -> dict[int, Array]:
        """Return every m_t = [ mu_m | logvar_m ], of shape (n, 2 d_t), from x of shape (n, x_dim).  MATH (12.1)."""
        m, mean = {}, x
        for t in self.levels:
            m[t], _ = self.q[t].forward(mean)
            mean, _ = gaussian.halves(m[t])
        return m

    def down(self, m: Mapping[int, Array],
             noise: Sequence[Array] | None = None) -> dict[int, tuple[Array, Array, Array]]:
        """Come down from the m_t that `up` returns.  MATH (12.1).

        Parameters
        ----------
        m : dict of int to array of shape (n, 2 d_t)
        noise : list of T arrays of shape (n, d_t), optional
            Without it, each z_t is the mean of q(z_t | z_{t+1}, x).

        Returns
        -------
        dict of int to z_t, of shape (n, d_t), and q(z_t | z_{t+1}, x) and p(z_t | z_{t+1}), of shape (n, 2 d_t)
        """
        q, p, levels = m[self.T], np.zeros_like(m[self.T]), {}                  # q(z_T | x), p(z_T) = N(0, I)
        for t in reversed(self.levels):
            z = gaussian.halves(q)[0] if noise is None else gaussian.draw(q, noise[t - 1])[0]
            levels[t] = z, q, p
            if t > 1:
                p, _ = self.p[t].forward(z)
                q, _ = merge(m[t - 1], p)
        return levels

    def log_weight(self, x: Array, n_samples: int, rng: np.random.Generator) -> Array:
        """Return log p(x, z) - log q(z | x) at draws z ~ q(z | x), of shape (n_samples, n).  MATH (12.1)."""
        m = {t: np.tile(m_t, (n_samples, 1)) for t, m_t in self.up(x).items()}  # up once for all draws
        levels = self.down(m, self.draw_noise(n_samples * len(x), rng))
        log_ratio = np.sum([LogRatio().forward(*level)[0] for level in levels.values()], axis=0)        # log q - log p
        h = self.p[1].forward(levels[1][0])[0].reshape(n_samples, len(x), -1)
        return self.likelihood.log_prob(x, h)[0] - log_ratio.reshape(n_samples, len(x))

    def encode(self, x: ArrayLike) -> list[tuple[Array, Array]]:
        """Return mu and logvar of q(z_t | z_{t+1}, x), each at z_{t+1} = mu of the level above.  MATH (12.1).

        Parameters
        ----------
        x : array of shape (n, x_dim)

        Returns
        -------
        list of T pairs of arrays of shape (n, d_t)
        """
        levels = self.down(self.up(self.check_x(x)))
        return [gaussian.halves(levels[t][1]) for t in self.levels]
