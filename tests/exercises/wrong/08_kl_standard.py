"""Wrong solutions of exercise 8; after the colon, what the grader must say."""
import numpy as np

# %% no half: the factor 1/2 is missing.
def kl_standard(mu, logvar):
    return (np.exp(logvar) - 1 - logvar + mu ** 2).sum(axis=1), (mu, logvar)


def kl_standard_backward(dkl, cache):
    mu, logvar = cache
    return 2 * mu * dkl[:, None], (np.exp(logvar) - 1) * dkl[:, None]

# %% sign of dmu: sign of dKL/dmu.
def kl_standard(mu, logvar):
    return 0.5 * (np.exp(logvar) - 1 - logvar + mu ** 2).sum(axis=1), (mu, logvar)


def kl_standard_backward(dkl, cache):
    mu, logvar = cache
    return -mu * dkl[:, None], 0.5 * (np.exp(logvar) - 1) * dkl[:, None]

# %% -logvar not differentiated: the -1 is missing in dlogvar.
def kl_standard(mu, logvar):
    return 0.5 * (np.exp(logvar) - 1 - logvar + mu ** 2).sum(axis=1), (mu, logvar)


def kl_standard_backward(dkl, cache):
    mu, logvar = cache
    return mu * dkl[:, None], 0.5 * np.exp(logvar) * dkl[:, None]

# %% averaged: averaged over the columns.
def kl_standard(mu, logvar):
    return 0.5 * (np.exp(logvar) - 1 - logvar + mu ** 2).mean(axis=1), (mu, logvar)


def kl_standard_backward(dkl, cache):
    return None

# %% the standard deviation for the variance: exp(logvar / 2) for the variance.
def kl_standard(mu, logvar):
    return 0.5 * (np.exp(logvar / 2) - 1 - logvar + mu ** 2).sum(axis=1), (mu, logvar)


def kl_standard_backward(dkl, cache):
    return None

# %% the gradient is twice what it should be, not the KL: Every entry is 2 times what it should be
def kl_standard(mu, logvar):
    return 0.5 * (np.exp(logvar) - 1 - logvar + mu ** 2).sum(axis=1), (mu, logvar)


def kl_standard_backward(dkl, cache):
    mu, logvar = cache
    return 2 * mu * dkl[:, None], (np.exp(logvar) - 1) * dkl[:, None]
