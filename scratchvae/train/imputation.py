"""Missing cells of a table filled from the rest of their row, and each cell's share of log p(x).

Both come from the draws of importance sampling, MATH (5.5): z_k ~ q(z | x) with log w_k =
log p(x, z_k) - log q(z_k | x), where x are the cells that are there.  MATH (5.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import check
from ..layers import Array
from ..mixed import Mixed


class Recorder:
    """A likelihood that keeps h, the decoder's output, when it computes log p(x | h)."""

    def __init__(self, likelihood: Any) -> None:
        self.likelihood = likelihood
        self.h: Array = np.zeros(0)

    def log_prob(self, x: Array, h: Array) -> tuple[Array, Any]:
        """Return log p(x | h)."""
        self.h = h
        return self.likelihood.log_prob(x, h)


def checked(model: Any, x: Any) -> Array:
    """Return x in the precision of a model whose likelihood is Mixed."""
    if isinstance(model, type) or not isinstance(getattr(model, "likelihood", None), Mixed):
        raise ValueError("model must have a Mixed likelihood, as of a table, whose cells are known one by one; got "
                         f"{check.shown(model)}")
    return model.check_x(x)


def draws(model: Any, x: Array, n_samples: int, rng: int | np.random.Generator) -> Iterator[tuple[slice, Array, Array]]:
    """Yield for some rows at a time: which, log w of shape (n_samples, n), and h of shape (n_samples, n, n_outputs)."""
    n_samples, rng = check.size("n_samples", n_samples), check.generator("rng", rng)
    likelihood, recorder = model.likelihood, Recorder(model.likelihood)
    for first in range(0, len(x), step := max(1, 20_000 // n_samples)):
        rows = slice(first, first + step)
        model.likelihood = recorder
        try:
            log_weight = model.log_weight(x[rows], n_samples, rng).astype(float)
        finally:
            model.likelihood = likelihood
        yield rows, log_weight, recorder.h


def shares(model: Any, x: Any, n_samples: int = 1000, rng: int | np.random.Generator = 0) -> Array:
    """Return log p(x_v | the other cells of the row that are there), for each cell; 0 where it is missing.  MATH (5.6).

    Parameters
    ----------
    model : VAE, HVAE or TopDown
        Its likelihood is `Mixed`.
    x : array of shape (n, x_dim)
        As the model sees it.
    n_samples : int, default 1000
    rng : numpy.random.Generator or int, default 0

    Returns
    -------
    array of shape (n, variables), float64, in nats
    """
    x = checked(model, x)
    found = np.zeros((len(x), len(model.likelihood.parts)))
    for rows, log_weight, h in draws(model, x, n_samples, rng):
        at_x = at_h = 0
        for v, part in enumerate(model.likelihood.parts):
            cells = x[rows, at_x:at_x + part.x_dim]
            gone = np.isnan(cells).any(axis=1)
            log_p, _ = part.log_prob(np.where(gone[:, None], 1, cells), h[..., at_h:at_h + part.n_outputs])
            whole, rest = (np.logaddexp.reduce(log_w, axis=0) for log_w in (log_weight, log_weight - log_p))
            found[rows, v] = np.where(gone, 0, whole - rest)
            at_x, at_h = at_x + part.x_dim, at_h + part.n_outputs
    return found


def fill(model: Any, x: Any, n_samples: int = 1000, rng: int | np.random.Generator = 0, draw: bool = False) -> Array:
    """Return x with E[x_v | what is there of the row] in each missing cell; with ``draw`` a draw of it.  MATH (5.6).

    Parameters and raises as `shares`.  A draw takes one z, z_k with probability
    w_k / Σ w, for all of the row's cells, so that they go together.
    """
    x, rng = checked(model, x), check.generator("rng", rng)
    filled = x.copy()
    for rows, log_weight, h in draws(model, x, n_samples, rng):
        weight = np.exp(log_weight - log_weight.max(axis=0))
        weight /= weight.sum(axis=0)                   # (K, n)
        if check.flag("draw", draw):
            chosen = (weight.cumsum(axis=0) < rng.random(weight.shape[1])).sum(axis=0)
            made = model.likelihood.sample(h[np.minimum(chosen, len(h) - 1), np.arange(h.shape[1])], rng)
        else:
            made = np.einsum("kn,knd->nd", weight, model.likelihood.mean(h))
        filled[rows] = np.where(np.isnan(x[rows]), made, x[rows])
    return filled
