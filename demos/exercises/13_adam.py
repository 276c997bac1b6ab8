"""Exercise 13: Adam.

Adam keeps decaying means of the gradient and of its square, entry by entry: m ← beta1 m + (1 - beta1) g and
v ← beta2 v + (1 - beta2) g², both 0 at first.  After t steps they are too small by the factors 1 - beta1^t and
1 - beta2^t, which are divided out.  Then theta moves, in place, by
-learning_rate · [m / (1 - beta1^t)] / ( √[v / (1 - beta2^t)] + epsilon ).

    theta, gradient, m, v   (size,)

One number by hand: in the first step the corrected m is g and the corrected v is g², so that theta moves by the
learning rate, whatever the size of g (if it is far above epsilon).

    >>> theta = np.array([5.0, 5.0])
    >>> Adam(learning_rate=0.1).step(theta, np.array([1000.0, -0.001]))
    >>> theta.round(4)
    array([4.9, 5.1])

Grade it:  python demos/exercises 13        A hint:  python demos/exercises --hint 13
"""

import numpy as np

from scratchvae.train import optim


class Adam(optim.Adam):
    """There already: self.learning_rate, .beta1, .beta2, .epsilon; .m and .v, None at first; .t, 0 at first."""

    def step(self, theta, gradient):
        """Move theta one step, in place: the array that you are given must change.  Return nothing."""
        raise NotImplementedError
