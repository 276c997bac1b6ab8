"""Exact answers: the models for which every integral has a closed form.

Let every network be affine and every variance a constant.  Then what a VAE can
only estimate may be written down: log p(x), the posterior, the bound, the best
that training can reach.  Such a model is a poor model of digits, and a
touchstone for code: what the library draws, estimates and trains can be held
against the truth, to the last digits of a float.

With x = z_0, for t = 1, ..., T,

    p(z_{t-1} | z_t) = N( z_t B_t + b_t, S_t ),       z_T ~ N(0, I)
    q(z_t | z_{t-1}) = N( z_{t-1} A_t + a_t, Q_t )

A row is an example, so a map stands to the right of what it maps, and B_t is the
W of a Dense layer: the transpose of what most papers write.  T = 1 with
S_1 = s² I is probabilistic PCA (Tipping and Bishop 1999); with its q it is the
linear VAE (Lucas et al. 2019, arXiv 1911.02469).

All of it follows from two facts about Gaussians, MATH (11.1): under a linear map
variances add, and in Bayes' rule precisions add.  In use:

    model = exact.linear_hvae(6, (3, 2))          # random, two levels
    exact.turn(model)                             # into the axes in which its posterior is diagonal
    exact.set_q(model, exact.posterior(model))    # q becomes the posterior itself, and so
    exact.log_likelihood(model, x)                # is what model.log_likelihood(x, 1) returns
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Union

import numpy as np

from .. import check, gaussian
from ..hvae import HVAE
from ..layers import Array
from ..likelihood import Gaussian
from ..mlp import MLP
from ..objective import ELBO
from ..topdown import TopDown
from ..vae import VAE

LinearModel = Union[VAE, HVAE]


class Affine(NamedTuple):
    """y | z ~ N(z W + b, cov), with W of shape (n_in, n_out), b (n_out,) and cov (n_out, n_out)."""

    W: Array
    b: Array
    cov: Array


# From the library's networks to these matrices, and back ----------------------------------------


def linear_hvae(x_dim: int, latent_dims: Sequence[int], rng: Any = 0, consistency: str = "exact") -> HVAE:
    """Draw a linear-Gaussian hierarchy, q and p, in float64; its S_t = s_t² I are isotropic."""
    rng = check.generator("rng", rng)
    model = HVAE(x_dim, latent_dims, (), consistency=consistency, likelihood=Gaussian(x_dim, logvar=rng.normal()),
                 rng=rng, dtype=np.float64)                    # in a fresh model no logvar depends on its input
    for network in model.networks.values():
        network.output.b[:] = rng.normal(size=network.output.b.shape)
    for t in model.levels[1:]:
        gaussian.halves(model.p[t].output.b)[1][:] = rng.normal()
    return model


def _read(name: str, network: MLP, logvar: float | None = None) -> Affine:
    if len(network.layers) > 1:
        raise ValueError(f"{name} must be affine: build the model with hidden_dims=()")
    W, b = np.array(network.output.W, float), np.array(network.output.b, float)
    if logvar is not None:
        return Affine(W, b, np.exp(logvar) * np.eye(len(b)))
    (W, slope), (b, logvar_b) = gaussian.halves(W), gaussian.halves(b)
    if slope.any():
        raise ValueError(f"the logvar of {name} must be a constant: the right half of its W must be 0")
    return Affine(W, b, np.diag(np.exp(logvar_b)))


def generation(model: LinearModel) -> dict[int, Affine]:
    """Return p(z_{t-1} | z_t) for t = 1, ..., T, or raise a ValueError if the model is not linear-Gaussian."""
    if not isinstance(model.likelihood, Gaussian):
        raise ValueError("the likelihood must be Gaussian: only then is log p(x) known in closed form")
    return {t: _read(f"p{t}", model.networks[f"p{t}"], model.likelihood.logvar if t == 1 else None)
            for t in range(1, len(model.latent_dims) + 1)}


def inference(model: LinearModel) -> dict[int, Affine]:
    """Return q(z_t | z_{t-1}) for t = 1, ..., T, or raise a ValueError if q is not linear-Gaussian, and bottom up."""
    if isinstance(model, TopDown):
        raise ValueError("q must run bottom up, as that of a VAE or an HVAE; that of a TopDown runs from the top down")
    return {t: _read(f"q{t}", model.networks[f"q{t}"]) for t in range(1, len(model.latent_dims) + 1)}


def set_q(model: LinearModel, q: Mapping[int, Affine]) -> None:
    """Write q(z_t | z_{t-1}) into the model, the inverse of `inference`; or the `measurements` of a `TopDown`.

    A ValueError is raised if a covariance is not diagonal, up to rounding: the
    library's q has no other.
    """
    for t, (W, b, cov) in q.items():
        variance = np.diag(cov)
        if np.abs(cov - np.diag(variance)).max() > 1e-12 * variance.max():
            raise ValueError(f"the covariance of q(z_{t} | z_{t - 1}) must be diagonal; see exact.turn")
        output = model.networks[f"q{t}"].output
        output.W[:] = np.hstack([W, np.zeros_like(W)])
        output.b[:] = np.hstack([b, np.log(variance)])


# The evidence and the posterior -----------------------------------------------------------------


def marginals(model: LinearModel) -> dict[int, tuple[Array, Array]]:
    """Return mean and covariance of p(z_t) for t = T, ..., 0: from the top down, variances add.  MATH (11.1)."""
    p, d = generation(model), model.latent_dims[-1]
    mean, cov = np.zeros(d), np.eye(d)
    found = {len(p): (mean, cov)}
    for t in reversed(p):
        B, b, S = p[t]
        mean, cov = mean @ B + b, B.T @ cov @ B + S
        found[t - 1] = mean, cov
    return found


def log_likelihood(model: LinearModel, x: Any) -> Array:
    """Return log p(x), of shape (n,), in nats: the marginal of z_0, at x of shape (n, x_dim).  MATH (5.1), (11.2)."""
    mean, cov = marginals(model)[0]
    diff = check.array("x", x, ("n", model.x_dim), float) - mean
    L = np.linalg.cholesky(cov)                                # cov = L Lᵀ
    u = np.linalg.solve(L, diff.T)                             # so uᵀ u = diff cov⁻¹ diffᵀ
    return -0.5 * (len(L) * gaussian.LOG_2PI + (u * u).sum(axis=0)) - np.log(np.diag(L)).sum()


def posterior(model: LinearModel) -> dict[int, Affine]:
    """Return p(z_t | z_{t-1}) for t = 1, ..., T: the posterior, as a chain that runs bottom up.

    It has the form of the library's q: a product of the p(z_t | z_{t-1}), each by
    Bayes' rule.  MATH (5.1), (11.1).
    """
    p, marginal, chain = generation(model), marginals(model), {}
    for t, (B, b, S) in p.items():
        mean, cov = marginal[t]
        B_S = B / np.diag(S)                                   # B S⁻¹
        Gamma = np.linalg.inv(np.linalg.inv(cov) + B_S @ B.T)
        G = B_S.T @ Gamma
        chain[t] = Affine(G, mean - (mean @ B + b) @ G, Gamma)
    return chain


def measurements(model: LinearModel) -> dict[int, Affine]:
    """Return what makes the q of a `TopDown` the posterior: m_t given m_{t-1}, and its covariance C_t.

    For z_t, x is worth as much as a measurement m_t = z_t + noise ~ N(0, C_t).  With m_0 = x, C_0 = 0 and
    V = S_t + C_{t-1} (variances add), C_t⁻¹ = B_t V⁻¹ B_tᵀ and m_t = (m_{t-1} - b_t) V⁻¹ B_tᵀ C_t.
    At the top, where q(z_T | x) itself is wanted, N(0, I) is merged with it: C_T⁻¹ has I more.
    A ValueError is raised if m_{t-1} does not depend on some direction of z_t.  MATH (12.6).
    """
    p, found = generation(model), {}
    cov: Array = np.zeros((model.x_dim, model.x_dim))
    for t, (B, b, S) in p.items():
        if t < len(p) and np.linalg.matrix_rank(B) < len(B):
            raise ValueError(f"z_{t - 1} must depend on each column of z_{t}: the {len(B)} rows of p{t}'s W must be "
                             "independent")
        V_B = np.linalg.solve(S + cov, B.T)                    # V⁻¹ Bᵀ
        cov = np.linalg.inv(B @ V_B + (np.eye(len(B)) if t == len(p) else 0))
        found[t] = Affine(V_B @ cov, -b @ V_B @ cov, cov)
    return found


def turn(model: LinearModel) -> None:
    """Turn the axes of every z_t, in place, until the posterior's covariances are diagonal.

    p(x) is unchanged.  For T = 1 these axes are the principal ones.  Of a `TopDown` these
    are the covariances of its `measurements`.  MATH (11.4).

    A ValueError is raised if the noise on some z_t, t >= 1, is not isotropic.
    """
    p, chain = generation(model), measurements(model) if isinstance(model, TopDown) else posterior(model)
    for t in p:
        variance = np.diag(p[t + 1].cov) if t < len(p) else np.ones(1)
        if np.ptp(variance) > 1e-12 * variance.max():
            raise ValueError(f"p(z_{t} | z_{t + 1}) must have one variance for all columns, to look the same from "
                             f"all sides; it has {variance.min():.3g} to {variance.max():.3g}")
        _, U = np.linalg.eigh(chain[t].cov)
        W = model.networks[f"p{t}"].output.W
        W[:] = U.T @ W                                         # z_t B = (z_t U)(Uᵀ B)
        if t < len(p):
            above = model.networks[f"p{t + 1}"].output
            for mu in (gaussian.halves(above.W)[0], gaussian.halves(above.b)[0]):
                mu[:] = mu @ U


# The bound, in expectation ----------------------------------------------------------------------


def elbo(model: LinearModel, x: Any) -> ELBO:
    """Return the expectation of the bound that ``model.forward`` samples, part by part.

    MATH (5.2), (8.2), (11.3).

    Parameters
    ----------
    model : VAE or HVAE
    x : array of shape (n, x_dim)

    Returns
    -------
    ELBO
        Its consistency in the model's form, exact or as printed.
    """
    p, q, T = generation(model), inference(model), len(model.latent_dims)
    printed = isinstance(model, HVAE) and model.consistency == "printed"
    m = {0: check.array("x", x, ("n", model.x_dim), float)}
    Q = {0: np.zeros((model.x_dim, model.x_dim)), **{t: q[t].cov for t in q}}  # x is given: no variance
    V = {0: Q[0]}
    for t in q:
        m[t] = m[t - 1] @ q[t].W + q[t].b
        V[t] = q[t].W.T @ V[t - 1] @ q[t].W + Q[t]

    def log_p(t: int) -> Array:                                # E_q[ log p(z_t | z_{t+1}) ]
        B, b, S = p[t + 1]
        AB = q[t + 1].W @ B
        J = np.eye(len(AB)) - AB
        own = Q[t] + AB.T @ Q[t] @ AB if printed else J.T @ Q[t] @ J
        cov = J.T @ (V[t] - Q[t]) @ J + own + B.T @ Q[t + 1] @ B
        diff, variance = m[t] - m[t + 1] @ B - b, np.diag(S)
        return -0.5 * (gaussian.LOG_2PI + np.log(variance) + (diff * diff + np.diag(cov)) / variance).sum(axis=1)

    logvar = {t: np.log(np.diag(Q[t])) for t in q}
    prior_matching = 0.5 * ((m[T] * m[T]).sum(axis=1) + (np.diag(V[T]) - logvar[T] - 1).sum())
    consistency = np.empty((len(m[0]), T - 1))
    for t in range(1, T):
        consistency[:, t - 1] = -gaussian.entropy(logvar[t])[0] - log_p(t)
    return ELBO(log_p(0), prior_matching, consistency)


def consistency_gap(model: LinearModel) -> Array:
    """Return how much the printed consistency part C' exceeds the exact C, at t = 1, ..., T - 1, in nats.

    tr( Q_t A_{t+1} B_{t+1} S_{t+1}⁻¹ ), the same for every x.  MATH (8.3), (8.4).
    """
    p, q = generation(model), inference(model)
    return np.array([np.trace(q[t].cov @ q[t + 1].W @ (p[t + 1].W / np.diag(p[t + 1].cov)))
                     for t in range(1, len(model.latent_dims))])


# T = 1: the linear VAE and probabilistic PCA ----------------------------------------------------


def best_posterior(model: VAE) -> Affine:
    """Return the diagonal q(z | x) with the largest ELBO, whatever the p(x | z).

    It has the mean of the exact posterior, and the diagonal of its *precision*.
    Lucas et al. 2019, section 4.  MATH (11.5).
    """
    G, g, Gamma = posterior(model)[1]
    return Affine(G, g, np.diag(1 / np.diag(np.linalg.inv(Gamma))))


def gap(model: VAE) -> float:
    """Return log p(x) - ELBO at the `best_posterior`, in nats, the same for every x.

    It is never negative, and 0 only if the posterior covariance is diagonal.  MATH (11.5).
    """
    precision = np.linalg.inv(posterior(model)[1].cov)
    return float(0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1]))


def ppca(x: Any, k: int, s2: float | None = None) -> tuple[Affine, float]:
    """Fit probabilistic PCA: the best that a linear VAE with k latents can reach on these data.

    A latent whose eigenvalue of the data's covariance lies below s² is switched off.
    Tipping and Bishop 1999, section 3.  MATH (11.6).

    Parameters
    ----------
    x : array of shape (n, D)
    k : int
        Below D.
    s2 : float, optional
        Fixes s²; by default it has its best value.

    Returns
    -------
    p : Affine
        The best p(x | z) = N(z W + b, s² I).
    log_likelihood : float
        The mean of log p(x) over the data, in nats.
    """
    x = check.array("x", x, ("n", "D"), float)
    D = x.shape[1]
    check.size("k", k, 1, D - 1)
    b = x.mean(axis=0)
    ascending, U = np.linalg.eigh((x - b).T @ (x - b) / len(x))
    l, u = ascending[::-1], U.T[::-1]                          # the largest first; row i of u belongs to l_i
    s2 = check.number("s2", l[k:].mean() if s2 is None else s2, 0, open_low=True)
    W = np.sqrt(np.maximum(l[:k] - s2, 0))[:, None] * u[:k]
    on = (l > s2) & (np.arange(D) < k)
    log_p = -0.5 * (D * gaussian.LOG_2PI + np.where(on, 1 + np.log(np.where(on, l, 1)), l / s2 + np.log(s2)).sum())
    return Affine(W, b, s2 * np.eye(D)), float(log_p)
