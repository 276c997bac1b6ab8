"""What `fit` minimises: a loss of a model, whose gradient is computed in two halves.

A batch may be computed in shares, and free bits need the KL of the whole batch.  So a step is ``begin`` for each share,
then, when the KL of the batch is known, ``finish`` for each share:

    elbo, half = loss.begin(x, rng, beta)              # the bound at new draws; theta stands still
    loss.finish(half, beta, kl, n)                     # model.gradient: the share's part of the mean over n examples
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from ..importance import ESTIMATORS, OBJECTIVES, Importance
from ..layers import Array
from ..model import Model
from ..objective import ELBO, with_free_bits


def sums(elbo: ELBO) -> Array:
    """Return the reconstruction, and the KL of each level, summed over the examples: of shape (T + 1,), float64."""
    return np.array([elbo.reconstruction.sum(), *elbo.kl.sum(axis=0).tolist()])


class OneDraw:
    """Minus the ELBO at one draw of the latents, a mean over the examples.

    Parameters
    ----------
    model : Model
        Its ``gradient`` is what `finish` fills.
    free_bits : float or array of shape (T,), optional
        In nats; see `fit`.
    """

    K = 1                                              # draws for each example

    def __init__(self, model: Model, free_bits: Any = None) -> None:
        T, self.model = len(model.latent_dims), model
        self.free_bits = None if free_bits is None else check.by_level("free_bits", free_bits, T)

    def begin(self, x: Array, rng: np.random.Generator, beta: ArrayLike) -> tuple[ELBO, Any]:
        """Return the parts of the bound of each example, and what `finish` needs."""
        elbo, cache = self.model.bound(x, self.model.draw_noise(len(x), rng))
        return elbo, (elbo, cache)

    def finish(self, half: Any, beta: ArrayLike, kl: Array, n: int) -> None:
        """Fill the model's ``gradient``; kl, the mean over the n examples, is for free bits."""
        elbo, cache = half
        beta = beta if self.free_bits is None else with_free_bits(beta, kl, self.free_bits)
        self.model.backward(elbo.loss_backward(beta, n=n), cache)


class ManyDraws:
    """The loss of `Importance`, of K draws for each example.

    The weights of an example are of its own draws alone.  So all is done in the first half, in blocks: memory does not
    grow with K.
    """

    free_bits = None

    def __init__(self, many: Importance) -> None:
        self.many, self.K = many, many.K

    def begin(self, x: Array, rng: np.random.Generator, beta: ArrayLike) -> tuple[ELBO, int]:
        """Fill the model's ``gradient`` with that of the share's mean; return the parts of the bound, and its rows."""
        return self.many.gradient(x, rng, beta), len(x)

    def finish(self, half: int, beta: ArrayLike, kl: Array, n: int) -> None:
        """Turn the gradient of the mean over a share into its part of the mean over n examples."""
        if half != n:
            self.many.model.gradient *= half / n


def loss_of(model: Model, objective: str = "elbo", n_samples: int = 1, estimator: str = "plain",
            free_bits: Any = None) -> OneDraw | ManyDraws:
    """Return what `fit` minimises, by the arguments that it has."""
    n_samples, objective = check.size("n_samples", n_samples), check.choice("objective", objective, OBJECTIVES)
    if (n_samples, objective, check.choice("estimator", estimator, ESTIMATORS)) == (1, "elbo", "plain"):
        return OneDraw(model, free_bits)
    if free_bits is not None:
        raise ValueError("free_bits must be left out where there is more than one draw of z for each example, or the "
                         f"objective is 'iwae'; got {check.shown(free_bits)}")
    return ManyDraws(Importance(model, n_samples, objective, estimator))
