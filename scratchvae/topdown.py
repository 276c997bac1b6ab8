"""The hierarchy with top-down inference: the third part is a KL, exact and in closed form.

It has the p of the hierarchical VAE, and another q.  With x = z_0,

    q(z_1, ..., z_T | x) = q(z_T | x) Πₜ q(z_t | z_{t+1}, x)     top down, t = T - 1, ..., 1
    p(x, z_1, ..., z_T)  = p(z_T) Πₜ p(z_{t-1} | z_t)            top down, p(z_T) = N(0, I)

Any q may be factorised so.  Now every z_t is fresh, given the z_{t+1} that both of
its densities are conditioned on, and the mean of their log-ratio over z_t is a KL:

    log p(x) >= E_q[ log p(x | z_1) ]                                           reconstruction
                - KL( q(z_T | x) || p(z_T) )                                    prior matching
                - Σ_{t<T} E_q[ KL( q(z_t | z_{t+1}, x) || p(z_t | z_{t+1}) ) ]  consistency

In the hierarchy of hvae.py, q runs bottom up and no such step is possible: the
printed form takes it all the same, and is the bound of another q.  MATH (12.1).

*Up* runs a chain without noise: a network at each level sees the means of the
level below, and says m_t and how far to trust it, a variance: a measurement of z_t.
*Down*, p(z_t | z_{t+1}) says what was known of z_t before, and the two are merged by
Bayes' rule, `gaussian.merge`.  At the top the network says q(z_T | x) itself, so
that T = 1 is the VAE.  This is the ladder VAE of Sønderby et al. 2016 (arXiv
1602.02282), with p's networks in its way down, and with means alone going up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import check, gaussian
from .hvae import HVAE
from .layers import Array, Cache
from .likelihood import Likelihood
from .model import ELBO

Pair = tuple[Array, Array]                             # mu and logvar
Levels = dict[int, tuple[Array, Pair, Pair]]           # of each level: z_t; its mu and logvar under q; those under p


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
        p(x | z_1); see likelihood.py, and discrete.py and mixed.py for others.
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

    def __init__(self, x_dim: int, latent_dims: Sequence[int] = (16, 8, 4), hidden_dims: Sequence[Any] = (64,), *,
                 activation: str = "tanh", likelihood: str | Likelihood = "bernoulli", x_mean: ArrayLike | None = None,
                 rng: int | np.random.Generator = 0, dtype: DTypeLike = np.float32) -> None:
        super().__init__(x_dim, latent_dims, hidden_dims, activation=activation, likelihood=likelihood, x_mean=x_mean,
                         rng=rng, dtype=dtype)

    def bound(self, x: Array, noise: Sequence[Array], drawn: bool = False) -> tuple[ELBO, Cache]:
        """Return the bound for each example, and a cache; see `Model.forward`, which comes here.  MATH (12.1).

        Parameters
        ----------
        x : array of shape (n, x_dim)
        noise : list of T arrays, of shape (n, d_t)
        drawn : bool, default False
            Take log q - log p of every level at the z drawn, not its mean, the KL: MATH (14.2).
        """
        n, T = len(x), self.T
        m, logvar_m = {0: x}, {}
        cache: dict[Any, Cache] = {"n": n, "drawn": drawn}                      # by network, or part of the bound

        for t in self.levels:                                                   # up: no noise
            h, cache["q", t] = self.q[t].forward(m[t - 1])                      # (n, 2 d_t)
            m[t], logvar_m[t] = gaussian.halves(h)                              # (n, d_t) each: what x says of z_t

        consistency = np.zeros((n, T - 1), self.dtype)
        mu_q, logvar_q = m[T], logvar_m[T]                                      # (n, d_T) each: q(z_T | x)
        z, cache["z", T] = gaussian.sample(mu_q, logvar_q, noise[T - 1])        # (n, d_T)
        if drawn:
            zero = np.zeros_like(z)
            prior_matching, cache["P"] = gaussian.log_ratio(z, mu_q, logvar_q, zero, zero)
        else:
            prior_matching, cache["P"] = gaussian.kl_standard(mu_q, logvar_q)   # (n,): KL( q(z_T | x) || p(z_T) )
        for t in reversed(self.levels[:-1]):                                    # down: merge, draw z_t, compare
            h, cache["p", t + 1] = self.p[t + 1].forward(z)                     # (n, 2 d_t)
            mu_p, logvar_p = gaussian.halves(h)                                 # (n, d_t) each: p(z_t | z_{t+1})
            (mu_q, logvar_q), cache["M", t] = gaussian.merge(m[t], logvar_m[t], mu_p, logvar_p)
            z, cache["z", t] = gaussian.sample(mu_q, logvar_q, noise[t - 1])    # (n, d_t)
            if drawn:
                consistency[:, t - 1], cache["C", t] = gaussian.log_ratio(z, mu_q, logvar_q, mu_p, logvar_p)
            else:
                consistency[:, t - 1], cache["C", t] = gaussian.kl(mu_q, logvar_q, mu_p, logvar_p)

        h, cache["p", 1] = self.p[1].forward(z)                                 # (n, n_outputs)
        reconstruction, cache["R"] = self.likelihood.log_prob(x, h)             # (n,): log p(x | z_1)
        return ELBO(reconstruction, prior_matching, consistency), cache

    def backward(self, cache: Cache, beta: ArrayLike = 1.0, alpha: float = 1.0, input_gradient: bool = False,
                 weight: Any = 1.0, to_q: Array | None = None) -> Array:
        """Fill ``gradient`` with the gradient of ``elbo.loss(beta, alpha)``.

        Read it from the bottom of `bound` up.  z_t was used once, by p's network at
        level t; m_t twice: by the merge, and by q's network of level t + 1; mu_q and
        logvar_q twice: by the draw and by the KL; mu_p and logvar_p twice: by the
        merge and by the KL.  (With ``drawn``, z_t is used once more, as the point of both
        densities.)  MATH (12.5), (14.4), (14.5).

        Parameters
        ----------
        cache
            From `forward`.
        beta : float or array of shape (T,), default 1
            Weight of the KL parts, or of each level's: consistency 1, ..., T - 1,
            then prior matching.
        alpha : float, default 1
            Weight of the reconstruction.
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
        n, T, drawn, alpha = cache["n"], self.T, cache["drawn"], check.alpha(alpha)
        dreconstruction = np.full(n, -alpha / n * weight, self.dtype)           # (n,): loss = mean of -alpha R
        dkl = np.full((T, n), self.check_beta(beta)[:, None] / n * weight)      # (T, n): + Σₜ beta_t KL_t
        dm, dlogvar_m = {}, {}

        dx, dh = self.likelihood.log_prob_backward(dreconstruction, cache["R"])  # (n, D), (n, n_outputs)
        to_z = dh if to_q is None else to_q[:, None] * dh                       # dh, as far as it is on its way to z
        for t in self.levels[:-1]:                                              # up, as the last lines come first
            dz = self.p[t].backward(to_z, cache["p", t])                        # (n, d_t)
            if drawn:
                dz_k, dmu_k, dlogvar_k, dmu_p, dlogvar_p = gaussian.log_ratio_backward(dkl[t - 1], cache["C", t])
                dz = dz + (dz_k if to_q is None else to_q[:, None] * dz_k)      # z_t is the point of log q - log p
            else:
                dmu_k, dlogvar_k, dmu_p, dlogvar_p = gaussian.kl_backward(dkl[t - 1], cache["C", t])
            dmu_z, dlogvar_z = gaussian.sample_backward(dz, cache["z", t])
            if to_q is not None:
                self.p[t].backward(dh, cache["p", t], False)                    # p's own gradient, written anew
                dmu_k, dlogvar_k = to_q[:, None] * dmu_k, to_q[:, None] * dlogvar_k
            dm[t], dlogvar_m[t], dmu_b, dlogvar_b = gaussian.merge_backward(dmu_z + dmu_k, dlogvar_z + dlogvar_k,
                                                                            cache["M", t])
            dh = to_z = gaussian.halves_backward(dmu_p + dmu_b, dlogvar_p + dlogvar_b)          # (n, 2 d_t)
            if to_q is not None:                                                # of log q's dmu, dlogvar: z alone
                to_z = gaussian.halves_backward(to_q[:, None] * dmu_p + dmu_b, to_q[:, None] * dlogvar_p + dlogvar_b)
                dm[t], dlogvar_m[t], dmu_b, dlogvar_b = gaussian.merge_backward(dmu_z, dlogvar_z, cache["M", t])
                dh = gaussian.halves_backward(dmu_p + dmu_b, dlogvar_p + dlogvar_b)

        dz = self.p[T].backward(to_z, cache["p", T])                            # (n, d_T)
        if drawn:
            dz_k, dmu_k, dlogvar_k, *_ = gaussian.log_ratio_backward(dkl[T - 1], cache["P"])
            dz = dz + (dz_k if to_q is None else to_q[:, None] * dz_k)
        else:
            dmu_k, dlogvar_k = gaussian.kl_standard_backward(dkl[T - 1], cache["P"])
        dmu_z, dlogvar_z = gaussian.sample_backward(dz, cache["z", T])
        dm[T], dlogvar_m[T] = dmu_z + dmu_k, dlogvar_z + dlogvar_k
        if to_q is not None:
            self.p[T].backward(dh, cache["p", T], False)
            dm[T], dlogvar_m[T] = dmu_z, dlogvar_z

        dm[0] = dx                                                              # x: point of p(x | z_1)
        for t in reversed(self.levels):                                         # down
            dh = gaussian.halves_backward(dm[t], dlogvar_m[t])                  # (n, 2 d_t)
            wanted = t > 1 or input_gradient
            dbelow = self.q[t].backward(dh, cache["q", t], wanted)              # (n, d_{t-1})
            dm[t - 1] = dm[t - 1] + dbelow if wanted else dbelow
        return dm[0]

    def up(self, x: Array) -> dict[int, Pair]:
        """Return m_t and logvar_m of every level, of shape (n, d_t), from x of shape (n, x_dim).  MATH (12.1)."""
        m, said = x, {}
        for t in self.levels:
            said[t] = gaussian.halves(self.q[t].forward(m)[0])
            m, _ = said[t]
        return said

    def down(self, said: Mapping[int, Pair], noise: Sequence[Array] | None = None) -> Levels:
        """Come down from what `up` said.  MATH (12.1).

        Parameters
        ----------
        said : dict of int to pair of arrays of shape (n, d_t)
        noise : list of T arrays of shape (n, d_t), optional
            Without it, each z_t is the mean of q(z_t | z_{t+1}, x).

        Returns
        -------
        dict of int to z_t, mu and logvar of q(z_t | z_{t+1}, x), and those of p(z_t | z_{t+1})
        """
        found: Levels = {}
        of_q, zero = said[self.T], np.zeros_like(said[self.T][0])
        of_p = zero, zero                                                       # p(z_T) = N(0, I)
        for t in reversed(self.levels):
            if t < self.T:
                of_p = gaussian.halves(self.p[t + 1].forward(found[t + 1][0])[0])
                of_q, _ = gaussian.merge(*said[t], *of_p)
            found[t] = of_q[0] if noise is None else gaussian.sample(*of_q, noise[t - 1])[0], of_q, of_p
        return found

    def log_weight(self, x: Array, n_samples: int, rng: np.random.Generator) -> Array:
        """Return log p(x, z) - log q(z | x) at draws z ~ q(z | x), of shape (n_samples, n).  MATH (12.1)."""
        copies = {t: (np.tile(m, (n_samples, 1)), np.tile(logvar_m, (n_samples, 1)))            # up once for all draws
                  for t, (m, logvar_m) in self.up(x).items()}
        found = self.down(copies, self.draw_noise(n_samples * len(x), rng))
        log_ratio = np.zeros(n_samples * len(x), self.dtype)
        for z, of_q, of_p in found.values():
            log_ratio = log_ratio + gaussian.log_prob(z, *of_p)[0] - gaussian.log_prob(z, *of_q)[0]
        h = self.p[1].forward(found[1][0])[0].reshape(n_samples, len(x), -1)
        return self.likelihood.log_prob(x, h)[0] + log_ratio.reshape(n_samples, len(x))

    def encode(self, x: ArrayLike) -> list[Pair]:
        """Return mu and logvar of q(z_t | z_{t+1}, x), each at z_{t+1} = mu of the level above.  MATH (12.1).

        Parameters
        ----------
        x : array of shape (n, x_dim)

        Returns
        -------
        list of T pairs of arrays of shape (n, d_t)
        """
        found = self.down(self.up(self.check_x(x)))
        return [found[t][1] for t in self.levels]
