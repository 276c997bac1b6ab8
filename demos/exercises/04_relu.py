"""Exercise 4: ReLU, forward and backward.

y = max(x, 0): what is positive passes, the rest becomes 0.  Where x > 0 the slope is 1, and where x < 0 it is 0; so
backward lets dy pass at some entries and stops it at the others.  At x = 0 there is a kink and no derivative: any slope
from 0 to 1 is accepted there.

    x, y, dy, dx   of one shape

            y
            |     /
            |    /  slope 1
            |   /
     _______|__/________ x
     slope 0

    >>> y, cache = ReLU().forward(np.array([[-2.0, 3.0]]))
    >>> ReLU().backward(np.array([[5.0, 7.0]]), cache)
    array([[0., 7.]])

Grade it:  python demos/exercises 4         A hint:  python demos/exercises --hint 4
"""

import numpy as np

from scratchvae import layers


class ReLU(layers.Layer):
    """y = max(x, 0)."""

    def forward(self, x):
        """Return y, and a cache of your choice."""
        raise NotImplementedError

    def backward(self, dy, cache):
        """Return dx."""
        raise NotImplementedError
