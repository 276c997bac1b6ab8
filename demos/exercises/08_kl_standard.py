"""Exercise 8: how far a Gaussian lies from N(0, I).

KL( N(mu, exp(logvar)) || N(0, I) ) = (1/2) Σ [ exp(logvar) - 1 - logvar + mu² ], summed over the d columns.  It is
never negative, and 0 only where mu = 0 and logvar = 0.  Write it, and its derivatives by mu and by logvar.

    mu, logvar, dmu, dlogvar   (n, d)
    kl, dkl                    (n,)

One number by hand: mu = 2 and logvar = 0 give (1/2) (1 - 1 - 0 + 4) = 2 nats.

    >>> kl, cache = kl_standard(np.array([[2.0]]), np.array([[0.0]]))
    >>> kl
    array([2.])

Grade it:  python demos/exercises 8         A hint:  python demos/exercises --hint 8
"""

import numpy as np


def kl_standard(mu, logvar):
    """Return the KL of each row in nats, and a cache of your choice."""
    raise NotImplementedError


def kl_standard_backward(dkl, cache):
    """Return dmu and dlogvar."""
    raise NotImplementedError
