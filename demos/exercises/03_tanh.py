"""Exercise 3: tanh, forward and backward.

An activation acts on each entry alone: y = tanh x.  So the chain rule is a product, entry by entry: dx = dy · y'(x).
You choose what goes into the cache; the derivative of tanh can be written with y alone.

    x, y, dy, dx   of one shape

One number by hand: at x = 0 tanh has slope 1, so dx = dy there.

    >>> y, cache = Tanh().forward(np.array([[0.0, 1.0]]))
    >>> Tanh().backward(np.array([[3.0, 3.0]]), cache).round(4)
    array([[3.    , 1.2599]])

Grade it:  python demos/exercises 3         A hint:  python demos/exercises --hint 3
"""

import numpy as np

from scratchvae import layers


class Tanh(layers.Layer):
    """y = tanh x."""

    def forward(self, x):
        """Return y, and a cache of your choice."""
        raise NotImplementedError

    def backward(self, dy, cache):
        """Return dx."""
        raise NotImplementedError
