"""Exact answers: the models for which every integral has a closed form.

Let every network be affine and every variance a constant.  Then all that a VAE
can only estimate may be written down: log p(x), the posterior, the bound, the
distance between them, the best that training can reach.  Such a model is a poor
model of digits, and a touchstone for code: what the library draws, estimates
and trains can be held against the truth, to the last digits of a float.

With x = z_0, for t = 1, ..., T,

    p(z_{t-1} | z_t) = N( z_t B_t + b_t, S_t )        z_T ~ N(0, I)
    q(z_t | z_{t-1}) = N( z_{t-1} A_t + a_t, Q_t )

A row is an example, so a map stands to the right of what it maps, and B_t is the
W of a Dense layer: the transpose of what most papers write.  T = 1 with
S_1 = s² I is probabilistic PCA (Tipping and Bishop 1999), and with q it is the
linear VAE (Lucas et al. 2019, arXiv 1911.02469).

All of it follows from two facts about z ~ N(m, C) and y | z ~ N(z W + b, S), in
Bishop 2006 equations 2.115 and 2.116:

    y     ~ N( m W + b, Wᵀ C W + S )                  variances add
    z | y ~ N( m + (y - m W - b) G, P ),              precisions add:
            P = (C⁻¹ + W S⁻¹ Wᵀ)⁻¹,  G = S⁻¹ Wᵀ P

    model = exact.linear_hvae(6, (3, 2))              # a random one, of two levels
    exact.turn(model)                                 # into the axes in which its posterior is diagonal
    exact.set_q(model, exact.posterior(model))        # q becomes the posterior itself
    exact.log_likelihood(model, x)                    # is now what model.log_likelihood(x, 1) returns
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Union

import numpy as np

from . import check, gaussian
from .hvae import HVAE
from .layers import Array
from .likelihood import Gaussian
from .mlp import MLP
from .model import ELBO
from .vae import VAE

LinearModel = Union[VAE, HVAE]


class Affine(NamedTuple):
    """The conditional y | x ~ N(x W + b, cov): W (n_in, n_out), b (n_out,), cov (n_out, n_out)."""

    W: Array
    b: Array
    cov: Array


# Between the library's networks and these matrices ----------------------------------------------


def linear_hvae(x_dim: int, latent_dims: Sequence[int], rng: Any = 0, consistency: str = "sampled") -> HVAE:
    """Draw a linear-Gaussian hierarchy, q and p, with isotropic noise S_t = s_t² I.

    Parameters
    ----------
    x_dim : int
    latent_dims : sequence of int
    rng : numpy.random.Generator or int, default 0
        The source of randomness, or a seed.
    consistency : {'sampled', 'analytic'}, default 'sampled'

    Returns
    -------
    HVAE
        In float64.
    """
    rng = np.random.default_rng(rng)
    model = HVAE(x_dim, latent_dims, (), consistency=consistency, likelihood=Gaussian(x_dim, logvar=rng.normal()),
                 rng=rng, dtype=np.float64)                           # its first logvar depends on no input
    for network in model.networks.values():
        network.output.b[:] = rng.normal(size=network.output.b.shape)
    for t in model.levels[1:]:
        gaussian.halves(model.p[t].output.b)[1][:] = rng.normal()     # one log s_t² for all columns
    return model


def _read(name: str, network: MLP, logvar: float | None = None) -> Affine:
    if len(network.layers) > 1:
        raise ValueError(f"{name} must be affine: build the model with hidden_dims=()")
    W, b = np.array(network.output.W, float), np.array(network.output.b, float)
    if logvar is None:
        (W, slope), (b, logvar_b) = gaussian.halves(W), gaussian.halves(b)
        if slope.any():
            raise ValueError(f"the logvar of {name} must be a constant: the right half of its W must be 0")
        return Affine(W, b, np.diag(np.exp(logvar_b)))
    return Affine(W, b, np.exp(logvar) * np.eye(len(b)))


def generation(model: LinearModel) -> dict[int, Affine]:
    """Read p(z_{t-1} | z_t) for t = 1, ..., T; a ValueError says why if the model is not linear-Gaussian."""
    if not isinstance(model.likelihood, Gaussian):
        raise ValueError("the likelihood must be Gaussian: only then is log p(x) known in closed form")
    return {t: _read(f"p{t}", model.networks[f"p{t}"], model.likelihood.logvar if t == 1 else None)
            for t in range(1, len(model.latent_dims) + 1)}


def inference(model: LinearModel) -> dict[int, Affine]:
    """Read q(z_t | z_{t-1}) for t = 1, ..., T; a ValueError says why if q is not linear-Gaussian."""
    return {t: _read(f"q{t}", model.networks[f"q{t}"]) for t in range(1, len(model.latent_dims) + 1)}


def set_q(model: LinearModel, q: Mapping[int, Affine]) -> None:
    """Write q(z_t | z_{t-1}) into the model, in place; the inverse of `inference`.

    Raises
    ------
    ValueError
        If a covariance is not diagonal, up to rounding: the library's q has no other.
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
    """Return the mean and covariance of p(z_t) for t = T, ..., 0: variances add, from the top down."""
    p, d = generation(model), model.latent_dims[-1]
    mean, cov = np.zeros(d), np.eye(d)
    found = {len(p): (mean, cov)}
    for t in reversed(p):
        B, b, S = p[t]
        found[t - 1] = mean, cov = mean @ B + b, B.T @ cov @ B + S
    return found


def log_likelihood(model: LinearModel, x: Any) -> Array:
    """Return log p(x), in nats: p(x) is the marginal of z_0.

    Parameters
    ----------
    model : VAE or HVAE
        Its p affine, with constant variances; its q does not matter.
    x : array of shape (n, x_dim)

    Returns
    -------
    array of shape (n,)
    """
    mean, cov = marginals(model)[0]
    diff = check.array("x", x, ("n", model.x_dim), float) - mean
    L = np.linalg.cholesky(cov)                                       # cov = L Lᵀ
    u = np.linalg.solve(L, diff.T)                                    # |u|² = diff cov⁻¹ diffᵀ
    return -0.5 * (len(L) * gaussian.LOG_2PI + (u * u).sum(axis=0)) - np.log(np.diag(L)).sum()


def posterior(model: LinearModel) -> dict[int, Affine]:
    """Return p(z_t | z_{t-1}) for t = 1, ..., T: the posterior as a chain that runs bottom up.

    A Markov chain read backwards is a Markov chain, so the posterior has the
    form of the library's q: p(z_1, ..., z_T | x) = Πₜ p(z_t | z_{t-1}).  Each
    factor is Bayes' rule for p(z_t), the marginal, and p(z_{t-1} | z_t):
    precisions add.
    """
    p, marginal, chain = generation(model), marginals(model), {}
    for t, (B, b, S) in p.items():
        mean, cov = marginal[t]
        B_S = B / np.diag(S)                                          # B S⁻¹
        P = np.linalg.inv(np.linalg.inv(cov) + B_S @ B.T)
        G = B_S.T @ P
        chain[t] = Affine(G, mean - (mean @ B + b) @ G, P)
    return chain


def turn(model: LinearModel) -> None:
    """Turn the axes of every z_t, in place, until the posterior's covariances are diagonal.

    For an orthogonal U, z_t U is as good a latent as z_t: N(0, I) and N(mu, s² I)
    look the same from all sides, so p(x) is unchanged.  With the eigenvectors of
    the posterior covariance P_t for U, that covariance becomes Uᵀ P_t U, which is
    diagonal.  For T = 1 these axes are the principal components (Lucas et al.
    2019, section 4).

    Raises
    ------
    ValueError
        If the noise on some z_t, t >= 1, differs from column to column.
    """
    p, chain = generation(model), posterior(model)
    for t in p:
        variance = np.diag(p[t + 1].cov) if t < len(p) else np.ones(1)
        if np.ptp(variance) > 1e-12 * variance.max():
            raise ValueError(f"p(z_{t} | z_{t + 1}) must have one variance for all columns, to look the same from "
                             f"all sides; it has {variance.min():.3g} to {variance.max():.3g}")
        _, U = np.linalg.eigh(chain[t].cov)
        W = model.networks[f"p{t}"].output.W
        W[:] = U.T @ W                                                # z_t B = (z_t U)(Uᵀ B)
        if t < len(p):
            above = model.networks[f"p{t + 1}"].output
            for mu in (gaussian.halves(above.W)[0], gaussian.halves(above.b)[0]):
                mu[:] = mu @ U


# The bound, in expectation ----------------------------------------------------------------------


def elbo(model: LinearModel, x: Any) -> ELBO:
    """Return the expectation under q of each part of the bound, in the model's form of the consistency part.

    Under q, z_t has mean m_t and covariance C_t, from the bottom up: variances
    add.  Only log p(z_t | z_{t+1}), quadratic in r = z_t - z_{t+1} B - b, then needs a
    thought.  z_{t+1} = z_t A + a + noise, so with R = I - A B

        r = z_t R - noise B - a B - b,        Cov r = Rᵀ C_t R + Bᵀ Q_{t+1} B

    The printed form draws z_t twice from the same z_{t-1}, once as the point and
    once to feed z_{t+1}.  The part of C_t that is its own noise, Q_t, then enters
    not as Rᵀ Q_t R but as Q_t + (A B)ᵀ Q_t (A B).

    Parameters
    ----------
    model : VAE or HVAE
        Linear-Gaussian.
    x : array of shape (n, x_dim)

    Returns
    -------
    ELBO
        Each part of shape (n,) or (n, T - 1), in nats: what `forward` gives on
        average over its noise.
    """
    p, q, T = generation(model), inference(model), len(model.latent_dims)
    printed = isinstance(model, HVAE) and model.consistency == "analytic"
    m = {0: check.array("x", x, ("n", model.x_dim), float)}
    C, Q = ({0: np.zeros((model.x_dim, model.x_dim))} for _ in "CQ")  # x is given: no variance
    for t, (A, a, Q[t]) in q.items():
        m[t], C[t] = m[t - 1] @ A + a, A.T @ C[t - 1] @ A + Q[t]

    def log_p(t: int) -> Array:                                       # E_q[ log p(z_t | z_{t+1}) ]
        B, b, S = p[t + 1]
        AB = q[t + 1].W @ B
        R = np.eye(len(AB)) - AB
        own = Q[t] + AB.T @ Q[t] @ AB if printed else R.T @ Q[t] @ R
        cov = R.T @ (C[t] - Q[t]) @ R + own + B.T @ Q[t + 1] @ B
        diff, variance = m[t] - m[t + 1] @ B - b, np.diag(S)
        return -0.5 * (gaussian.LOG_2PI + np.log(variance) + (diff * diff + np.diag(cov)) / variance).sum(axis=1)

    logvar = {t: np.log(np.diag(Q[t])) for t in q}
    prior_matching = 0.5 * ((m[T] * m[T]).sum(axis=1) + (np.diag(C[T]) - logvar[T] - 1).sum())
    consistency = np.empty((len(m[0]), T - 1))
    for t in range(1, T):
        consistency[:, t - 1] = -gaussian.entropy(logvar[t])[0] - log_p(t)
    return ELBO(log_p(0), prior_matching, consistency)


def consistency_gap(model: LinearModel) -> Array:
    """Return what the printed form of the consistency part adds to the exact one, at each level.

    C' - C = tr( Q_t A_{t+1} B_{t+1} S_{t+1}⁻¹ ) at level t: the difference of the
    two covariances in `elbo`, Q_t (A B) + (A B)ᵀ Q_t, weighed by 1/2 and S⁻¹.  It
    does not depend on x.  The noise Q_t of z_t is heard by z_{t+1} (A) and told
    back (B); the printed form charges a level for it.  At the exact posterior it
    is never negative, so the printed form is not tight there.

    Returns
    -------
    array of shape (T - 1,)
        In nats; for t = 1, ..., T - 1.
    """
    p, q = generation(model), inference(model)
    return np.array([np.trace(q[t].cov @ q[t + 1].W @ (p[t + 1].W / np.diag(p[t + 1].cov)))
                     for t in range(1, len(model.latent_dims))])


# T = 1: probabilistic PCA -----------------------------------------------------------------------


def best_posterior(W: Array, b: Array, s2: float) -> Affine:
    """Return the diagonal q(z | x) with the largest ELBO for p(x | z) = N(z W + b, s² I).

    With M = W Wᵀ + s² I: q(z | x) = N( (x - b) V, D ), V = Wᵀ M⁻¹, which is the
    mean of the exact posterior N( (x - b) V, s² M⁻¹ ), and D_ii = s² / M_ii, where
    M_ii = |w_i|² + s² and w_i is row i of W.  Lucas et al. 2019, section 4.

    Parameters
    ----------
    W : array of shape (k, D)
    b : array of shape (D,)
    s2 : float
        s².

    Returns
    -------
    Affine
        With V of shape (D, k).
    """
    M = W @ W.T + s2 * np.eye(len(W))
    V = np.linalg.solve(M, W).T
    return Affine(V, -b @ V, np.diag(s2 / np.diag(M)))


def gap(W: Array, s2: float) -> float:
    """Return log p(x) - ELBO at the `best_posterior`: (1/2)( Σ log M_ii - log det M ), the same for every x.

    By Hadamard's inequality it is never negative, and 0 only if the rows of W
    are orthogonal.
    """
    M = W @ W.T + s2 * np.eye(len(W))
    return float(0.5 * (np.log(np.diag(M)).sum() - np.linalg.slogdet(M)[1]))


class PPCA(NamedTuple):
    """The best p(x | z) = N(z W + b, s2 I) for some data, as `ppca` finds it.

    ``eigenvalues`` are all those of the data's covariance, the largest first;
    ``n_active`` is the number of rows of W that are not 0; ``log_likelihood`` is the
    mean of log p(x) over the data, in nats.
    """

    W: Array
    b: Array
    s2: float
    eigenvalues: Array
    n_active: int
    log_likelihood: float


def ppca(x: Any, k: int, s2: float | None = None) -> PPCA:
    """Fit probabilistic PCA in closed form: the best that a linear VAE with k latents can reach.

    Let l_1 >= ... >= l_D be the eigenvalues of the data's covariance (divided by
    n) and u_i its eigenvectors.  The maximum of the likelihood has

        w_i = √(l_i - s²) u_i  where l_i > s², else 0         s² = mean of l_{k+1}, ..., l_D

    so a latent whose l_i lies below s² is switched off.  In these axes the rows
    of W are orthogonal, the `gap` is 0, and the maximum of the ELBO is that of
    log p(x).  With a = n_active, its mean over the data is

        -(1/2) [ D log 2π + Σ_{i<=a} (log l_i + 1) + Σ_{i>a} (log s² + l_i / s²) ]

    Tipping and Bishop 1999, section 3; Lucas et al. 2019.

    Parameters
    ----------
    x : array of shape (n, D)
    k : int
        Latents, fewer than D.
    s2 : float, optional
        Fixes s²; by default it has its best value, above.

    Returns
    -------
    PPCA
    """
    x = check.array("x", x, ("n", "D"), float)
    check.size("k", k, 1, x.shape[1] - 1)
    b = x.mean(axis=0)
    ascending, U = np.linalg.eigh((x - b).T @ (x - b) / len(x))
    l, u = ascending[::-1], U.T[::-1]
    s2 = check.number("s2", l[k:].mean() if s2 is None else s2, 0, open_low=True)
    n_active = int((l[:k] > s2).sum())
    W = np.sqrt(np.maximum(l[:k] - s2, 0))[:, None] * u[:k]
    on, off = l[:n_active], l[n_active:]
    log_p = -0.5 * (len(l) * gaussian.LOG_2PI + (np.log(on) + 1).sum() + (np.log(s2) + off / s2).sum())
    return PPCA(W, b, s2, l, n_active, float(log_p))
