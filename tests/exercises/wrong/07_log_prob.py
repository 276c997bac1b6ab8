"""Wrong solutions of exercise 7; after the colon, what the grader must say."""
import numpy as np

# %% no log 2π: log 2π is missing.
def log_prob(z, mu, logvar):
    return -0.5 * (logvar + (z - mu) ** 2 / np.exp(logvar)).sum(axis=1), None


def log_prob_backward(dlog_prob, cache):
    return None

# %% one number: log_prob should have shape (2,); yours has (1, 2). It has as many entries
def log_prob(z, mu, logvar):
    return -0.5 * (np.log(2 * np.pi) + logvar + (z - mu) ** 2 / np.exp(logvar)).sum(axis=1)[None, :], 0


def log_prob_backward(dlog_prob, cache):
    return None

# %% not summed: Is the sum over the columns missing?
def log_prob(z, mu, logvar):
    return -0.5 * (np.log(2 * np.pi) + logvar + (z - mu) ** 2 / np.exp(logvar)), 0


def log_prob_backward(dlog_prob, cache):
    return None

# %% swapped: dz and dmu are swapped.
def log_prob(z, mu, logvar):
    return -0.5 * (np.log(2 * np.pi) + logvar + (z - mu) ** 2 / np.exp(logvar)).sum(axis=1), (z, mu, logvar)


def log_prob_backward(dlog_prob, cache):
    z, mu, logvar = cache
    g = dlog_prob[:, None]
    u = (z - mu) / np.exp(logvar)
    return g * u, -g * u, g * (u * (z - mu) - 1) / 2

# %% the part of log σ forgotten: one term is missing: -(1/2) dlog_prob
def log_prob(z, mu, logvar):
    return -0.5 * (np.log(2 * np.pi) + logvar + (z - mu) ** 2 / np.exp(logvar)).sum(axis=1), (z, mu, logvar)


def log_prob_backward(dlog_prob, cache):
    z, mu, logvar = cache
    g = dlog_prob[:, None]
    u = (z - mu) / np.exp(logvar)
    return -g * u, g * u, g * u * (z - mu) / 2

# %% the standard deviation for the variance: exp(logvar / 2) for the variance.
def log_prob(z, mu, logvar):
    return -0.5 * (np.log(2 * np.pi) + logvar + (z - mu) ** 2 / np.exp(logvar / 2)).sum(axis=1), None


def log_prob_backward(dlog_prob, cache):
    return None
