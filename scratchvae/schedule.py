"""How much noise is in z_t: the part of a diffusion that does not depend on data.

    q(z_t | z_{t-1}) = N( √α_t z_{t-1}, (1 - α_t) I ),    z_0 = a, the data as a signal

Each level shrinks the last and adds noise.  Noise added to noise is noise, so z_t may
be drawn from a in one go.  With ᾱ_t = α_1 ... α_t, and with the noise-to-signal ratio in
logarithms, gamma_t = log( (1 - ᾱ_t)/ᾱ_t ),

    q(z_t | a)          = N( √ᾱ_t a, (1 - ᾱ_t) I ),       ᾱ = sigmoid(-gamma),   1 - ᾱ = sigmoid(gamma)
    q(z_t | z_{t+1}, a) = N( c_z z_{t+1} + c_a a, v_q I )

the second by Bayes' rule.  So gamma_1 < ... < gamma_T determine everything.
"""

from __future__ import annotations

import numpy as np

from . import check
from .layers import Array, sigmoid, softplus

MOST = 10**6                                           # levels
MANY, FEW = 1000, 50                                   # that stand for infinitely many: for log p(x), for samples
Way = tuple[int, Array, float, float, float]           # a step down: t, gamma above it, c_z, c_a, √v


def signal(gamma: Array) -> Array:
    """Return √ᾱ, the share of a in z, for gamma = log((1 - ᾱ)/ᾱ).  MATH (13.1)."""
    return np.sqrt(sigmoid(-gamma))                    # (13.1)


def spread(gamma: Array) -> Array:
    """Return √(1 - ᾱ), the share of the noise.  MATH (13.1)."""
    return np.sqrt(sigmoid(gamma))                     # (13.1)


def between(gamma_s: Array, gamma_t: Array) -> tuple[Array, Array]:
    """Return α and 1 - α of the step q(z_t | z_s), from less to more noise: α = ᾱ_t/ᾱ_s.  MATH (13.1).

    log ᾱ = -softplus(gamma), and with expm1 a small 1 - α keeps its digits.
    """
    log_alpha = softplus(gamma_s) - softplus(gamma_t)
    return np.exp(log_alpha), -np.expm1(log_alpha)


def step(gamma_s: Array, gamma_t: Array, eta: float) -> tuple[Array, Array, Array]:
    """Return c_z, c_a and v of the step z_s = c_z z_t + c_a â + √v eps from more to less noise.  MATH (13.14).

    eta is the share of new noise: 1 is p(z_s | z_t) with the variance v_q, 0 is DDIM, without noise.
    Song, Meng and Ermon 2021 (arXiv 2010.02502), equation 12.
    """
    r = np.exp(gamma_s - gamma_t)                      # how much of the noise, as a variance of u = z/√ᾱ, is left
    kappa = np.sqrt(r * (1 - eta ** 2 + eta ** 2 * r))
    v = eta ** 2 * sigmoid(gamma_s) * -np.expm1(gamma_s - gamma_t)
    return kappa * signal(gamma_s) / signal(gamma_t), (1 - kappa) * signal(gamma_s), v


def times(n: int, rng: np.random.Generator) -> Array:
    """Draw n times in [0, 1): a random start, then steps of 1/n, round and round.  MATH (13.6).

    Each of them is uniform; together they leave no gap, so that a mean over them
    is much quieter.  Kingma et al. 2021, appendix I.1.
    """
    return (rng.random() + np.arange(n) / n) % 1


class Schedule:
    """The levels of a diffusion, from z_1, next to the data, to z_T.  MATH (13.2), (13.3).

    Parameters
    ----------
    T : int or np.inf
        The number of levels; np.inf is the limit of many.
    log_noise : array of shape (2,) or (T,)
        gamma_1 and gamma_T, with equal steps between; or every gamma_t.
    variance : {'posterior', 'forward'}
        Of p(z_t | z_{t+1}): that of q(z_t | z_{t+1}, a), or 1 - α_{t+1}.

    Attributes
    ----------
    gamma : array of shape (T + 1,), float64
        gamma[t], with gamma[0] = -∞, as z_0 has no noise; for T = np.inf, the two ends after it.
    ends : array of shape (2,), float64
        Where log_noise begins and ends.
    c_z, c_a, v_q, v_p : array of shape (T - 1,), float64
        At t - 1, of q(z_t | z_{t+1}, a), and the variance of p(z_t | z_{t+1}).
    ratio, weight, constant : array of shape (T - 1,), float64
        v_q/v_p, and what the KL of level t is made of: weight/2 · |a - â|² + D · constant.
    """

    def __init__(self, T: float, log_noise: Array, variance: str) -> None:
        self.T = np.inf if isinstance(T, float) and T == np.inf else check.size("T", T, 1, MOST)
        check.choice("variance", variance, ("posterior", "forward"))
        n_levels = 2 if self.T == np.inf else int(self.T)      # a limit has two ends
        if len(log_noise) not in (2, n_levels) or (np.diff(log_noise) <= 0).any():
            raise ValueError("log_noise must be 2 numbers that rise, or one for each of the T levels; "
                             f"got {check.shown(log_noise.tolist())}")
        self.ends = log_noise[[0, -1]]
        if len(log_noise) != n_levels:
            log_noise = np.linspace(log_noise[0], log_noise[1], n_levels)
        self.gamma = np.concatenate([[-np.inf], log_noise])
        s, t = self.gamma[1:-1], self.gamma[2:]        # of z_t and of z_{t+1}, for t = 1, ..., T - 1
        alpha, rest = between(s, t)
        self.c_z = np.sqrt(alpha) * sigmoid(s) / sigmoid(t)
        self.c_a = signal(s) * rest / sigmoid(t)
        self.v_q = rest * sigmoid(s) / sigmoid(t)
        self.v_p = self.v_q if variance == "posterior" else rest
        self.ratio = self.v_q / self.v_p
        self.weight = self.ratio * np.exp(-s) * -np.expm1(s - t)               # 1/e^s - 1/e^t, were the ratio 1
        self.constant = (self.ratio - 1 - np.log(self.ratio)) / 2

    def pick(self, time: Array) -> tuple[Array, Array, Array]:
        """Return gamma of z_{t+1} at a level t < T chosen by time, and the weight and constant that estimate the sum.

        One level stands for all: they are T - 1 times those of the level.  For
        infinitely many levels gamma itself is uniform, and its density is divided out.  MATH (13.6), (13.7), (13.18).

        Parameters
        ----------
        time : array of shape (n,)
            In [0, 1].

        Returns
        -------
        gamma, weight, constant : array of shape (n,), float64
        """
        first, last = self.gamma[[1, -1]]
        if self.T == np.inf:
            gamma = first + (last - first) * time      # (13.7)
            return gamma, (last - first) * np.exp(-gamma), 0 * gamma    # (13.7)
        if self.T == 1:                                # there is no third part
            return first + 0 * time, 0 * time, 0 * time  # (13.6, T = 1)
        t = np.minimum(time * (self.T - 1), self.T - 2).astype(int) + 1  # (13.6)
        return self.gamma[t + 1], (self.T - 1) * self.weight[t - 1], (self.T - 1) * self.constant[t - 1]        # (13.6)

    def way_down(self, steps: int | None = None, eta: float | None = None) -> list[Way]:
        """Return the steps of a sample from z_T to z_1.  By default they are p's, through every level.

        MATH (13.2); with one of the two arguments they are those of `step`, MATH (13.14).

        Parameters
        ----------
        steps : int, optional
            How many levels to pass, z_T and z_1 included; by default all, or 50 for T = np.inf.
        eta : float, default 0
            From 0, DDIM, to 1, as much new noise as p has.

        Returns
        -------
        list of tuple
            t of the lower level; gamma of the upper one, of shape (1,); and three numbers, c_z, c_a and √v.

        Raises
        ------
        ValueError
            If steps or eta is out of range; the message names it.
        """
        as_p, eta = steps is None and eta is None, 0.0 if eta is None else check.number("eta", eta, 0, 1, closed=True)
        if self.T == np.inf:
            T = FEW if steps is None else check.size("steps", steps, 2, MOST)
            return Schedule(T, self.ends, "posterior").way_down(eta=eta)
        T = int(self.T)
        t = np.linspace(T, 1, T if steps is None else check.size("steps", steps, min(2, T), T)).round().astype(int)
        c_z, c_a, v = step(self.gamma[t[1:]], self.gamma[t[:-1]], eta)
        if as_p:
            c_z, c_a, v = self.c_z[::-1], self.c_a[::-1], self.v_p[::-1]
        return list(zip(t[1:].tolist(), self.gamma[t, None], c_z.tolist(), c_a.tolist(), np.sqrt(v).tolist()))
