"""Data to learn on: real handwritten digits, and how grey becomes black and white."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from ..layers import Array


class Dataset(NamedTuple):
    """Images as rows in [0, 1], in fixed parts, with labels where they are known."""

    x_train: Array
    y_train: Array | None
    x_test: Array
    y_test: Array | None
    image_shape: tuple[int, int]
    x_valid: Array | None = None


def digits() -> Dataset:
    """Load 1797 handwritten digits of 8x8 pixels, which come with the package.

    Every fifth digit is held out: 1438 to train on, 359 to test.  Alpaydin and
    Kaynak, "Optical Recognition of Handwritten Digits", UCI 1998, CC BY 4.0; see
    data/README.md.

    Returns
    -------
    Dataset
        x float32 of shape (1438, 64) and (359, 64), in multiples of 1/16; labels
        int64, 0 to 9; image_shape (8, 8).
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as archive:
        x, y = archive["x"].astype(np.float32) / 16, archive["y"].astype(np.int64)
    test = np.arange(len(x)) % 5 == 4
    return Dataset(x[~test], y[~test], x[test], y[test], (8, 8))


def binarize(x: ArrayLike, how: str = "threshold", rng: int | np.random.Generator = 0) -> Array:
    """Make grey pixels black and white.

    Parameters
    ----------
    x : array of any shape
        In [0, 1].
    how : {'threshold', 'sample'}, default 'threshold'
        1 where x >= 1/2; or 1 with probability x.  Their numbers of nats cannot be
        compared: sampled images have noise of their own, which costs nats.
    rng : numpy.random.Generator or int, default 0
        For 'sample', the source of randomness, or a seed.

    Returns
    -------
    array of x's shape and dtype, of zeros and ones
    """
    x = check.array("x", x, None)
    if x.dtype.kind == "c":
        raise ValueError(f"x must be an array of real numbers; got {x.dtype}")
    if not (x.min(initial=0) >= 0 and x.max(initial=1) <= 1):
        raise ValueError(f"x must lie in [0, 1]; its values go from {float(x.min()):g} to {float(x.max()):g}")
    if check.choice("how", how, ("threshold", "sample")) == "threshold":
        return (x >= 0.5).astype(x.dtype)
    return (check.generator("rng", rng).random(x.shape, np.float32) < x).astype(x.dtype)
