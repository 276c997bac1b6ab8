"""Optimisers: one step on the flat vector, in place."""

from __future__ import annotations

import math

import numpy as np

from .. import check
from ..layers import Array


class SGD:
    """Stochastic gradient descent with momentum: v ← momentum v + g, then θ ← θ - learning_rate v.

    The gradient comes from a random batch, hence "stochastic".  v is a decaying
    sum of past gradients (Polyak 1964); with momentum 0 it is the gradient.  MATH (9.1).

    Parameters
    ----------
    learning_rate : float, default 0.01
    momentum : float, default 0.0
        In [0, 1).
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0) -> None:
        self.learning_rate = check.number("learning_rate", learning_rate, 0, open_low=True)
        self.momentum = check.number("momentum", momentum, 0, 1)
        self.v: Array | None = None

    def step(self, theta: Array, gradient: Array) -> None:
        """Move theta one step down the gradient, in place."""
        if self.v is None:
            self.v = np.zeros_like(theta)
        self.v *= self.momentum
        self.v += gradient
        theta -= self.learning_rate * self.v


BLOCK = 131072                                         # work in pieces that fit the processor's cache


class Adam:
    """Adam: steps whose size does not depend on the scale of the gradient (if it is far above epsilon).

    For a steady gradient a step is the learning rate; for one that is all noise, of mean
    0, some 0.2 of it.

    m and v are decaying means of g and of g², in which the first steps are made up
    for by the factors 1 - beta1ᵗ and 1 - beta2ᵗ.  Kingma and Ba 2015 (arXiv 1412.6980),
    algorithm 1; MATH (9.2).  The code gathers all constants in two numbers a step,
    MATH (9.3): with root = √[(1 - beta2ᵗ) / (1 - beta2)],

        m ← beta1 m + g
        v ← beta2 v + g²
        θ ← θ - [learning_rate · root · (1 - beta1) / (1 - beta1ᵗ)] · m / ( √v + epsilon · root )

    Parameters
    ----------
    learning_rate : float, default 1e-3
    beta1, beta2 : float, default 0.9 and 0.999
        In [0, 1).
    epsilon : float, default 1e-8
        Keeps the division finite; above 0.
    """

    w: Array | None = None                             # for work within a step: no state, and in no checkpoint

    def __init__(self, learning_rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
                 epsilon: float = 1e-8) -> None:
        self.learning_rate = check.number("learning_rate", learning_rate, 0, open_low=True)
        self.beta1, self.beta2 = check.number("beta1", beta1, 0, 1), check.number("beta2", beta2, 0, 1)
        self.epsilon = check.number("epsilon", epsilon, 0, open_low=True)
        self.m: Array | None = None
        self.v: Array | None = None
        self.t = 0

    def step(self, theta: Array, gradient: Array) -> None:
        """Move theta one step, in place."""
        if self.m is None or self.v is None:
            self.m, self.v = np.zeros_like(theta), np.zeros_like(theta)
        if self.w is None:
            self.w = np.empty_like(theta[:BLOCK])
        self.t += 1
        root = math.sqrt((1 - self.beta2 ** self.t) / (1 - self.beta2))
        rate = self.learning_rate * root * (1 - self.beta1) / (1 - self.beta1 ** self.t)
        for start in range(0, theta.size, BLOCK):
            block = slice(start, start + BLOCK)
            m, v, g, w, x = self.m[block], self.v[block], gradient[block], self.w[:theta.size - start], theta[block]
            m *= self.beta1
            m += g                                     # m ← beta1 m + g
            v *= self.beta2
            v += np.multiply(g, g, out=w)              # v ← beta2 v + g²
            np.sqrt(v, out=w)
            w += self.epsilon * root
            np.divide(m, w, out=w)
            w *= rate
            x -= w                                     # θ ← θ - rate · m / (√v + epsilon · root)
        if self.t % 100 == 0:                          # where g is 0 for good (a dead ReLU), m decays to
            self.m[np.abs(self.m) < 1e-30] = 0         # subnormal numbers, which are slow: make them 0


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"SGD": SGD, "Adam": Adam}     # each moves each entry by itself
