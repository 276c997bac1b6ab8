"""Exercise 1: a dense layer, forward.

A dense layer turns each row of x into a row of y: column j of y is a weighted sum of all the columns of x, plus a bias.
Write it for all rows at once, without a loop: y = x W + b.  Return y and the cache, which is what backward will need
later; for this layer it is x.

    x        (n, n_in)        a row for each of n examples
    self.W   (n_in, n_out)    a column of weights for each column of y
    self.b   (n_out,)         a bias for each column of y
    y        (n, n_out)

One number by hand: 1·3 + 2·4 + 5 = 16.

    >>> layer = Dense(2, 1, np.random.default_rng(0))
    >>> layer.W, layer.b = np.array([[3.0], [4.0]]), np.array([5.0])
    >>> y, cache = layer.forward(np.array([[1.0, 2.0]]))
    >>> y
    array([[16.]])

Grade it:  python demos/exercises 1         A hint:  python demos/exercises --hint 1
"""

import numpy as np

from scratchvae import layers


class Dense(layers.Dense):
    """y = x W + b.  W and b are there already: self.W and self.b."""

    def forward(self, x):
        """Return y, and the cache, which is x."""
        raise NotImplementedError
