"""Exercise 9: how far one Gaussian lies from another.

With r = logvar_q - logvar_p, the log of the ratio of the variances,
KL( N(mu_q, exp(logvar_q)) || N(mu_p, exp(logvar_p)) ) = (1/2) Σ [ e^r - 1 - r + (mu_q - mu_p)² / exp(logvar_p) ].
Write it, and its derivatives by all four.  logvar_p is used twice, in r and in the last term, so its derivative is a
sum.

    mu_q, logvar_q, mu_p, logvar_p, and their derivatives   (n, d)
    kl, dkl                                                 (n,)

One number by hand: with equal variances of 1 and means 3 apart, it is (1/2) 3² = 4.5 nats.

    >>> one = np.ones((1, 1))
    >>> kl(3 * one, 0 * one, 0 * one, 0 * one)[0]
    array([4.5])

Grade it:  python demos/exercises 9         A hint:  python demos/exercises --hint 9
"""

import numpy as np


def kl(mu_q, logvar_q, mu_p, logvar_p):
    """Return the KL of each row in nats, and a cache of your choice."""
    raise NotImplementedError


def kl_backward(dkl, cache):
    """Return dmu_q, dlogvar_q, dmu_p and dlogvar_p."""
    raise NotImplementedError
