"""Exercise 2: a dense layer, backward.

The loss is a number that depends on y = x W + b, and dy says how: dy[n, j] is the derivative of the loss by y[n, j].
Find the derivatives by W, b and x.  Write the first two into the arrays self.dW and self.db, and return dx.

    cache     (n, n_in)        x, as forward left it
    dy        (n, n_out)
    self.dW   (n_in, n_out)    the shape of W
    self.db   (n_out,)         the shape of b
    dx        (n, n_in)        the shape of x

What a gradient must look like: each dv has the shape of its v.  One number by hand: W[0, 0] is used in both rows, and
dW[0, 0] = x[0, 0] dy[0, 0] + x[1, 0] dy[1, 0] = 1·10 + 3·1 = 13.

    >>> layer = Dense(2, 1, np.random.default_rng(0))
    >>> dx = layer.backward(np.array([[10.0], [1.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> layer.dW
    array([[13.],
           [24.]])

Grade it:  python demos/exercises 2         A hint:  python demos/exercises --hint 2
"""

import numpy as np

from scratchvae import layers


class Dense(layers.Dense):
    """y = x W + b.  self.W, self.b, self.dW and self.db are there already."""

    def backward(self, dy, cache, input_gradient=True):
        """Set self.dW and self.db, return dx.  You may always return dx, and need not look at input_gradient."""
        raise NotImplementedError
