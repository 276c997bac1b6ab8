"""Right solutions of exercise 7, each written in another way."""
import numpy as np

# %% from the formula, term by term
def log_prob(z, mu, logvar):
    d = z.shape[1]
    log_p = -0.5 * (d * np.log(2 * np.pi) + logvar.sum(axis=1) + ((z - mu) ** 2 / np.exp(logvar)).sum(axis=1))
    return log_p, (z, mu, logvar)


def log_prob_backward(dlog_prob, cache):
    z, mu, logvar = cache
    dz = -(z - mu) / np.exp(logvar) * dlog_prob[:, None]
    dmu = -dz
    dlogvar = -0.5 * (1 - (z - mu) ** 2 / np.exp(logvar)) * dlog_prob[:, None]
    return dz, dmu, dlogvar

# %% the log of the density
def log_prob(z, mu, logvar):
    std = np.exp(logvar / 2)
    e = (z - mu) / std
    return np.log(1 / np.sqrt(2 * np.pi) / std).sum(axis=-1) - (e * e).sum(axis=-1) / 2, (e, std)


def log_prob_backward(dlog_prob, cache):
    e, std = cache
    g = dlog_prob.reshape(-1, 1)
    return [-g * e / std, g * e / std, g * (e ** 2 - 1) / 2]

# %% a loop over rows and columns
def log_prob(z, mu, logvar):
    total = []
    for i in range(len(z)):
        total.append(sum(-0.5 * (np.log(2 * np.pi) + logvar[i, j] + (z[i, j] - mu[i, j]) ** 2 * np.exp(-logvar[i, j]))
                         for j in range(z.shape[1])))
    return total, (z, mu, logvar)


def log_prob_backward(dlog_prob, cache):
    z, mu, logvar = cache
    dz, dmu, dlogvar = np.zeros_like(z), np.zeros_like(z), np.zeros_like(z)
    for i, g in enumerate(dlog_prob):
        u = (z[i] - mu[i]) * np.exp(-logvar[i])
        dz[i], dmu[i], dlogvar[i] = -g * u, g * u, g * 0.5 * (u * (z[i] - mu[i]) - 1)
    return dz, dmu, dlogvar

# %% einsum, float32
def log_prob(z, mu, logvar):
    diff, w = (z - mu).astype(np.float32), np.exp(-logvar).astype(np.float32)
    quadratic = np.einsum("ij,ij,ij->i", diff, diff, w)
    return -(quadratic + (logvar + np.log(2 * np.pi)).sum(axis=1)) / 2, (diff, w)


def log_prob_backward(dlog_prob, cache):
    diff, w = cache
    g = np.float32(dlog_prob)
    dmu = np.einsum("i,ij,ij->ij", g, diff, w)
    return -dmu, dmu, (dmu * diff - g[:, None]) / 2

# %% transposed, so that a row's number meets its columns by itself
def log_prob(z, mu, logvar):
    diff = (mu - z).T
    precision = np.exp(-logvar).T
    return -0.5 * np.sum(np.log(2 * np.pi) - np.log(precision) + precision * diff ** 2, axis=0), (diff, precision)


def log_prob_backward(g, cache):
    diff, precision = cache
    dz = (g * diff * precision).T
    return dz, -dz, (0.5 * g * (diff ** 2 * precision - 1)).T
