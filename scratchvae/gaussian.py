"""Diagonal Gaussians N(mu, exp(logvar)): sample, log_prob, entropy, kl, log_ratio, merge.

mu, logvar and z have shape (n, d), a Gaussian for each of n rows.  Log-densities,
entropies and divergences are sums over the d independent dimensions, one number
of nats for each row.  ``logvar`` is log σ², so σ = exp(logvar / 2); a network may give any real
number for it.

Below each function is its backward: given the gradient of the loss with
respect to what the function returned, it returns the gradient with respect to
each of its arguments but the noise, in their order.
"""

import numpy as np

from .layers import Array, Cache, sigmoid, softplus

LOG_2PI = float(np.log(2 * np.pi))


def halves(h: Array) -> tuple[Array, Array]:
    """Read a network's output as a Gaussian: mu on the left, logvar on the right.  MATH (3.1).

    Parameters
    ----------
    h : array of shape (..., 2 d)

    Returns
    -------
    mu, logvar : array of shape (..., d)
        Views into h, no copies: the network's last product computed both.
    """
    d = h.shape[-1] // 2
    return h[..., :d], h[..., d:]                      # (3.1)


def halves_backward(dmu: Array, dlogvar: Array) -> Array:
    """Return dh: each entry of h went to one place, so dh is the two side by side.  MATH (3.1)."""
    return np.concatenate([dmu, dlogvar], axis=-1)     # (3.1)


def sample(mu: Array, logvar: Array, eps: Array) -> tuple[Array, Array]:
    """Draw z ~ N(mu, exp(logvar)) as a function of standard normal noise.

    z = mu + σ·eps with σ = exp(logvar / 2): the reparameterisation trick.  All
    randomness sits in eps, which depends on no parameter, so z has derivatives
    with respect to mu and logvar.  Kingma and Welling 2014, section 2.4.  MATH (3.2).

    Parameters
    ----------
    mu, logvar : array of shape (n, d)
        The Gaussian.
    eps : array of shape (n, d)
        Draws from N(0, I).

    Returns
    -------
    z : array of shape (n, d)
    cache
        For `sample_backward`.
    """
    std = np.exp(logvar / 2)                           # σ   (3.2)
    offset = std * eps                                 # z - mu   (3.2)
    return mu + offset, offset                         # (3.2)


def sample_backward(dz: Array, cache: Array) -> tuple[Array, Array]:
    """Return dmu, dlogvar: ∂z/∂mu = 1, ∂z/∂logvar = σ·eps / 2 = (z - mu) / 2.  MATH (3.2)."""
    offset = cache
    dmu = dz                                           # (3.2)
    dlogvar = dz * offset / 2                          # ∂σ/∂logvar = σ / 2   (3.2)
    return dmu, dlogvar


def draw(q: Array, eps: Array) -> tuple[Array, Cache]:
    """Draw z ~ q, where q = [mu | logvar] is a network's output, of shape (n, 2 d): `sample`.  MATH (3.1), (3.2)."""
    return sample(*halves(q), eps)                     # (3.2)


def draw_backward(dz: Array, cache: Cache) -> Array:
    """Return dq, of shape (n, 2 d).  MATH (3.1), (3.2)."""
    return halves_backward(*sample_backward(dz, cache))  # (3.2)


def log_prob(z: Array, mu: Array, logvar: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return log N(z; mu, exp(logvar)) in nats.

    -(1/2) Σ [ log 2π + logvar + (z - mu)² / exp(logvar) ].  MATH (3.3).

    Parameters
    ----------
    z, mu, logvar : array of shape (n, d)
        Where, and the Gaussian.

    Returns
    -------
    log_prob : array of shape (n,)
    cache
        For `log_prob_backward`.
    """
    diff = z - mu                                      # (3.3)
    u = diff * np.exp(-logvar)                         # (z - mu) / σ²   (3.3)
    return -0.5 * (LOG_2PI + logvar + diff * u).sum(axis=-1), (diff, u)  # (3.3)


def log_prob_backward(dlog_prob: Array, cache: tuple[Array, Array]) -> tuple[Array, Array, Array]:
    """Return dz, dmu, dlogvar.

    With u = (z - mu)/σ²: ∂/∂z = -u; ∂/∂mu = u, as only z - mu counts;
    ∂/∂logvar = -(1/2)(1 - (z - mu) u), as ∂(1/σ²)/∂logvar = -1/σ².  MATH (3.3).
    """
    diff, u = cache
    dmu = dlog_prob[:, None] * u                       # [:, None]: each row's number for all its columns   (3.3)
    dz = -dmu                                          # (3.3)
    dlogvar = 0.5 * (dmu * diff - dlog_prob[:, None])  # (3.3)
    return dz, dmu, dlogvar


def entropy(logvar: Array) -> tuple[Array, Array]:
    """Return the entropy -E[log N(z; mu, exp(logvar))] in nats.

    (1/2) Σ [ log 2π + 1 + logvar ]: `log_prob` with (z - mu)² at its mean, σ².  MATH (3.4).

    Parameters
    ----------
    logvar : array of shape (n, d)
        The entropy does not depend on mu.

    Returns
    -------
    entropy : array of shape (n,)
    cache
        For `entropy_backward`.
    """
    return 0.5 * (LOG_2PI + 1 + logvar).sum(axis=-1), logvar    # (3.4)


def entropy_backward(dentropy: Array, cache: Array) -> Array:
    """Return dlogvar: ∂/∂logvar = 1/2 in every column.  MATH (3.4)."""
    logvar = cache
    return (0.5 * dentropy[:, None]).repeat(logvar.shape[-1], axis=-1)  # (3.4)


def kl(mu_q: Array, logvar_q: Array, mu_p: Array,
       logvar_p: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """Return KL( N(mu_q, exp(logvar_q)) || N(mu_p, exp(logvar_p)) ) in nats.

    E_q[log q - log p] = (1/2) Σ [ σ_q²/σ_p² - 1 - log(σ_q²/σ_p²) + (mu_q - mu_p)²/σ_p² ]

    With r = logvar_q - logvar_p the first three terms are expm1(r) - r, where
    expm1(r) = eʳ - 1 keeps the digits that the subtraction would lose for r near 0.
    MATH (3.5).

    Parameters
    ----------
    mu_q, logvar_q, mu_p, logvar_p : array of shape (n, d)
        The two Gaussians.

    Returns
    -------
    kl : array of shape (n,)
        Never negative.
    cache
        For `kl_backward`.
    """
    r = logvar_q - logvar_p                            # log (σ_q²/σ_p²)   (3.5)
    excess = np.expm1(r)                               # σ_q²/σ_p² - 1   (3.5)
    diff = mu_q - mu_p                                 # (3.5)
    u = diff * np.exp(-logvar_p)                       # (mu_q - mu_p) / σ_p²   (3.5)
    return 0.5 * (excess - r + diff * u).sum(axis=-1), (excess, diff, u)        # (3.5)


def kl_backward(dkl: Array, cache: tuple[Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
    """Return dmu_q, dlogvar_q, dmu_p, dlogvar_p.

    With excess = σ_q²/σ_p² - 1: ∂/∂mu_q = u and ∂/∂mu_p = -u; ∂/∂logvar_q = excess/2;
    logvar_p enters through r, by which ∂/∂logvar_p has -excess/2, and through 1/σ_p²,
    by which it has -diff·u/2.  MATH (3.5).
    """
    excess, diff, u = cache
    dmu_q = dkl[:, None] * u                           # (3.5)
    dlogvar_q = dkl[:, None] * excess / 2              # (3.5)
    dmu_p = -dmu_q                                     # (3.5)
    dlogvar_p = -dlogvar_q - dmu_q * diff / 2          # (3.5)
    return dmu_q, dlogvar_q, dmu_p, dlogvar_p


def kl_standard(mu: Array, logvar: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return KL( N(mu, exp(logvar)) || N(0, I) ) in nats.

    (1/2) Σ [ σ² - 1 - log σ² + mu² ]: `kl` with mu_p = 0 and logvar_p = 0.
    Kingma and Welling 2014, appendix B.  MATH (3.5).

    Parameters
    ----------
    mu, logvar : array of shape (n, d)
        The Gaussian.

    Returns
    -------
    kl : array of shape (n,)
        Never negative.
    cache
        For `kl_standard_backward`.
    """
    excess = np.expm1(logvar)                          # σ² - 1   (3.5, N(0, I))
    return 0.5 * (excess - logvar + mu * mu).sum(axis=-1), (excess, mu)  # (3.5, N(0, I))


def kl_standard_backward(dkl: Array, cache: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return dmu, dlogvar: ∂/∂mu = mu, ∂/∂logvar = (1/2)(σ² - 1).  MATH (3.5)."""
    excess, mu = cache
    dmu = dkl[:, None] * mu                            # (3.5, N(0, I))
    dlogvar = dkl[:, None] * excess / 2                # (3.5, N(0, I))
    return dmu, dlogvar


def log_ratio(z: Array, mu_q: Array, logvar_q: Array, mu_p: Array, logvar_p: Array) -> tuple[Array, Cache]:
    """Return log N(z; mu_q, exp(logvar_q)) - log N(z; mu_p, exp(logvar_p)) in nats: `kl` is its mean over z ~ q.

    MATH (14.2).

    Parameters
    ----------
    z, mu_q, logvar_q, mu_p, logvar_p : array of shape (n, d)
        Where, and the two Gaussians.

    Returns
    -------
    log_ratio : array of shape (n,)
        Of either sign.
    cache
        For `log_ratio_backward`.
    """
    log_q, q_cache = log_prob(z, mu_q, logvar_q)       # (14.2)
    log_p, p_cache = log_prob(z, mu_p, logvar_p)       # (14.2)
    return log_q - log_p, (q_cache, p_cache)           # (14.2)


def log_ratio_backward(dlog_ratio: Array, cache: Cache) -> tuple[Array, Array, Array, Array, Array]:
    """Return dz, dmu_q, dlogvar_q, dmu_p, dlogvar_p; z is the point of both densities.  MATH (14.2)."""
    q_cache, p_cache = cache
    dz_q, dmu_q, dlogvar_q = log_prob_backward(dlog_ratio, q_cache)     # (14.2)
    dz_p, dmu_p, dlogvar_p = log_prob_backward(-dlog_ratio, p_cache)    # (14.2)
    return dz_q + dz_p, dmu_q, dlogvar_q, dmu_p, dlogvar_p      # (14.2)


def merge(mu_m: Array, logvar_m: Array, mu_p: Array,
          logvar_p: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return the posterior of z, from its prior N(mu_p, exp(logvar_p)) and a measurement.

    The measurement mu_m is z plus noise of variance exp(logvar_m).  By Bayes' rule
    precisions add, and means are weighted by them.  With w = a / (a + b), the share of
    the measurement's precision a = exp(-logvar_m) in a + b, b = exp(-logvar_p):

        mu = mu_p + w (mu_m - mu_p),      logvar = -log(a + b) = logvar_p + log(1 - w)

    w = sigmoid(s) and log(1 - w) = -softplus(s), with s = logvar_p - logvar_m: neither
    can overflow.  Sønderby et al. 2016 (arXiv 1602.02282), equations 11 and 12.  MATH (12.2), (12.3).

    Parameters
    ----------
    mu_m, logvar_m, mu_p, logvar_p : array of shape (n, d)
        The measurement, and what was known before it.

    Returns
    -------
    mu, logvar : array of shape (n, d)
        As one tuple.
    cache
        For `merge_backward`.
    """
    s = logvar_p - logvar_m                            # log (a/b)   (12.3)
    w = sigmoid(s)                                     # a / (a + b)   (12.3)
    diff = mu_m - mu_p                                 # (12.3)
    return (mu_p + w * diff, logvar_p - softplus(s)), (w, diff)  # (12.3)


def merge_backward(dmu: Array, dlogvar: Array, cache: tuple[Array, Array]) -> tuple[Array, Array, Array, Array]:
    """Return dmu_m, dlogvar_m, dmu_p, dlogvar_p.

    ∂mu/∂mu_m = w, ∂mu/∂mu_p = 1 - w.  s moves mu by w (1 - w) (mu_m - mu_p), as sigmoid' =
    sigmoid (1 - sigmoid), and logvar by -w, as softplus' = sigmoid; logvar_m enters by -s,
    logvar_p by s and by itself.  MATH (12.4).
    """
    w, diff = cache
    dmu_m = dmu * w                                    # (12.4)
    dmu_p = dmu - dmu_m                                # (12.4)
    ds = dmu_p * w * diff - dlogvar * w                # (12.4)
    dlogvar_m = -ds                                    # (12.4)
    dlogvar_p = dlogvar + ds                           # (12.4)
    return dmu_m, dlogvar_m, dmu_p, dlogvar_p
