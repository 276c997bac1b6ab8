"""Scaling: how the numbers in a file become those that a model sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from .. import check
from ..layers import Array

Numbers = Union[float, tuple[float, ...]]


@dataclass(frozen=True)
class Scaling:
    """x becomes (x - shift) / scale, and back; choose it from the data to train on, and use it for all others.

    Its two fields are plain numbers: ``dataclasses.asdict(scaling)`` can be saved
    as JSON, and ``Scaling(**fields)`` reads it again.  It prints as a sentence.

    A density of x is that of the scaled x divided by Π scale: log p(x) is lower
    by Σ log scale.

    Parameters
    ----------
    shift, scale : float, or sequence of D floats, default 0 and 1
        One number for all columns, or one for each; scale is above 0.

    Raises
    ------
    ValueError
        If they are not such numbers.
    """

    shift: Numbers = 0.0
    scale: Numbers = 1.0

    def __post_init__(self) -> None:
        for name in ("shift", "scale"):
            given = getattr(self, name)
            value = check.array(name, given, ("D",) if isinstance(given, (list, tuple, np.ndarray)) else (), float)
            if name == "scale" and value.min() <= 0:
                raise ValueError(f"scale must be above 0; got {value.min():g}")
            object.__setattr__(self, name, tuple(value.tolist()) if value.ndim else float(value))
        self._columns()

    def _columns(self) -> int | None:
        """Return how many columns it is for, or None if for any number."""
        lengths = {len(value) for value in (self.shift, self.scale) if isinstance(value, tuple)}
        if len(lengths) > 1:
            raise ValueError(f"shift and scale must have one number for each column; got {sorted(lengths)}")
        return lengths.pop() if lengths else None

    @classmethod
    def choose(cls, x: Any, how: str = "auto", pictures: bool = False) -> Scaling:
        """Choose a scaling from the data to train on.

        Parameters
        ----------
        x : array of shape (n, D)
        how : {'auto', 'none', 'unit', 'standardise'}, default 'auto'
            'unit' divides by the first of 1, 16, 255 and 65535 that is not below the
            largest value, so that values that are never negative come to lie in
            [0, 1].  'standardise' takes off the mean and divides by the standard
            deviation.  'auto' is 'unit' for values in [0, 1] and for whole numbers from
            0 to 255, as in grey pictures, else 'standardise'.
        pictures : bool, default False
            'standardise' takes one mean and one standard deviation for all columns, not
            one for each.

        Returns
        -------
        Scaling

        Raises
        ------
        ValueError
            If x has another shape, or values for which 'unit' has no divisor.
        """
        x = check.array("x", x, ("n", "D"))
        pictures = check.flag("pictures", pictures)
        check.choice("how", how, ("auto", "none", "unit", "standardise"))
        low, high = float(x.min()), float(x.max())
        if how == "auto":
            whole = x.dtype.kind in "biu" or bool((x == np.floor(x)).all())
            how = "unit" if low >= 0 and (high <= 1 or (whole and high <= 255)) else "standardise"
        if how == "none":
            return cls()
        if how == "unit":
            if low < 0 or high > 65535:
                raise ValueError(f"x must lie in 0 to 65535 to be scaled to [0, 1]; its values go from {low:g} to "
                                 f"{high:g}: choose another scaling, such as 'standardise'")
            return cls(scale=next(top for top in (1.0, 16.0, 255.0, 65535.0) if high <= top))
        axis = None if pictures else 0
        std = np.where(x.min(axis) == x.max(axis), 1.0, x.std(axis, dtype=float))   # a column may be constant
        usable = np.isfinite(std) & (std > 0)
        if not usable.all():
            i = int(np.argmin(usable))
            where, of = (f"column {i}, counted from 0, goes", x[:, i]) if std.ndim else ("they go", x)
            raise ValueError(f"x must have values whose squares are floats; {where} from {of.min():g} to {of.max():g}")
        return cls(x.mean(axis, dtype=float).tolist(), std.tolist())

    def apply(self, x: Any, dtype: Any = np.float32) -> Array:
        """Return (x - shift) / scale, for x of shape (n, D), in this dtype."""
        x = check.array("x", x, ("n", self._columns() or "D"))
        if x.dtype.kind == "c":
            raise ValueError(f"x must be an array of real numbers; got {x.dtype}")
        scaled = np.empty(x.shape, check.dtype("dtype", dtype, (np.float32, np.float64)))
        with np.errstate(all="ignore"):                      # what overflows is caught below
            for first in range(0, len(x), 1000):             # in float64, with no large copy
                rows = slice(first, first + 1000)
                scaled[rows] = np.subtract(x[rows], self.shift, dtype=float) / self.scale
        return check.array("x, scaled,", scaled, ("n", "D"))

    def invert(self, x: Any, drawn: bool = False) -> Array:
        """Return x · scale + shift, for x of shape (n, D): `apply` undone, the same for rows that were ``drawn``.

        In x's precision; or in float64, where x's has too few digits for a column that
        lies far from 0 and varies little, such as times in seconds since 1970.
        """
        x = check.array("x", x, ("n", self._columns() or "D"))
        if x.dtype.kind == "c":
            raise ValueError(f"x must be an array of real numbers; got {x.dtype}")
        shift, scale, dtype = np.asarray(self.shift), np.asarray(self.scale), np.result_type(x, np.float32)
        enough = (np.spacing((abs(shift) + scale).astype(dtype)) <= 1e-4 * scale).all()
        return (np.multiply(x, scale, dtype=float) + shift).astype(dtype if enough else float)

    def log_scale(self, x: Array) -> Array:
        """Return Σ log scale over the columns, for each row of x: log p(x) is higher by it once scaled."""
        return np.log(np.broadcast_to(self.scale, x.shape)).sum(axis=1)

    def __str__(self) -> str:
        if self == Scaling():
            return "values are taken as they are"
        if self._columns():
            return "each column is scaled by itself: its shift is subtracted, the rest divided by its scale"
        if self.shift == 0:
            return f"values are divided by {self.scale:g}, so that 0 to {self.scale:g} becomes 0 to 1"
        return f"from every value {self.shift:g} is subtracted, and the rest divided by {self.scale:g}"
