"""The hierarchical VAE: T levels, by stacking the parts of the VAE.

With x = z_0,

    q(z_1, ..., z_T | x) = Πₜ q(z_t | z_{t-1})           bottom up
    p(x, z_1, ..., z_T)  = p(z_T) Πₜ p(z_{t-1} | z_t)    top down, p(z_T) = N(0, I)

Each factor but p(z_T) comes from a network that sees the condition: mu and logvar of a
diagonal Gaussian, or for x the output of the likelihood.  It is the Markovian hierarchical
VAE of Luo 2022 (arXiv 2208.11970).

    log p(x) >= E_q[ log p(x | z_1) ]                                   reconstruction
                - E_q[ KL( q(z_T | z_{T-1}) || p(z_T) ) ]               prior matching
                - Σ_{t<T} E_q[ log q(z_t | z_{t-1})
                               - log p(z_t | z_{t+1}) ]                 consistency

It is MATH (5.2) with z = (z_1, ..., z_T), the logarithm of the products written as
sums: MATH (7.2).  The third part is here in two forms, ``consistency=``:

``"exact"``, the default: -H[ q(z_t | z_{t-1}) ] - log p(z_t | z_{t+1}) at the z_t
drawn, with the entropy in closed form, MATH (7.3).  A draw of it may be negative, and
so may its mean: only the sum over all levels is a KL, MATH (7.2).

``"printed"``, as Luo 2022 and texts after it print it: KL( q(z_t | z_{t-1}) ||
p(z_t | z_{t+1}) ) in closed form.  This is the mean over a *fresh* z_t, though
z_{t+1} was drawn from the old one.  The three parts are still a lower bound on log p(x),
but not the ELBO of q: MATH (8.2), and demos/09_consistency.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import check, gaussian
from .compare import KL, ExactDraw, LogRatio, StandardKL
from .layers import Array, Cache, Generator, Seed
from .likelihood import Likelihood
from .mlp import MLP
from .model import Model, conditional
from .objective import ELBO, ELBOGradient


class HVAE(Model):
    """A hierarchical VAE with any number of levels T >= 1; T = 1 is the VAE.

    Parameters
    ----------
    x_dim : int
        Columns of x.
    latent_dims : sequence of int, default (16, 8, 4)
        Columns of z_1, ..., z_T.
    hidden_dims : sequence of int, or T such sequences, default (64,)
        Hidden layers of the network of q(z_t | z_{t-1}), for every level or for
        each; that of p(z_{t-1} | z_t) has the same in reverse.
    consistency : {'exact', 'printed'}, default 'exact'
        The form of the third part: exact, or as printed.
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
        ``q[t]`` is the network of q(z_t | z_{t-1}), ``p[t]`` that of
        p(z_{t-1} | z_t), for t = 1, ..., T.

    Raises
    ------
    ValueError
        If an argument is not of this kind; the message names it.
    """

    forms: Mapping[str, Any] = {"exact": ExactDraw(), "printed": KL()}  # of the consistency part, by name

    def __init__(self, x_dim: int, latent_dims: Sequence[int] = (16, 8, 4), hidden_dims: Sequence[Any] = (64,), *,
                 consistency: str = "exact", activation: str = "tanh", likelihood: str | Likelihood = "bernoulli",
                 x_mean: ArrayLike | None = None, rng: Seed = 0,
                 dtype: DTypeLike = np.float32) -> None:
        super().__init__(x_dim, latent_dims, likelihood, dtype)
        self.T = check.size("the number of latent_dims", len(self.latent_dims))
        self.levels = range(1, self.T + 1)                                      # 1, ..., T, from the data upwards
        self.consistency = consistency                                          # the property below: sets compare
        hidden, rng = check.sizes_by_level("hidden_dims", hidden_dims, self.T), check.generator("rng", rng)
        d = self.d = (self.x_dim, *self.latent_dims)                            # columns of z_0 = x, z_1, ..., z_T
        self.q, self.p = dict[int, MLP](), dict[int, MLP]()                     # by level
        for t in self.levels:
            self.q[t] = conditional((d[t - 1], *hidden[t - 1], d[t]), activation, rng)
            self.p[t] = (conditional((d[t], *hidden[t - 1][::-1], d[t - 1]), activation, rng) if t > 1 else
                         MLP((d[1], *hidden[t - 1][::-1], self.likelihood.n_outputs), activation, rng))
        self.with_first_layer(self.q[1])
        self.set_output_bias(self.p[1], x_mean)
        self.pack(**{f"{name}{t}": network[t] for t in self.levels for name, network in (("q", self.q), ("p", self.p))})

    @property
    def consistency(self) -> str:
        """The form of the third part, 'exact' or 'printed'; setting it also sets ``compare``, a part for each level."""
        return self._consistency

    @consistency.setter
    def consistency(self, form: str) -> None:
        form = self._consistency = check.choice("consistency", form, self.forms)
        self.compare: dict[int, Any] = {**dict.fromkeys(self.levels, self.forms[form]), self.T: StandardKL()}

    def draw_noise(self, n: int, rng: Generator) -> list[Array]:
        """Draw eps_t ~ N(0, I) for t = 1, ..., T: a list of arrays of shape (n, d_t)."""
        n, rng = check.size("n", n), check.generator("rng", rng)
        return [self.normal(rng, n, d) for d in self.latent_dims]

    def check_noise(self, noise: Any, n: int) -> list[Array]:
        """Return the noise in the model's precision, or raise a ValueError."""
        return check.arrays("noise", noise, [(n, d) for d in self.latent_dims], self.dtype)

    def bound(self, x: Array, noise: Sequence[Array]) -> tuple[ELBO, Cache]:
        """Return the bound for each example, and a cache; see `Model.forward`, which comes here.

        The three parts: MATH (7.2), (7.3); the printed form of the third: MATH (8.1).

        Parameters
        ----------
        x : array of shape (n, x_dim)
        noise : list of T arrays, of shape (n, d_t)
        """
        z, q, kl, cache = {0: x}, {}, np.empty((len(x), self.T), self.dtype), dict[Any, Cache]()
        for t in self.levels:                                                 # up
            q[t], cache["q", t] = self.q[t].forward(z[t - 1])                 # (n, 2 d_t): q(z_t | z_{t-1})   (7.1)
            z[t], cache["z", t] = gaussian.draw(q[t], noise[t - 1])           # (n, d_t): z_t ~ q(z_t | ...)   (3.2)
        p = {self.T: np.zeros_like(q[self.T])}                                # (n, 2 d_T): p(z_T) = N(0, I)
        for t in self.levels:
            p[t - 1], cache["p", t] = self.p[t].forward(z[t])                 # (n, 2 d_{t-1}), or n_outputs   (7.1)
        for t in self.levels:
            kl[:, t - 1], cache["k", t] = self.compare[t].forward(z[t], q[t], p[t])       # (n,)   (7.2)
        reconstruction, cache["r"] = self.likelihood.log_prob(x, p[0])        # (n,): log p(x | z_1)   (7.2)
        return ELBO(reconstruction, kl[:, -1], kl[:, :-1]), cache             # (7.2)

    def backward(self, delbo: ELBOGradient, cache: Cache, input_gradient: bool = False) -> Array:
        """Fill ``gradient``, given that of the loss by each part of the bound; see `Model.backward`.

        Read it from the bottom of `bound` up.  z_t was used up to three times, and its gradient is a sum:
        dz_q[t] as the condition of q(z_{t+1} | z_t), dz_p[t] as the condition of p(z_{t-1} | z_t),
        dz_k[t] where q and p are compared.  MATH (7.4).
        """
        dz_q: dict[int, Any] = {self.T: 0}                               # no q has the condition z_T
        dz_p, dz_k, dq, dp, dkl = {}, {}, {}, {}, delbo.dkl
        dx, dp[0] = self.likelihood.log_prob_backward(delbo.dreconstruction, cache["r"])  # (n, D), (n, n_out)   (7.4)
        for t in self.levels:
            dz_k[t], dq[t], dp[t] = self.compare[t].backward(dkl[:, t - 1], cache["k", t])  # or 0, (n, 2 d_t)   (7.4)
        for t in self.levels:
            dz_p[t] = self.p[t].backward(dp[t - 1], cache["p", t])       # (n, d_t)   (7.4)
        for t in reversed(self.levels):                                  # down
            dz = dz_q[t] + dz_p[t] + dz_k[t]                             # (n, d_t): its three uses   (7.4)
            dq[t] = gaussian.draw_backward(dz, cache["z", t]) + dq[t]    # (n, 2 d_t): draw and compare use q   (7.4)
            dz_q[t - 1] = self.q[t].backward(dq[t], cache["q", t], t > 1 or input_gradient)  # (n, d_{t-1})   (7.4)
        return dz_q[0] + dx if input_gradient else dz_q[0]               # q(z_1 | x) and log p(x | z_1) use x   (7.4)

    def log_weight(self, x: Array, n_samples: int, rng: Generator) -> Array:
        """Return log p(x, z) - log q(z | x) at draws z ~ q(z | x), of shape (n_samples, n), for `log_likelihood`.

        MATH (5.5).
        """
        q, z = {1: np.tile(self.q[1].forward(x)[0], (n_samples, 1))}, {}
        for t in self.levels:                                                   # up
            z[t], _ = gaussian.draw(q[t], self.normal(rng, len(q[t]), self.d[t]))
            if t < self.T:
                q[t + 1], _ = self.q[t + 1].forward(z[t])
        p = {t: self.p[t + 1].forward(z[t + 1])[0] for t in range(self.T)} | {self.T: np.zeros_like(q[self.T])}
        log_ratio = np.sum([LogRatio().forward(z[t], q[t], p[t])[0] for t in self.levels], axis=0)  # log q - log p
        log_p, _ = self.likelihood.log_prob(x, p[0].reshape(n_samples, len(x), -1))
        return log_p - log_ratio.reshape(n_samples, len(x))

    def encode(self, x: ArrayLike) -> list[tuple[Array, Array]]:
        """Return mu and logvar of q(z_t | z_{t-1}), each at z_{t-1} = mu of the level below.  MATH (7.1).

        Parameters
        ----------
        x : array of shape (n, x_dim)

        Returns
        -------
        list of T pairs of arrays of shape (n, d_t)
        """
        z, levels = self.check_x(x), []
        for t in self.levels:
            levels.append(gaussian.halves(self.q[t].forward(z)[0]))
            z, _ = levels[-1]
        return levels

    def decode(self, z: ArrayLike, level: int = 1, noise: Sequence[ArrayLike] | None = None,
               rng: Seed = None) -> Array:
        """Return E[x | z_1], coming down from z at the given level.  MATH (7.1).

        Parameters
        ----------
        z : array of shape (n, d_level)
        level : int, default 1
            The level t that z belongs to.
        noise : list of arrays, optional
            As from `draw_noise`: on the way down, z_{t-1} ~ p(z_{t-1} | z_t) is
            drawn.  Without it, z_{t-1} is the mean.
        rng : numpy.random.Generator or int, optional
            Draw x ~ p(x | z_1) as well, instead of its mean.

        Returns
        -------
        array of shape (n, x_dim)
        """
        level = check.size("level", level, 1, self.T)
        z = check.array("z", z, ("n", self.d[level]), self.dtype)
        noise = noise if noise is None else self.check_noise(noise, len(z))
        for t in range(level, 1, -1):
            mu, logvar = gaussian.halves(self.p[t].forward(z)[0])
            z = mu if noise is None else gaussian.sample(mu, logvar, noise[t - 2])[0]       # eps of level t - 1
        h, _ = self.p[1].forward(z)
        return self.likelihood.mean(h) if rng is None else self.likelihood.sample(h, check.generator("rng", rng))

    def reconstruct(self, x: ArrayLike, level: int = 1) -> Array:
        """Return E[x | z_1] after going up to a level and down again by the means.

        From level t it shows how much of x is left in z_t.
        """
        level = check.size("level", level, 1, self.T)
        return self.decode(self.encode(x)[level - 1][0], level)

    def sample(self, n: int, rng: Seed = None, z: ArrayLike | None = None,
               level: int | None = None, draw: bool = False) -> Array:
        """Draw from the top level down, return E[x | z_1].  MATH (7.1).

        Parameters
        ----------
        n : int
        rng : numpy.random.Generator or int, optional
            The source of randomness, or a seed; by default each call draws anew.
        z : array of shape (d_level,) or (n, d_level), optional
            Fix z_level at this value, and draw only the levels below it.  The
            levels above need not be named: given z_level, x does not depend on them.
        level : int, optional
            The level that z belongs to; by default T.
        draw : bool, default False
            Draw x ~ p(x | z_1) as well, instead of its mean.

        Returns
        -------
        array of shape (n, x_dim)
        """
        level = self.T if level is None else check.size("level", level, 1, self.T)
        rng, draw = check.generator("rng", rng), check.flag("draw", draw)
        noise = self.draw_noise(n, rng)
        if z is None and level != self.T:
            raise ValueError("level needs z: pass z, or leave level out")
        z = check.array("z", noise[-1] if z is None else z, None, self.dtype)
        if z.shape not in ((self.d[level],), (n, self.d[level])):
            raise ValueError(f"z must have shape ({self.d[level]},) or ({n}, {self.d[level]}); got {z.shape}")
        return self.decode(np.broadcast_to(z, (n, self.d[level])), level, noise, rng if draw else None)
