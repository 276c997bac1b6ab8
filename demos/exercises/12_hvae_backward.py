"""Exercise 12: the hierarchy, backward.

HVAE.bound in scratchvae/hvae.py stacks T levels; read it first, from its first line to its last.  Write its backward:
the loss is the mean over the n examples of Σ_t beta_t · kl_t - alpha · reconstruction, where kl_t is column t of the
consistency for t < T, and the prior matching for t = T.  A z_t is used up to three times, and its derivative is the sum
of what the three say.

    z_t (n, d_t)   mu and logvar of each level (n, d_t)   consistency (n, T - 1)   dx (n, D)

    x --q1--> z_1 --q2--> z_2 --q3--> z_3               up
    z_1 --p1--> log p(x | z_1)                          use 2 of z_1
    z_2 --p2--> mu, logvar of p(z_1 | z_2), at z_1      use 2 of z_2, and use 3 of z_1
    z_3 --p3--> mu, logvar of p(z_2 | z_3), at z_2      use 2 of z_3, and use 3 of z_2
    use 1 of z_t: the way up, to q(z_{t+1} | z_t)

What bound left in the cache: the caches of the networks cache["q", t] and cache["p", t], of the draw cache["z", t], of
the reconstruction cache["R"] and the prior matching cache["P"], and n in cache["n"].  For t < T also cache["C", t], of
gaussian.log_prob, and cache["H", t], of gaussian.entropy; if self.consistency == "printed", cache["C", t] is that of
gaussian.kl and there is no cache["H", t].  self.check_beta(beta) returns one beta for each level.

weight and to_q are for the importance weights of lesson 14: they may be left alone, at their defaults.

Grade it:  python demos/exercises 12        A hint:  python demos/exercises --hint 12
"""

import numpy as np

from scratchvae import gaussian, hvae


class HVAE(hvae.HVAE):
    """Its forward is that of the library: self.q[t], self.p[t], self.T, self.likelihood and self.consistency."""

    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False, weight=1.0, to_q=None):
        """Fill the gradients of all networks.  Return dx if input_gradient is true: x is used twice."""
        raise NotImplementedError
