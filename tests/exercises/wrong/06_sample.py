"""Wrong solutions of exercise 6; after the colon, what the grader must say."""
import numpy as np

# %% the variance for the std: variance for std.
def sample(mu, logvar, eps):
    return mu + np.exp(logvar) * eps, (logvar, eps)


def sample_backward(dz, cache):
    logvar, eps = cache
    return dz, dz * np.exp(logvar) * eps

# %% the half lost: the half is lost.
def sample(mu, logvar, eps):
    return mu + np.exp(logvar / 2) * eps, (logvar, eps)


def sample_backward(dz, cache):
    logvar, eps = cache
    return dz, dz * np.exp(logvar / 2) * eps

# %% its own noise: z is not right yet
def sample(mu, logvar, eps):
    return mu + np.exp(logvar / 2) * np.random.default_rng(0).normal(size=mu.shape), (logvar, eps)


def sample_backward(dz, cache):
    logvar, eps = cache
    return dz, dz * np.exp(logvar / 2) * eps / 2

# %% one thing returned: sample_backward should return 2 things, dmu and dlogvar; yours returned one ndarray.
def sample(mu, logvar, eps):
    return mu + np.exp(logvar / 2) * eps, np.exp(logvar / 2) * eps


def sample_backward(dz, cache):
    return dz * cache / 2

# %% dz changed: sample_backward changes its input dz
def sample(mu, logvar, eps):
    return mu + np.exp(logvar / 2) * eps, np.exp(logvar / 2) * eps


def sample_backward(dz, cache):
    dmu = dz.copy()
    dz *= cache / 2
    return dmu, dz
