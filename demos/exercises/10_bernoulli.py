"""Exercise 10: black and white pixels.

A decoder gives each pixel a logit l, any real number, and the pixel is 1 with probability s(l) = 1 / (1 + e^(-l)).
Then log p(x) = Σ [ x l - softplus(l) ] over the D pixels, with softplus(l) = log(1 + e^l): the same as x log s(l) +
(1 - x) log(1 - s(l)), but without the log of a number that rounds to 0.  Write it for every l, from -1000 to 1000, and
its derivatives by x and by l. The second is remarkably simple.

    x, logits, dx, dlogits   (n, D)
    log_prob, dlog_prob      (n,)

One number by hand: a logit of 0 is a probability of 1/2, so each pixel gives log(1/2) = -0.6931, black or white.

    >>> log_p, cache = Bernoulli(2).log_prob(np.array([[1.0, 0.0]]), np.zeros((1, 2)))
    >>> log_p.round(4)
    array([-1.3863])

Grade it:  python demos/exercises 10        A hint:  python demos/exercises --hint 10
"""

import numpy as np

from scratchvae import likelihood


class Bernoulli(likelihood.Bernoulli):
    """Each entry of x is 1 with probability s(l), else 0."""

    def log_prob(self, x, logits):
        """Return log p(x) of each row in nats, and a cache of your choice."""
        raise NotImplementedError

    def log_prob_backward(self, dlog_prob, cache):
        """Return dx and dlogits."""
        raise NotImplementedError
