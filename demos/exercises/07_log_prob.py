"""Exercise 7: the log-density of a Gaussian.

In one dimension, log N(z; mu, exp(logvar)) = -(1/2) [ log 2π + logvar + (z - mu)² / exp(logvar) ].  The d columns are
independent, so their log-densities are summed: one number for each row.  In backward each row's number has one
derivative, dlog_prob[n], which goes to all the columns of that row.

    z, mu, logvar, dz, dmu, dlogvar   (n, d)
    log_prob, dlog_prob               (n,)

One number by hand: where z = mu and logvar = 0, only -(1/2) log 2π = -0.9189 is left in each column.

    >>> zero = np.zeros((1, 2))
    >>> log_p, cache = log_prob(zero, zero, zero)
    >>> log_p.round(4)                               # two columns
    array([-1.8379])

Grade it:  python demos/exercises 7         A hint:  python demos/exercises --hint 7
"""

import numpy as np


def log_prob(z, mu, logvar):
    """Return log N(z; mu, exp(logvar)) in nats, and a cache of your choice."""
    raise NotImplementedError


def log_prob_backward(dlog_prob, cache):
    """Return dz, dmu and dlogvar."""
    raise NotImplementedError
