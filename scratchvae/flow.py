"""The same network without noise: an ordinary differential equation, and log p(x) by it.

In u = z/√ᾱ the signal a stays where it is, and only the noise grows: u = a + e^(gamma/2) eps.
There is a motion without any noise that gives u the same density p_gamma at every gamma
(Song et al. 2021, arXiv 2011.13456): the *probability flow*,

    du/dgamma         =  (u - â)/2                     â = E[a | u], the network's guess
    d log p_gamma(u)  =  -(D - Σᵢ ∂âᵢ/∂uᵢ)/2 dgamma      along it

The second line is what the first does to a small volume around u.  So log p of a u with
little noise is that of N(0, I) at the top, and an integral.  DDIM's steps without noise,
eta = 0 in `schedule.step`, are Euler's for the first line.

The trace Σᵢ ∂âᵢ/∂uᵢ is exact, not estimated by a random probe.  MATH (13.15) to (13.17).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import check, gaussian
from .diffusion import Diffusion
from .layers import Array, Cache
from .mlp import MLP
from .schedule import signal

Denoiser = Callable[[Array, float], tuple[Array, Any]]   # of u and gamma: â, and Σᵢ ∂âᵢ/∂uᵢ of each row


def trace(f: MLP, caches: list[Cache], weight: Array) -> Array:
    """Return Σᵢ weight_i ∂f_i/∂x_i of each row, from what `MLP.forward` left for backward.  MATH (13.16).

    Backward brings a gradient down from y, this brings a change up from x: the i-th unit vector
    goes through the same layers.  A Dense layer maps it by W.  An activation acts on each entry
    alone, so that what it does to a change upwards is what its backward does downwards.

    Parameters
    ----------
    f : MLP
    caches : list
        From ``f.forward(x)``.
    weight : array of shape (n, D)
        D outputs, and the first D inputs.

    Returns
    -------
    array of shape (n,)
    """
    (n, D), (*hidden, output) = weight.shape, f.layers.values()
    dense, slopes = hidden[::2], []
    for layer, activation, cache in zip(dense, hidden[1::2], caches[1::2]):
        slopes.append(activation.backward(np.ones((n, layer.W.shape[1]), weight.dtype), cache))       # y'(x)
    total: Any = 0
    for i, dx in enumerate(np.eye(D, len(f.layers["dense1"].W), dtype=weight.dtype)):
        for layer, slope in zip(dense, slopes):
            dx = dx @ layer.W * slope                  # (n, d): from ∂x/∂x_i to ∂y/∂x_i
        total = total + weight[:, i] * (dx @ output.W[:, i])
    return total


def denoise(model: Diffusion, u: Array, gamma: float) -> tuple[Array, Array]:
    """Return the model's guess â from u = z/√ᾱ, of shape (n, D), and Σᵢ ∂âᵢ/∂uᵢ, of shape (n,).  MATH (13.16)."""
    gamma_z = np.array([gamma])
    s = model.column(signal(gamma_z))                  # (1, 1): √ᾱ
    h, (f_cache, own, gain) = model.read(s * u.astype(model.dtype), gamma_z)
    a = model.signal.guess(h)
    da = model.signal.guess_backward(np.ones_like(a), a)                       # (n, D): ∂â/∂h
    return a, np.ravel(s * (own * da.sum(axis=1) + gain * trace(model.f, f_cache, da)))


def integrate(denoiser: Denoiser, u: Array, start: float, end: float, rtol: float = 1e-4) -> tuple[Array, Array]:
    """Follow the flow from one gamma to another, up or down.  MATH (13.15).

    Parameters
    ----------
    denoiser : function
        Of u and gamma, returns â of shape (n, D) and Σᵢ ∂âᵢ/∂uᵢ, of shape (n,) or one number; such as
        ``lambda u, gamma: denoise(model, u, gamma)``.
    u : array of shape (n, D)
        z/√ᾱ where the noise is ``start``.
    start, end : float
        gamma, the log of noise over signal.
    rtol : float, default 1e-4
        The tolerance of each step, relative and absolute, for `scipy.integrate.solve_ivp`.

    Returns
    -------
    u : array of shape (n, D)
        Where the noise is ``end``.
    change : array of shape (n,)
        log p(u at the start) - log p(u at the end), in nats.

    Raises
    ------
    FloatingPointError
        If the network returns something infinite or not a number, or the steps become too small.
    """
    from scipy.integrate import solve_ivp
    (n, D), rtol = u.shape, check.number("rtol", rtol, 0, open_low=True)

    def slope(gamma: float, y: Array) -> Array:
        u = y[:n * D].reshape(n, D)
        a, divergence = denoiser(u, gamma)
        dy = np.append((u - a) / 2, np.zeros(n) + (D - divergence) / 2)
        if not np.isfinite(dy).all():
            raise FloatingPointError(f"the flow became infinite or not a number at gamma {gamma:g}")
        return dy

    found = solve_ivp(slope, (start, end), np.append(u, np.zeros(n)), rtol=rtol, atol=rtol)
    if not found.success:
        raise FloatingPointError(f"the flow did not arrive at gamma {end:g}: {found.message}")
    return found.y[:n * D, -1].reshape(n, D), found.y[n * D:, -1]


def log_density(model: Diffusion, z: Array, rtol: float = 1e-4) -> Array:
    """Return log p(z_1) in nats, of shape (n,): the flow's own density, with N(0, I) at the top.  MATH (13.15).

    ``log_density(model, s * a) + D * np.log(s)`` with s = √ᾱ_1 is that of a with a little noise.
    """
    z, zero = check.array("z", z, ("n", model.x_dim)), np.zeros(1)
    first, last = model.gamma[[1, -1]]
    s_1, s_T = signal(model.gamma[[1, -1]])
    u, change = integrate(lambda u, gamma: denoise(model, u, gamma), z / s_1, first, last, rtol)
    return gaussian.log_prob(s_T * u, zero, zero)[0] + model.x_dim * np.log(s_T / s_1) + change


def log_weight(model: Diffusion, x: Array, rng: Any = 0, rtol: float = 1e-4) -> Array:
    """Return log p(x | z_1) + log p(z_1) - log q(z_1 | x) at one draw z_1 ~ q(z_1 | x), of shape (n,), in nats.

    Its mean is a lower bound on log p(x) of the flow; `importance.log_mean_exp` over many draws is nearer to it.
    This is a model of its own, with the same network: it may lie above or below the bound of the
    diffusion.  MATH (13.17).
    """
    x, rng = model.check_x(x), check.generator("rng", rng)
    mu, logvar = model.q(model.signal.forward(x), model.gamma[1:2])
    z, _ = gaussian.sample(mu, logvar, model.normal(rng, *x.shape))
    log_p = model.likelihood.log_prob(x, model.read(z, model.gamma[1:2])[0])[0]
    return log_p + log_density(model, z, rtol) - gaussian.log_prob(z, mu, logvar)[0]
