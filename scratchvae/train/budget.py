"""How long to train: until the bound of the rows held out has stopped rising, or a stated number of steps.

A small table has few batches: 143 rows are three.  So an "epoch" here is as many
passes over the rows as make some 100 steps, and the rows held out are looked at
once for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .. import check
from ..layers import Array
from ..model import Model
from .state import History

STEPS, MOST_STEPS, WAIT = 100, 20_000, 2_000           # of an epoch; at most; and without a rise
LOOKED_AT = 500                                        # rows held out, copies of them included


class Budget(NamedTuple):
    """Passes over the rows in an epoch; epochs at most; and epochs without a rise until training ends."""

    passes: int
    epochs: int
    patience: int


def budget(n: int, batch_size: int = 64) -> Budget:
    """Return the budget for n rows: an epoch of 100 steps or more, 20,000 steps or 20 passes at most.

    Training ends after 2000 steps, or three epochs, in which the bound has not risen.
    """
    in_a_pass = -(-check.size("n", n) // check.size("batch_size", batch_size))
    passes = -(-STEPS // in_a_pass)
    return Budget(passes, max(20, MOST_STEPS // (passes * in_a_pass)), max(3, WAIT // (passes * in_a_pass)))


def waited(bounds: Sequence[float], last: int = 20) -> int:
    """Return for how many epochs the bound has not risen above its best by more than its own noise.

    Parameters
    ----------
    bounds : sequence of float
        The bound of the rows held out, an entry for each epoch.
    last : int, default 20
        The noise is the standard deviation by which the bound of this many last epochs
        jumps from one to the next, over √2, less what it rose in the mean.  A steady
        rise is no noise, however small.

    Returns
    -------
    int
        0 if the last epoch was a clear best.
    """
    noise = float(np.diff(bounds[-last:]).std()) / np.sqrt(2) if len(bounds) > 2 else 0.0
    best, at = -np.inf, 0
    for i, bound in enumerate(bounds):
        if bound > best + noise or i == 0:
            best, at = bound, i
    return max(0, len(bounds) - 1 - at)


def copies(x: Array, passes: int) -> Array:
    """Return the rows as many times below each other, for `fit` to take as an epoch."""
    return np.concatenate([x] * passes)


class Best:
    """A callback for `fit`: keeps the parameters of the best epoch, ends training when the bound has stopped rising.

    Parameters
    ----------
    patience : int
        Epochs without a rise.

    Attributes
    ----------
    theta : array
        The parameters of the best epoch.
    """

    def __init__(self, patience: int) -> None:
        self.patience, self.bound = check.size("patience", patience), -np.inf
        self.theta: Array | None = None

    def __call__(self, model: Model, history: History) -> bool:
        """Look at the epoch that has ended; return whether to end."""
        bounds = history["valid_elbo"]
        if bounds[-1] > self.bound:
            self.bound, self.theta = bounds[-1], model.theta.copy()
        return waited(bounds) >= self.patience
