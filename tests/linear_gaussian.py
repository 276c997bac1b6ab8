"""Random linear-Gaussian models, and independent routes to what exact.py and the library say of them."""

import numpy as np
import pytest

from scratchvae import HVAE, VAE, Gaussian
from scratchvae.verify import exact

DIMS = {1: (3,), 2: (4, 2), 3: (3, 4, 2), 4: (2, 3, 3, 1), 5: (4, 3, 2, 2, 3)}     # latents for T = 1, ..., 5
X_DIM = 6
Z = 4.5                                                # standard errors: a chance of 7e-6 for a true statement to fail
every_T = pytest.mark.parametrize("T", DIMS)
both_forms = pytest.mark.parametrize("form", ["exact", "printed"])


def chain(T, seed=0, form="exact"):
    """A random linear-Gaussian hierarchy and five x."""
    model = exact.linear_hvae(X_DIM, DIMS[T], rng=seed, consistency=form)
    return model, np.random.default_rng(seed).normal(size=(5, X_DIM)) * 2


def at_posterior(T, seed=0, form="exact"):
    """The same, its q the exact posterior."""
    model, x = chain(T, seed, form)
    exact.turn(model)
    exact.set_q(model, exact.posterior(model))
    return model, x


def near_posterior(T):
    """A q close enough to the posterior for importance sampling, far enough for the bound to show it."""
    model, x = at_posterior(T)
    rng = np.random.default_rng(0)
    exact.set_q(model, {t: f._replace(b=f.b + 0.3 * np.sqrt(np.diag(f.cov)) * rng.normal(size=f.b.shape),
                                      cov=1.4 * f.cov) for t, f in exact.inference(model).items()})
    return model, x[:1]


def linear_vae(seed=0, k=3, s2=0.5, D=X_DIM):
    return VAE(D, k, (), likelihood=Gaussian(D, logvar=np.log(s2)), rng=seed, dtype=np.float64)


def sigma_points(model):
    """Noise with exactly mean 0 and covariance I: the 2d points ± √d e_i of all d latents together."""
    d = sum(model.latent_dims)
    points = np.sqrt(d) * np.concatenate([np.eye(d), -np.eye(d)])
    blocks = np.split(points, np.cumsum(model.latent_dims)[:-1], axis=1)
    return blocks if isinstance(model, HVAE) else blocks[0]


def repeat(x, noise):
    """Each x with each of the noises: rows of x, and noise, for one forward pass."""
    one = noise[0] if isinstance(noise, list) else noise
    tiled = [np.tile(eps, (len(x), 1)) for eps in noise] if isinstance(noise, list) else np.tile(noise, (len(x), 1))
    return np.repeat(x, len(one), axis=0), tiled, len(one)


def expected(model, x):
    """The expectation of the library's own bound: reconstruction (n,), kl (n, T).

    Every part is a quadratic polynomial of the noise, and the mean of such a
    polynomial over `sigma_points` is its mean over N(0, I): no sampling error.
    """
    rows, noise, n = repeat(x, sigma_points(model))
    bound, _ = model.forward(rows, noise)
    return bound.reconstruction.reshape(-1, n).mean(axis=1), bound.kl.reshape(len(x), n, -1).mean(axis=1)


def joint(model):
    """Mean and covariance of (z_0, ..., z_T) under p, from v = v L + b + noise, so Cov v = (I - L)⁻ᵀ S (I - L)⁻¹."""
    d = (model.x_dim, *model.latent_dims)
    edges = np.concatenate([[0], np.cumsum(d)])
    at = [slice(*edges[t:t + 2]) for t in range(len(d))]
    L, b, S = np.zeros((edges[-1],) * 2), np.zeros(edges[-1]), np.ones(edges[-1])
    for t in range(1, len(d)):
        W, bias = model.parameters[f"p{t}.dense1.W"], model.parameters[f"p{t}.dense1.b"]
        below = d[t - 1]
        L[at[t], at[t - 1]], b[at[t - 1]] = W[:, :below], bias[:below]
        S[at[t - 1]] = np.exp(bias[below:] if len(bias) > below else model.likelihood.logvar)
    inverse = np.linalg.inv(np.eye(len(L)) - L)
    return b @ inverse, inverse.T @ np.diag(S) @ inverse, at


def joint_posterior(model, x):
    """Mean (n, d) and covariance (d, d) of all latents together given x, by conditioning the joint."""
    mean, cov, at = joint(model)
    x_at, z_at = at[0], slice(at[0].stop, None)
    G = np.linalg.solve(cov[x_at, x_at], cov[x_at, z_at])
    return mean[z_at] + (x - mean[x_at]) @ G, cov[z_at, z_at] - cov[z_at, x_at] @ G


def joint_q(q, x):
    """Mean (n, d) and covariance (d, d) of all latents together under a bottom-up chain."""
    means, cov, last = [x], np.zeros((0, 0)), np.zeros((0, x.shape[1]))
    for W, b, own in q.values():
        means.append(means[-1] @ W + b)
        cross = last @ W                                              # Cov(all below, z_t) = Cov(all below, z_{t-1}) W
        var = W.T @ last[-W.shape[0]:] @ W + own if len(last) else own
        cov = np.block([[cov, cross], [cross.T, var]])
        last = np.concatenate([cross, var])
    return np.concatenate(means[1:], axis=1), cov
