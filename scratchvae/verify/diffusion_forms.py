"""Diffusion in equivalent forms: three writings of the third part of the bound, three readings of the network.

The third part of the bound of a hierarchy can be written in three ways (hvae.py has
two of them, and for a learned q the third is that of a q from the top down):

    "exact"      -H[ q(z_t | z_{t-1}) ] - log p(z_t | z_{t+1})                at the z_t drawn
    "printed"    KL( q(z_t | z_{t-1})    || p(z_t | z_{t+1}) )                as printed
    "top-down"   KL( q(z_t | z_{t+1}, x) || p(z_t | z_{t+1}) )                what diffusion is trained with

The first and the last are exact, with another share for the top level: together with
their prior matching they have the same mean.  The second has another mean: for a perfect
model it is too high by about D nats at *every* level.  MATH (13.4), (13.10).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import check, gaussian
from ..diffusion import Diffusion
from ..layers import Array
from ..objective import ELBO
from ..schedule import between, signal, spread


class Readings(NamedTuple):
    """What the network predicts at z, in three equivalent forms: see `readings`, MATH (13.11)."""

    a: Array
    noise: Array
    score: Array


def readings(model: Diffusion, z: ArrayLike, level: int) -> Readings:
    """Return the network's guess of a, of the noise in z, and of the score ∇ log q(z).  MATH (13.11), (13.19).

    They are one: z = √ᾱ a + √(1 - ᾱ) noise, and score = -noise/√(1 - ᾱ).

    Parameters
    ----------
    model : Diffusion
    z : array of shape (n, D)
    level : int
        The level t that z belongs to.

    Returns
    -------
    Readings
        Each array of shape (n, D).
    """
    gamma = check.has("model", model, ("check_level",), "Diffusion(64, 50)").check_level(level)
    z = check.array("z", z, ("n", model.x_dim), model.dtype)
    a = model.signal.guess(model.read(z, gamma)[0])
    noise = (z - model.column(signal(gamma)) * a) / model.column(spread(gamma))
    return Readings(a, noise, -noise / model.column(spread(gamma)))


def three_writings(model: Diffusion, x: ArrayLike, rng: int | np.random.Generator = 0) -> dict[str, ELBO]:
    """Return the bound in each of the three writings, at one path z_1, ..., z_T that is drawn from the bottom up.

    MATH (13.10).

    Parameters
    ----------
    model : Diffusion
        With a finite T.
    x : array of shape (n, D)
    rng : numpy.random.Generator or int, default 0
        The source of randomness, or a seed.

    Returns
    -------
    dict of str to ELBO
        For "printed", "exact" and "top-down"; consistency has shape (n, T - 1), column
        t - 1 being that of z_t.
    """
    check.has("model", model, ("check_level",), "Diffusion(64, 50)").check_level(1)         # or T is not finite
    x, rng = model.check_x(x), check.generator("rng", rng)
    a, T = model.signal.forward(x), int(model.T)
    alpha, rest = (model.column(v)[:, 0] for v in between(model.gamma[:-1], model.gamma[1:]))       # of the T steps up
    log_v_q, log_v_p = (model.column(np.log(v)) for v in (model.schedule.v_q, model.schedule.v_p))
    parts = {form: np.empty((len(x), T - 1), model.dtype) for form in ("printed", "exact", "top-down")}

    def step(z: Array, t: int) -> tuple[Array, Array, Array]:
        mu, logvar = np.sqrt(alpha[t - 1]) * z, np.log(rest[t - 1]) + 0 * z     # q(z_t | z_{t-1})
        return mu, logvar, gaussian.sample(mu, logvar, model.normal(rng, *z.shape))[0]

    mu, logvar, z = step(a, 1)
    reconstruction, _ = model.likelihood.log_prob(x, model.read(z, model.gamma[1:2])[0])
    for t in range(1, T):
        mu_above, logvar_above, z_above = step(z, t + 1)                        # q(z_{t+1} | z_t), and z_{t+1}
        a_hat = model.signal.guess(model.read(z_above, model.gamma[t + 1:t + 2])[0])
        p = model.down(z_above, a_hat, t), log_v_p[t - 1]                       # p(z_t | z_{t+1})
        parts["printed"][:, t - 1] = gaussian.kl(mu, logvar, *p)[0]
        parts["exact"][:, t - 1] = -gaussian.entropy(logvar)[0] - gaussian.log_prob(z, *p)[0]
        parts["top-down"][:, t - 1] = gaussian.kl(model.down(z_above, a, t), log_v_q[t - 1], *p)[0]
        mu, logvar, z = mu_above, logvar_above, z_above
    up, _ = gaussian.kl_standard(mu, logvar)                                    # KL( q(z_T | z_{T-1}) || N(0, I) )
    down, _ = gaussian.kl_standard(*model.q(a, model.gamma[-1:]))                       # KL( q(z_T | x) || N(0, I) )
    return {form: ELBO(reconstruction, down if form == "top-down" else up, part) for form, part in parts.items()}
