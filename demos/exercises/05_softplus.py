"""Exercise 5: softplus and sigmoid, without overflow.

softplus(x) = log(1 + e^x) is a smooth ReLU, and its derivative is sigmoid(x) = 1 / (1 + e^(-x)).  Typed as they stand
here, e^x overflows for x = 1000, and e^(-x) for x = -1000.  Write both so that every x gives the right number.

    x, and what is returned   of one shape

Two numbers by hand: softplus(0) = log 2 = 0.6931, and softplus(1000) = 1000, as log(1 + e^1000) is log e^1000 to all
the digits that a computer keeps.

    >>> softplus(np.array([0.0, 1000.0])).round(4)
    array([6.931e-01, 1.000e+03])
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])

Grade it:  python demos/exercises 5         A hint:  python demos/exercises --hint 5
"""

import numpy as np


def softplus(x):
    """Return log(1 + e^x), entry by entry."""
    raise NotImplementedError


def sigmoid(x):
    """Return 1 / (1 + e^(-x)), entry by entry: the derivative of softplus."""
    raise NotImplementedError
