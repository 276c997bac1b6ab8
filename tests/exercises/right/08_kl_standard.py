"""Right solutions of exercise 8, each written in another way."""
import numpy as np

# %% from the formula
def kl_standard(mu, logvar):
    return 0.5 * np.sum(np.exp(logvar) - 1 - logvar + mu ** 2, axis=1), (mu, logvar)


def kl_standard_backward(dkl, cache):
    mu, logvar = cache
    return mu * dkl[:, None], 0.5 * (np.exp(logvar) - 1) * dkl[:, None]

# %% as in the paper, with the sign outside
def kl_standard(mu, logvar):
    return -0.5 * (1 + logvar - mu ** 2 - np.exp(logvar)).sum(1), (mu, logvar)


def kl_standard_backward(dkl, cache):
    mu, logvar = cache
    dkl = dkl.reshape(-1, 1)
    return dkl * mu, -0.5 * dkl * (1 - np.exp(logvar))

# %% by the std
def kl_standard(mu, logvar):
    std = np.exp(logvar / 2)
    return np.sum(0.5 * (std ** 2 + mu ** 2) - 0.5 - np.log(std), axis=-1), (mu, std)


def kl_standard_backward(dkl, cache):
    mu, std = cache
    dstd = std - 1 / std
    return [dkl[:, np.newaxis] * mu, dkl[:, np.newaxis] * dstd * std / 2]

# %% loops, lists
def kl_standard(mu, logvar):
    rows = [sum(np.exp(l) - 1 - l + m * m for m, l in zip(*row)) / 2 for row in zip(mu, logvar)]
    return rows, (mu, np.exp(logvar))


def kl_standard_backward(dkl, cache):
    mu, var = cache
    dmu = [[g * m for m in row] for g, row in zip(dkl, mu)]
    dlogvar = [[g * (v - 1) / 2 for v in row] for g, row in zip(dkl, var)]
    return dmu, dlogvar

# %% the general formula's four parts, float32
def kl_standard(mu, logvar):
    mu, logvar = mu.astype("float32"), logvar.astype("float32")
    cross = 0.5 * (np.log(2 * np.pi) + np.exp(logvar) + mu * mu)
    entropy = 0.5 * (np.log(2 * np.pi) + 1 + logvar)
    return (cross - entropy).sum(axis=1), (mu, logvar)


def kl_standard_backward(dkl, cache):
    mu, logvar = cache
    return np.diag(dkl) @ mu, np.diag(dkl) @ (np.expm1(logvar) / 2)
