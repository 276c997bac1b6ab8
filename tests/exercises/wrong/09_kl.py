"""Wrong solutions of exercise 9; after the colon, what the grader must say."""
import numpy as np

# %% the second use of logvar_p: one use of logvar_p is forgotten.
def kl(mu_q, logvar_q, mu_p, logvar_p):
    r = logvar_q - logvar_p
    return 0.5 * (np.exp(r) - 1 - r + (mu_q - mu_p) ** 2 / np.exp(logvar_p)).sum(axis=1), (r, mu_q - mu_p, logvar_p)


def kl_backward(dkl, cache):
    r, diff, logvar_p = cache
    g = dkl[:, None]
    return g * diff / np.exp(logvar_p), g * np.expm1(r) / 2, -g * diff / np.exp(logvar_p), -g * np.expm1(r) / 2

# %% swapped: q and p are swapped.
def kl(mu_q, logvar_q, mu_p, logvar_p):
    r = logvar_p - logvar_q
    return 0.5 * (np.exp(r) - 1 - r + (mu_q - mu_p) ** 2 / np.exp(logvar_q)).sum(axis=1), None


def kl_backward(dkl, cache):
    return None

# %% three derivatives: should return 4 things
def kl(mu_q, logvar_q, mu_p, logvar_p):
    r = logvar_q - logvar_p
    return 0.5 * (np.exp(r) - 1 - r + (mu_q - mu_p) ** 2 / np.exp(logvar_p)).sum(axis=1), (r, mu_q - mu_p, logvar_p)


def kl_backward(dkl, cache):
    r, diff, logvar_p = cache
    g = dkl[:, None]
    return g * diff / np.exp(logvar_p), g * np.expm1(r) / 2, -g * diff / np.exp(logvar_p)
