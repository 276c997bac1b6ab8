"""Right solutions of exercise 9, each written in another way."""
import numpy as np

# %% from the formula
def kl(mu_q, logvar_q, mu_p, logvar_p):
    r = logvar_q - logvar_p
    return 0.5 * (np.exp(r) - 1 - r + (mu_q - mu_p) ** 2 / np.exp(logvar_p)).sum(axis=1), (mu_q, logvar_q, mu_p, logvar_p)


def kl_backward(dkl, cache):
    mu_q, logvar_q, mu_p, logvar_p = cache
    g = dkl[:, None]
    e, u = np.exp(logvar_q - logvar_p), (mu_q - mu_p) / np.exp(logvar_p)
    return g * u, g * (e - 1) / 2, -g * u, g * (1 - e) / 2 - g * (mu_q - mu_p) * u / 2

# %% by variances
def kl(mu_q, logvar_q, mu_p, logvar_p):
    vq, vp = np.exp(logvar_q), np.exp(logvar_p)
    total = np.log(vp / vq) + (vq + (mu_q - mu_p) ** 2) / vp - 1
    return total.sum(axis=-1) / 2, (mu_q - mu_p, vq, vp)


def kl_backward(dkl, cache):
    m, vq, vp = cache
    g = dkl.reshape(-1, 1) / 2
    dvq = g * (1 / vp - 1 / vq)
    dvp = g * (1 / vp - (vq + m * m) / vp ** 2)
    return 2 * g * m / vp, dvq * vq, -2 * g * m / vp, dvp * vp

# %% cross entropy minus entropy, a list
def kl(mu_q, logvar_q, mu_p, logvar_p):
    cross = np.log(2 * np.pi) + logvar_p + (np.exp(logvar_q) + (mu_p - mu_q) ** 2) * np.exp(-logvar_p)
    entropy = np.log(2 * np.pi) + 1 + logvar_q
    return [0.5 * row.sum() for row in cross - entropy], dict(q=(mu_q, logvar_q), p=(mu_p, logvar_p))


def kl_backward(dkl, cache):
    (mu_q, logvar_q), (mu_p, logvar_p) = cache["q"], cache["p"]
    weight = np.exp(-logvar_p)
    second = np.exp(logvar_q) + (mu_p - mu_q) ** 2
    out = [weight * (mu_q - mu_p), 0.5 * (np.exp(logvar_q) * weight - 1),
           weight * (mu_p - mu_q), 0.5 * (1 - second * weight)]
    return [(part.T * dkl).T for part in out]

# %% q measured in units of p
def kl(mu_q, logvar_q, mu_p, logvar_p):
    a = (mu_q - mu_p) / np.exp(logvar_p / 2)
    l = logvar_q - logvar_p
    return 0.5 * np.sum(np.expm1(l) - l + a * a, -1), (a, l, np.exp(logvar_p / 2))


def kl_backward(dkl, cache):
    a, l, s = cache
    g = dkl[:, None]
    dl, da = g * np.expm1(l) / 2, g * a
    return da / s, dl, -da / s, -dl - da * a / 2

# %% loops, float32
def kl(mu_q, logvar_q, mu_p, logvar_p):
    rows = np.zeros(len(mu_q), np.float32)
    for i, (a, b, c, d) in enumerate(zip(mu_q, logvar_q, mu_p, logvar_p)):
        for j in range(len(a)):
            rows[i] += 0.5 * (np.exp(b[j] - d[j]) - 1 - (b[j] - d[j]) + (a[j] - c[j]) ** 2 * np.exp(-d[j]))
    return rows, (mu_q, logvar_q, mu_p, logvar_p)


def kl_backward(dkl, cache):
    a, b, c, d = (part.astype(np.float32) for part in cache)
    u = (a - c) / np.exp(d)
    g = np.repeat(dkl[:, None], a.shape[1], axis=1)
    return g * u, g * 0.5 * np.expm1(b - d), -g * u, -g * 0.5 * (np.expm1(b - d) + (a - c) * u)
