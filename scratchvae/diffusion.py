"""Diffusion: a hierarchy whose q is fixed.

    q(z_1, ..., z_T | x) = Πₜ q(z_t | z_{t-1})           each adds a little noise: see schedule.py
    p(x, z_1, ..., z_T)  = p(z_T) Πₜ p(z_{t-1} | z_t)    top down, one network for all levels; the time is an input

z_0 is the signal a: x itself, or for binary x its pixels as -1 and 1, a = 2 x - 1.  The
network guesses a from z_{t+1}, and its guess â replaces a in p:

    q(z_t | z_{t+1}, x) = N( c_z z_{t+1} + c_a a, v_q I )
    p(z_t | z_{t+1})    = N( c_z z_{t+1} + c_a â, v_p I )

So the third part of the bound is a KL in closed form, and a weighted |a - â|².  For
training one random level for each example stands for all of them.

The guess starts from the posterior of each entry given its own z alone: the network adds
only what the other entries contribute.

Sohl-Dickstein et al. 2015 (arXiv 1503.03585), Ho et al. 2020 (arXiv 2006.11239),
Kingma et al. 2021 (arXiv 2107.00630); the view of it as a hierarchy: Luo 2022.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import check, gaussian
from .layers import Array, Cache, sigmoid
from .likelihood import Bernoulli, Gaussian, Likelihood
from .mlp import MLP
from .model import Model
from .objective import ELBO, ELBOGradient
from .schedule import MANY, Schedule, signal, spread, times

COSINES = 4                                            # the time as the network sees it


class RealSignal:
    """The signal a is x, and the network's h is its guess of a.  MATH (13.1), (13.5)."""

    def forward(self, x: Array) -> Array:
        """Return a, of shape (n, D)."""
        return x

    def backward(self, da: Array) -> Array:
        """Return dx."""
        return da

    def gains(self, gamma: Array) -> tuple[Array, Array]:
        """Return own and gain, the factors of z and of the network's output in h, at noise gamma."""
        return signal(gamma), spread(gamma)            # (13.5, real)

    def guess(self, h: Array) -> Array:
        """Return a_hat, the guess â = E[a | z]."""
        return h

    def guess_backward(self, da: Array, a_hat: Array) -> Array:
        """Return dh."""
        return da


class BinarySignal:
    """The signal is a = 2 x - 1, and the network's h is the logits of x.  MATH (13.1), (13.5)."""

    def forward(self, x: Array) -> Array:
        """Return a, of shape (n, D)."""
        return 2 * x - 1                               # (13.1, binary)

    def backward(self, da: Array) -> Array:
        """Return dx."""
        return 2 * da                                  # (13.9, binary)

    def gains(self, gamma: Array) -> tuple[Array, Array]:
        """Return own and gain, the factors of z and of the network's output in h, at noise gamma."""
        return 2 * signal(gamma) / sigmoid(gamma), np.ones_like(gamma)  # (13.5, binary)

    def guess(self, h: Array) -> Array:
        """Return a_hat, the guess â = E[a | z] = 2 sigmoid(h) - 1 = tanh(h/2)."""
        return 2 * sigmoid(h) - 1                      # (13.5)

    def guess_backward(self, da: Array, a_hat: Array) -> Array:
        """Return dh: as tanh' = 1 - tanh², ∂â/∂h = (1 - â²)/2."""
        return da * (1 - a_hat * a_hat) / 2            # (13.5)


class Diffusion(Model):
    """A hierarchy of T levels, as wide as x, with a fixed q and one network for all of p.

    Parameters
    ----------
    x_dim : int
        D, the columns of x and of every z_t.
    T : int or np.inf, default 1000
        The number of levels; np.inf is the limit of many, in which only the two
        ends of log_noise count.  T = 1 is a VAE with a fixed encoder.
    hidden_dims : sequence of int, default (256, 256)
        Hidden layers of the network.
    log_noise : sequence of 2 or T floats, default (-5, 5)
        gamma, the noise-to-signal ratio of z_t in logarithms: from z_1 to z_T in
        equal steps, or of every level.  For T = 1, the first.
    variance : {'posterior', 'forward'}, default 'posterior'
        That of p(z_t | z_{t+1}): of q(z_t | z_{t+1}, x), which is right if a is known
        from z_{t+1}; or 1 - α_{t+1}, which is right if a ~ N(0, I).  Many levels make
        them the same.
    activation : str, default 'leaky_relu'
        One of `layers.ACTIVATIONS`.
    likelihood : {'bernoulli', 'gaussian'} or object, default 'bernoulli'
        p(x | z_1); 'gaussian' is for x of variance about 1, and has the variance 1 - ᾱ_1.
    x_mean : array of shape (x_dim,), optional
        The data's mean, for the first bias of the network's output.
    rng : numpy.random.Generator or int, default 0
        The source of the first weights, or a seed.
    dtype : NumPy dtype, default float32

    Attributes
    ----------
    gamma : array of shape (T + 1,), float64
        gamma_t, with gamma_0 = -∞: z_0 is a without noise.  For T = np.inf, the two
        ends after it.
    latent_dims : tuple
        (D, D), or (D,) for T = 1: in `ELBO`, the levels below the top are one, their sum.

    Raises
    ------
    ValueError
        If an argument is not of this kind; the message names it.
    """

    def __init__(self, x_dim: int, T: float = 1000, hidden_dims: Sequence[int] = (256, 256), *,
                 log_noise: Sequence[float] | Array = (-5.0, 5.0), variance: str = "posterior",
                 activation: str = "leaky_relu", likelihood: str | Likelihood = "bernoulli",
                 x_mean: ArrayLike | None = None, rng: int | np.random.Generator = 0,
                 dtype: DTypeLike = np.float32) -> None:
        log_noise = check.array("log_noise", log_noise, ("T",), float)
        if isinstance(likelihood, str) and likelihood == "gaussian":           # of the variance 1 - ᾱ_1
            likelihood = Gaussian(x_dim, float(np.log(sigmoid(log_noise[0]))))
        super().__init__(x_dim, [x_dim], likelihood, dtype)
        if self.likelihood.n_outputs != x_dim:
            raise ValueError(f"likelihood must have a fixed variance, such as Gaussian({x_dim}, logvar=-5); "
                             "this one learns it")
        self.variance = variance
        self._set_levels(Schedule(T, log_noise, variance))
        binary = isinstance(self.likelihood, Bernoulli)
        self.signal = BinarySignal() if binary else RealSignal()
        h = np.linspace(-1, 1, self.x_dim)[None]       # whose mean must be itself: it is the guess of a
        if not binary and not np.array_equal(self.likelihood.mean(h), h):
            raise ValueError("likelihood must be Bernoulli or Gaussian for a diffusion, whose latents are x with "
                             f"noise; got {type(self.likelihood).__name__}")
        hidden, rng = check.sizes("hidden_dims", hidden_dims), check.generator("rng", rng)
        self.f = MLP((self.x_dim + COSINES, *hidden, self.x_dim), activation, rng)
        self.f.output.W[:] = 0                         # a fresh network adds nothing
        self.set_output_bias(self.f, x_mean)
        self.pack(f=self.f)

    def _set_levels(self, schedule: Schedule) -> None:
        self.schedule, self.T, self.gamma = schedule, schedule.T, schedule.gamma
        self.latent_dims = (self.x_dim,) * int(min(self.T, 2))

    def with_levels(self, T: float) -> Diffusion:
        """Return a copy with another number of levels between the same ends: the network's input is gamma, not t."""
        twin = copy.deepcopy(self)
        twin._set_levels(Schedule(T, self.schedule.ends, self.variance))
        return twin

    def column(self, values: Array) -> Array:
        """Return float64 numbers, one for each example or for all, as a column in the model's precision."""
        return values[:, None].astype(self.dtype)

    # the network, as the parameter of p(x | z) and as a guess of a ------------------------------

    def read(self, z: Array, gamma: Array) -> tuple[Array, Cache]:
        """Return h, the parameter of p(x | z): from each entry's own z, and what the network adds.  MATH (13.5).

        Parameters
        ----------
        z : array of shape (n, D)
        gamma : array of shape (n,) or (1,), float64
            The noise in z.
        """
        own, gain = self.signal.gains(gamma)
        time = np.pi * (gamma - self.gamma[1]) / (self.gamma[-1] - self.gamma[1] or 1)  # (13.5)
        told = np.cos(np.outer(np.broadcast_to(time, len(z)), np.arange(1, COSINES + 1))).astype(self.dtype)    # (13.5)
        own, gain = self.column(own), self.column(gain)
        f, f_cache = self.f.forward(np.concatenate([z, told], axis=1))         # (n, D)   (13.5)
        return own * z + gain * f, (f_cache, own, gain)  # (13.5)

    def guess(self, z: Array, gamma: Array) -> Array:
        """Return â, of shape (n, D): all that `descend` needs of the network, and where guidance changes it.

        MATH (15.5), (15.6), (15.7).
        """
        return self.signal.guess(self.read(z, gamma)[0])

    def read_backward(self, dh: Array, cache: Cache, input_gradient: bool) -> Array:
        """Return dz, or an array without columns; z is used by itself and by the network.  MATH (13.5)."""
        f_cache, own, gain = cache
        dz = self.f.backward(gain * dh, f_cache, input_gradient)[:, :self.x_dim]        # (13.5, f)
        return own * dh + dz if input_gradient else dz  # (13.5)

    # the bound ----------------------------------------------------------------------------------

    def draw_noise(self, n: int, rng: np.random.Generator) -> list[Array]:
        """Draw a time in [0, 1) for each example, see `times`, and eps ~ N(0, I) for z_1 and for z_{t+1}."""
        n, rng = check.size("n", n), check.generator("rng", rng)
        time = times(n, rng).astype(np.float32 if self.dtype == np.float32 else np.float64)
        return [time, self.normal(rng, n, self.x_dim), self.normal(rng, n, self.x_dim)]

    def check_noise(self, noise: Any, n: int) -> list[Array]:
        """Return the noise in the model's precision, or raise a ValueError."""
        time, *eps = check.arrays("noise", noise, [(n,), (n, self.x_dim), (n, self.x_dim)], self.dtype,
                                  ": times, eps of z_1, eps of z_(t+1)")
        if time.real.min() < 0 or time.real.max() > 1:
            raise ValueError("noise[0] must be times in [0, 1]; its values go from "
                             f"{time.real.min():g} to {time.real.max():g}")
        return [time, *eps]

    def q(self, a: Array, gamma: Array) -> tuple[Array, Array]:
        """Return mu and logvar of q(z | x) where the noise is gamma: √ᾱ a, a column log (1 - ᾱ).  MATH (13.1)."""
        return self.column(signal(gamma)) * a, self.column(np.log(sigmoid(gamma)))      # (13.1)

    def bound(self, x: Array, noise: Sequence[Array]) -> tuple[ELBO, Cache]:
        """Return the bound, its third part estimated from one level of each example; see `Model.forward`.

        ``consistency`` has one column, T - 1 times the part of level t, where each t
        below T is as likely as any other: its mean is the sum over all levels.
        MATH (13.3), (13.4), (13.6), (13.12), (13.13).

        Parameters
        ----------
        x : array of shape (n, x_dim)
        noise : list of arrays
            From `draw_noise`.
        """
        n, (time, eps_1, eps) = len(x), noise
        a = self.signal.forward(x)                                             # (n, D): z_0   (13.1)
        gamma_1 = np.full(n, self.gamma[1])
        gamma, weight, constant = self.schedule.pick(time.real)          # (n,) each   (13.4)
        z_1, _ = gaussian.sample(*self.q(a, gamma_1), eps_1)              # (n, D)   (13.1)
        z, _ = gaussian.sample(*self.q(a, gamma), eps)                    # (n, D): z_{t+1}   (13.1)
        h, f_cache = self.read(np.concatenate([z_1, z]), np.concatenate([gamma_1, gamma]))  # (2 n, D)   (13.4)
        reconstruction, r_cache = self.likelihood.log_prob(x, h[:n])      # (n,): log p(x | z_1)   (13.4)
        prior_matching, k_cache = gaussian.kl_standard(*self.q(a, self.gamma[-1:]))  # (n,)   (13.4)
        a_hat = self.signal.guess(h[n:])                                         # (n, D)   (13.4)
        diff = a - a_hat                         # (13.4)
        w_diff = self.column(weight) * diff      # (13.4)
        kl = self.column(self.x_dim * constant)[:, 0] + 0.5 * (diff * w_diff).sum(axis=1)  # (13.4)
        elbo = ELBO(reconstruction, prior_matching, kl[:, None][:, :len(self.latent_dims) - 1])  # (13.4)
        return elbo, (f_cache, r_cache, k_cache, a_hat, w_diff, gamma, n)

    def backward(self, delbo: ELBOGradient, cache: Cache, input_gradient: bool = False) -> Array:
        """Fill ``gradient``, given that of the loss by each part of the bound; see `Model.backward`.

        Read it from the bottom of `bound` up.  q is fixed: the parameters are met only in h.
        MATH (13.9).
        """
        f_cache, r_cache, k_cache, a_hat, w_diff, gamma, n = cache
        da = delbo.dkl[:, :1] * w_diff                                          # (n, D); and -da for the guess   (13.9)
        dx, dh_1 = self.likelihood.log_prob_backward(delbo.dreconstruction, r_cache)        # (n, D) each   (13.9)
        dh = np.concatenate([dh_1, self.signal.guess_backward(-da, a_hat)])           # (2 n, D)   (13.9)
        dz = self.read_backward(dh, f_cache, input_gradient)                   # (2 n, D): of z_1 and of z   (13.9)
        if not input_gradient:
            return dz[:n]
        dmu_T, _ = gaussian.kl_standard_backward(delbo.dprior_matching, k_cache)  # (n, D)   (13.9)
        for gamma_z, dz_z in ((self.gamma[1:2], dz[:n]), (gamma, dz[n:]), (self.gamma[-1:], dmu_T)):
            da = da + self.column(signal(gamma_z)) * dz_z                      # every z has ∂z/∂a = √ᾱ   (13.9, sum)
        return dx + self.signal.backward(da)                                   # x: point of p(x | z_1), and a   (13.9)

    def bound_by_level(self, x: ArrayLike, rng: int | np.random.Generator = 0, n_times: int = 100) -> ELBO:
        """Return the bound with every level's part, each at one draw of z: the whole sum, with no level left to chance.

        MATH (13.4).

        Parameters
        ----------
        x : array of shape (n, x_dim)
        rng : numpy.random.Generator or int, default 0
            The source of randomness, or a seed.
        n_times : int, default 100
            For infinitely many levels, which are as many intervals of gamma.

        Returns
        -------
        ELBO
            consistency has shape (n, T - 1), or (n, n_times): column t - 1 is that of z_t.
            The reconstruction is a mean over as many draws of z_1.
        """
        x, rng = self.check_x(x), check.generator("rng", rng)
        n = check.size("n_times", n_times) if self.T == np.inf else int(self.T) - 1
        reconstruction, consistency = np.zeros(len(x), self.dtype), np.empty((len(x), n), self.dtype)
        for k in range(max(1, n)):
            noise = self.draw_noise(len(x), rng)
            noise[0] = (k + noise[0]) / max(1, n)      # a time within the k-th interval
            elbo, _ = self.bound(x, self.check_noise(noise, len(x)))
            reconstruction += elbo.reconstruction / max(1, n)
            consistency[:, k:k + 1] = elbo.consistency / max(1, n)
        return ELBO(reconstruction, elbo.prior_matching, consistency)

    def log_weight(self, x: Array, n_samples: int, rng: np.random.Generator) -> Array:
        """Return log p(x, z) - log q(z | x) at draws z ~ q(z | x) from the top down, of shape (n_samples, n).

        For infinitely many levels, that of 1000.  MATH (13.8).
        """
        if self.T == np.inf:
            return self.with_levels(MANY).log_weight(x, n_samples, rng)
        a = np.tile(self.signal.forward(x), (n_samples, 1))                     # (n_samples n, D)
        mu, logvar = self.q(a, self.gamma[-1:])
        z, _ = gaussian.sample(mu, logvar, self.normal(rng, *a.shape))          # z_T ~ q(z_T | x)
        log_w = gaussian.log_prob(z, 0 * z, 0 * z)[0] - gaussian.log_prob(z, mu, logvar)[0]
        for t in range(int(self.T) - 1, 0, -1):
            s, eps = self.schedule, self.normal(rng, *a.shape)
            ratio = float(s.ratio[t - 1])
            diff = float(np.sqrt(s.weight[t - 1])) * (a - self.signal.guess(self.read(z, self.gamma[t + 1:t + 2])[0]))
            log_w -= 0.5 * (diff * (2 * ratio ** 0.5 * eps + diff) + (ratio - 1) * eps * eps).sum(axis=1)
            log_w += 0.5 * self.x_dim * float(np.log(ratio))
            z = self.down(z, a, t) + float(np.sqrt(s.v_q[t - 1])) * eps         # z_t ~ q(z_t | z_{t+1}, x)
        h = self.read(z, self.gamma[1:2])[0].reshape(n_samples, len(x), -1)
        return self.likelihood.log_prob(x, h)[0] + log_w.reshape(n_samples, len(x))

    # looking at it ------------------------------------------------------------------------------

    def down(self, z: Array, a: Array, t: int) -> Array:
        """Return the mean of z_t given z_{t+1}, and given a or its guess: c_z z + c_a a.  MATH (13.2)."""
        return float(self.schedule.c_z[t - 1]) * z + float(self.schedule.c_a[t - 1]) * a

    def check_level(self, level: int) -> Array:
        """Return gamma of z_level, of shape (1,), or raise a ValueError."""
        if self.T == np.inf:
            raise ValueError("T is infinite, so that no level has a number: model.with_levels(1000) numbers them")
        level = check.size("level", level, 1, self.T)
        return self.gamma[level:level + 1]

    def encode(self, x: ArrayLike, level: int = 1) -> tuple[Array, Array]:
        """Return mu and logvar of q(z_level | x), both of shape (n, x_dim): nothing is learned in it.  MATH (13.1)."""
        mu, logvar = self.q(self.signal.forward(self.check_x(x)), self.check_level(level))
        return mu, logvar + np.zeros_like(mu)

    def decode(self, z: ArrayLike, level: int = 1, rng: int | np.random.Generator | None = None) -> Array:
        """Return E[x | z_level] as the network guesses it, in one go; with a generator or a seed, a draw of x by it.

        Above level 1 the entries of such a draw are independent; `sample` comes down level by level.  MATH (13.5).
        """
        gamma = self.check_level(level)
        h, _ = self.read(check.array("z", z, ("n", self.x_dim), self.dtype), gamma)
        return self.likelihood.mean(h) if rng is None else self.likelihood.sample(h, check.generator("rng", rng))

    def reconstruct(self, x: ArrayLike, level: int = 1, rng: int | np.random.Generator = 0) -> Array:
        """Return E[x | z_level] at a draw of z_level ~ q(z_level | x): what is left of x under so much noise."""
        mu, logvar = self.encode(x, level)
        eps = self.normal(check.generator("rng", rng), *mu.shape)
        return self.decode(gaussian.sample(mu, logvar, eps)[0], level)

    def descend(self, n: int, rng: Any, steps: Any = None, eta: Any = None) -> Iterator[tuple[float, Array]]:
        """Draw z_T from N(0, I) and z_t below it, by `Schedule.way_down`; yield each t, z_t.  MATH (13.2), (13.14)."""
        n, rng = check.size("n", n), check.generator("rng", rng)
        z = self.normal(rng, n, self.x_dim)
        yield self.T, z
        for t, gamma, c_z, c_a, sd in self.schedule.way_down(steps, eta):
            z = c_z * z + c_a * self.guess(z, gamma) + sd * self.normal(rng, n, self.x_dim)
            yield t, z

    def sample(self, n: int, rng: Any = None, draw: bool = False, steps: int | None = None,
               eta: float | None = None) -> Array:
        """Draw from the top level down, return E[x | z_1], of shape (n, x_dim); with ``draw``, x ~ p(x | z_1).

        By default through all levels, with p's noise; see `Schedule.way_down`.  MATH (13.2), (13.14).
        """
        n, draw, rng = check.size("n", n), check.flag("draw", draw), check.generator("rng", rng)
        for _, z in self.descend(n, rng, steps, eta):
            pass
        h, _ = self.read(z, self.gamma[1:2])
        return self.likelihood.sample(h, rng) if draw else self.likelihood.mean(h)
