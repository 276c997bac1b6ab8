"""Exercise 12: the hierarchy, backward.

HVAE.bound in scratchvae/hvae.py stacks T levels; read it first, from its first line to its last.  Write its backward.
It is given delbo, the derivative of the loss by each part of the bound: delbo.dreconstruction, one number for each row,
and delbo.dkl, whose column t - 1 is for the KL of level t.  A z_t is used up to three times, and its derivative is the
sum of the three.

    z_t (n, d_t)   q of level t, p of level t: [mu | logvar] (n, 2 d_t)   delbo.dkl (n, T)   dx (n, D)

    x --q1--> z_1 --q2--> z_2 --q3--> z_3               up
    z_1 --p1--> log p(x | z_1)                          use 2 of z_1
    z_2 --p2--> p(z_1 | z_2), compared with q at z_1    use 2 of z_2, and use 3 of z_1
    z_3 --p3--> p(z_2 | z_3), compared with q at z_2    use 2 of z_3, and use 3 of z_2
    use 1 of z_t: the way up, to q(z_{t+1} | z_t)

What bound left in the cache: the caches of the networks cache["q", t] and cache["p", t], of the draw cache["z", t], of
the comparison cache["k", t], and of the reconstruction cache["r"].  What there is: self.q[t].backward and
self.p[t].backward, gaussian.draw_backward, self.likelihood.log_prob_backward, and self.compare[t].backward, which takes
column t - 1 of delbo.dkl and returns the derivatives by z_t, by q and by p of level t.

Grade it:  python demos/exercises 12        A hint:  python demos/exercises --hint 12
"""

import numpy as np

from scratchvae import gaussian, hvae


class HVAE(hvae.HVAE):
    """Its forward is that of the library: self.q[t], self.p[t] and self.compare[t], t = 1, ..., self.T."""

    def backward(self, delbo, cache, input_gradient=False):
        """Fill the gradients of all networks.  Return dx if input_gradient is true: x is used twice."""
        raise NotImplementedError
