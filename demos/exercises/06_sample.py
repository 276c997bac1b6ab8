"""Exercise 6: a draw that has a derivative.

A draw z from N(mu, exp(logvar)) is made of standard normal noise: z = mu + std · eps, with std = exp(logvar / 2).
The noise eps is given and depends on nothing, so z has derivatives by mu and by logvar.  Write the draw, and what
reaches mu and logvar when the loss has the derivative dz by z.

    mu, logvar, eps, z, dz, dmu, dlogvar   (n, d)

The name says it: logvar is the log of the *variance*.  One number by hand: logvar = 0 is a std of 1, and logvar = 2 is
a std of e = 2.7183, with which eps = 1 gives z = 10 + 2.7183.

    >>> z, cache = sample(np.array([[10.0, 10.0]]), np.array([[0.0, 2.0]]), np.array([[1.0, 1.0]]))
    >>> z.round(4)
    array([[11.    , 12.7183]])

Grade it:  python demos/exercises 6         A hint:  python demos/exercises --hint 6
"""

import numpy as np


def sample(mu, logvar, eps):
    """Return z, and a cache of your choice."""
    raise NotImplementedError


def sample_backward(dz, cache):
    """Return dmu and dlogvar."""
    raise NotImplementedError
