"""Exercise 11: the VAE, its bound and the whole way back.

Put the parts together: x goes through the network self.q to q = [mu | logvar], a draw z goes through self.p, and the
bound has two parts, log p(x | z) and KL( q(z | x) || N(0, I) ).  What a loss makes of them (weights, a mean over the
rows, a sign) is decided outside of the model: backward is given delbo, the derivative of the loss by each part, one
number for each row.  It fills the gradients of all the parameters, which each network's own backward does for you.
Read your bound from the last line up: each line has its line in backward, and what was used twice gets the sum of two
derivatives.

    x (n, D)   noise (n, d)   q (n, 2 d)   z (n, d)   reconstruction, kl (n,)   dx (n, D)
    delbo.dreconstruction, delbo.dprior_matching (n,)

                    eps ---.
                           v                            .--> log p(x | z) <-- x
    x --> q = [mu | logvar] --> z = mu + std eps --> p -'
                 '------------------------------------------> KL( q(z | x) || N(0, I) )

What there is: self.q.forward and .backward, self.p likewise, gaussian.draw(q, noise) and .draw_backward, which are
exercise 6 for mu and logvar side by side, self.likelihood.log_prob and .log_prob_backward, and
self.compare.forward(z, q, np.zeros_like(q)), the KL: its .backward returns dz, dq and dp, and
dz and dp are 0.  Each forward returns its result and a cache, and each backward takes a derivative and
that cache.  Or take mu and logvar apart: gaussian.halves, .sample, .kl_standard and their ..._backward.

Grade it:  python demos/exercises 11        A hint:  python demos/exercises --hint 11
"""

import numpy as np

from scratchvae import gaussian, vae
from scratchvae.objective import ELBO


class VAE(vae.VAE):
    """The networks, the likelihood and the comparison are there: self.q, self.p, self.likelihood and self.compare."""

    def bound(self, x, noise):
        """Return ELBO(reconstruction, kl, np.zeros((n, 0))), and a cache of your choice.

        The third part, of shape (n, 0), is that of a hierarchy: a column for each level but the top. Here it has none.
        """
        raise NotImplementedError

    def backward(self, delbo, cache, input_gradient=False):
        """Fill the gradients of q and p.  Return dx if input_gradient is true: x is used twice."""
        raise NotImplementedError
