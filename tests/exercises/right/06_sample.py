"""Right solutions of exercise 6, each written in another way."""
import numpy as np

# %% the arguments in the cache
def sample(mu, logvar, eps):
    return mu + np.exp(0.5 * logvar) * eps, (mu, logvar, eps)


def sample_backward(dz, cache):
    mu, logvar, eps = cache
    return dz, dz * 0.5 * np.exp(0.5 * logvar) * eps

# %% the square root of the variance
def sample(mu, logvar, eps):
    std = np.sqrt(np.exp(logvar))
    return std * eps + mu, (std, eps)


def sample_backward(dz, cache):
    std, eps = cache
    dstd = dz * eps
    dvar = dstd / (2 * std)
    return dz.copy(), dvar * std ** 2

# %% z - mu
def sample(mu, logvar, eps):
    z = mu + np.e ** (logvar / 2) * eps
    return z, {"z": z, "mu": mu}


def sample_backward(dz, cache):
    return [dz, (cache["z"] - cache["mu"]) * dz / 2]

# %% float32
def sample(mu, logvar, eps):
    mu, logvar, eps = (a.astype(np.float32) for a in (mu, logvar, eps))
    return mu + np.exp(logvar / 2) * eps, (logvar, eps)


def sample_backward(dz, cache):
    logvar, eps = cache
    dz = dz.astype(np.float32)
    return dz, dz * eps * np.exp(logvar / 2) / 2

# %% loops and lists
def sample(mu, logvar, eps):
    z = [[m + np.exp(l / 2) * e for m, l, e in zip(*rows)] for rows in zip(mu, logvar, eps)]
    return z, (logvar, eps)


def sample_backward(dz, cache):
    logvar, eps = cache
    dmu, dlogvar = np.zeros_like(dz), np.zeros_like(dz)
    for at in np.ndindex(dz.shape):
        dmu[at] += dz[at]
        dlogvar[at] += dz[at] * eps[at] * np.exp(logvar[at] / 2) / 2
    return dmu.tolist(), dlogvar.tolist()

# %% in place
def sample(mu, logvar, eps):
    z = logvar / 2
    np.exp(z, out=z)
    z *= eps
    half = z / 2
    z += mu
    return z, half


def sample_backward(dz, half):
    half *= dz
    return dz + 0, half
