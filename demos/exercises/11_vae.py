"""Exercise 11: the VAE, its bound and the whole way back.

Put the parts together: x goes through the network self.q to mu and logvar, a draw z goes through self.p, and the bound
has two parts, log p(x | z) and KL( q(z | x) || N(0, I) ).  The loss is the mean over the n examples of
beta · KL - alpha · reconstruction; backward fills the gradients of all the parameters, which each network's own
backward does for you.  Read your bound from the last line up: each line has its line in backward, and what was used
twice gets the sum of two derivatives.

    x (n, D)   noise (n, d)   mu, logvar, z (n, d)   reconstruction, kl (n,)   dx (n, D)

             eps --------.
                          v                            .--> log p(x | z) <-- x
    x --> q --> mu, logvar --> z = mu + std eps --> p -'
                     '-----------------------------------> KL( q(z | x) || N(0, I) )

What there is: self.q.forward and .backward, self.p likewise, gaussian.halves, .sample, .kl_standard and their
..._backward, self.likelihood.log_prob and .log_prob_backward.  Each forward returns its result and a cache, and each
backward takes a derivative and that cache.  With beta = 0 the KL must leave no trace in the gradient.

drawn, weight and to_q are for the importance weights of lesson 14: they may be left alone, at their defaults.

Grade it:  python demos/exercises 11        A hint:  python demos/exercises --hint 11
"""

import numpy as np

from scratchvae import gaussian, vae
from scratchvae.model import ELBO


class VAE(vae.VAE):
    """The networks and the likelihood are there already: self.q, self.p and self.likelihood."""

    def bound(self, x, noise, drawn=False):
        """Return ELBO(reconstruction, kl, np.zeros((n, 0))), and a cache of your choice.

        The third part, of shape (n, 0), is that of a hierarchy: a column for each level but the top. Here it has none.
        """
        raise NotImplementedError

    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False, weight=1.0, to_q=None):
        """Fill the gradients of q and p.  Return dx if input_gradient is true: x is used twice."""
        raise NotImplementedError
