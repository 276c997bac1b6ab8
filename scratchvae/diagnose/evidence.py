"""One wrong gradient beside the right one, in three cases: what every hypothesis about it must fit.

Two cases are draws of dy at one point, the third is another draw at another point.  So what fits in
all of them to rounding is no coincidence.  A hypothesis is held to the gradient along two random
directions, whatever its size, and one that speaks of entries to the entries of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from ..layers import Array
from ..verify.derivative import Arrays, NotComplex, Pair, along, copies, gradient, size, stream
from ..verify.noise import still

ENTRIES = 400                                          # a larger array is looked at in a block of entries
TOLERANCE = 1e-10                                      # of a gradient, relative to its own norm
FIT = 1e-9                                             # of an explanation, relative; of one by differences:
COARSE_FIT = 1e-4


@dataclass
class Reason:
    """A kind of mistake, what it looks like in a sentence, what to write instead, and numbers."""

    kind: str
    says: str
    hint: str = ""
    evidence: list[str] = field(default_factory=list)


@dataclass
class Case:
    """One evaluation of a pair: what went in, what came out, and what backward claims."""

    inputs: Arrays
    outputs: Arrays
    dys: Arrays
    claimed: Arrays
    drew: tuple[bool, bool] = (False, False)           # whether forward drew noise, and backward


def case(pair: Pair, inputs: Arrays, dys: Arrays | None = None, number: int = 1) -> Case:
    """Run forward and backward once; without ``dys``, these are random, of a stream of this number."""
    with still(pair.generators) as noise:
        before, (made, cache) = noise(), pair.forward(copies(inputs))
        between, then = noise(), noise(cache)
        kept, rng = copies(made), stream(number)
        if dys is None:
            dys = {name: rng.standard_normal(y.shape) for name, y in kept.items()}
        claimed = {name: np.array(value) for name, value in pair.backward(copies(dys), cache).items()}
        drew = between != before, then != noise(cache)
    return Case(copies(inputs), kept, dys, claimed, drew)


def elsewhere(inputs: Arrays, number: int) -> Arrays:
    """Return another point: each entry shrunk by up to a third, so that signs and bounds stay; whole numbers stay."""
    rng = stream(number)
    return {name: a if a.size and np.all(a == np.round(a)) and len(np.unique(a)) < 20 and np.any(a)
            else a * rng.uniform(0.65, 1, a.shape) for name, a in inputs.items()}


def beside(inputs: Arrays, number: int) -> Arrays:
    """Return a point nearby, off all kinks: each entry moved by a thousandth of their size."""
    rng = stream(number)
    return {name: a + 1e-3 * size(a) * rng.uniform(-1, 1, a.shape) for name, a in inputs.items()}


class Reference:
    """Derivatives of Σ y·dy for a pair: by the complex step, or by differences where that cannot follow."""

    def __init__(self, pair: Pair, follows: bool = True, precision: float = 0.0) -> None:
        self.pair, self.forward, self.follows, self.precision = pair, pair.values, follows, precision
        self.fit = max(FIT if follows else COARSE_FIT, 100 * precision)
        self.tolerance = max(TOLERANCE if follows else 1e-5, 100 * precision)
        self.explained = list[Any]()                   # what operations.py has found for other gradients,
        self.runs = 0                                  # and how often it ran forward

    def along(self, c: Case, directions: Arrays) -> float:
        """Return the derivative along directions in some inputs."""
        return along(self.forward, c.inputs, directions, c.dys, self.follows)

    def entries(self, c: Case, by: str, flat: Array) -> Array:
        """Return the gradient at these entries of an input, counted along its ravelled form."""
        a = c.inputs[by]
        if self.follows and len(flat) == a.size:
            with suppress(NotComplex):
                return gradient(self.forward, c.inputs, by, c.dys).ravel()
        return np.array([self.along(c, {by: (np.arange(a.size) == k).astype(float).reshape(a.shape)}) for k in flat])


class Wrong:
    """One wrong gradient, C, beside the right one, R, in several cases; of a large array, a block of its entries."""

    def __init__(self, reference: Reference, by: str, cases: list[Case]) -> None:
        self.reference, self.by, self.cases, self.fit = reference, by, cases, reference.fit
        self.pair, self.shape = reference.pair, cases[0].inputs[by].shape
        self.d = f"d{leaf(by)}"
        rng = stream(5)
        self.directions = [rng.standard_normal(self.shape) for _ in range(2)]
        self.given = [np.array([(c.claimed[by] * v).sum() for v in self.directions]) for c in cases]   # C along them
        self.right = [self.along(c) for c in cases]    # R along them
        self.whole = int(np.prod(self.shape)) <= ENTRIES
        self.index = np.ix_(*self.block()) if self.shape else ()
        grid = np.arange(int(np.prod(self.shape))).reshape(self.shape)[self.index]
        self.R = cache(lambda k: reference.entries(cases[k], by, grid.ravel()).reshape(grid.shape))    # of case k

    def C(self, k: int) -> Array:
        """Return what backward claims in case k."""
        return self.cases[k].claimed[self.by][self.index]

    def along(self, c: Case) -> Array:
        """Return the right gradient along the two directions."""
        return np.array([self.reference.along(c, {self.by: v}) for v in self.directions])

    def close(self, a: Array, b: Array, fit: float | None = None) -> bool:
        """Whether numbers agree to rounding, and are not all zero."""
        scale = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
        return bool(0 < scale < np.inf and np.abs(a - b).max(initial=0) <= (fit or self.fit) * scale)

    def everywhere(self, gradient: Callable[[Case], Array]) -> bool:
        """Whether this, along the directions, is what backward claims, in every case."""
        return all(self.close(given, gradient(c)) for c, given in zip(self.cases, self.given))

    def wrong(self, k: int) -> Array:
        """Return which entries of the block are wrong in case k."""
        return np.abs(self.C(k) - self.R(k)) > self.fit * max(np.abs(self.R(k)).max(initial=0), 1e-300)

    def alike(self, k: int) -> Arrays:
        """Return the arrays of case k that have an entry for each of this one, cut to the block."""
        c, found = self.cases[k], Arrays()
        for name, a in {**c.inputs, **c.outputs, **{f"d{name}": dy for name, dy in c.dys.items()}}.items():
            with suppress(ValueError):
                found[name] = np.broadcast_to(a, self.shape)[self.index]
        return found

    def block(self) -> list[Array]:
        """Return indices along each axis, with a wrong entry among them, which halves are searched for."""
        if self.whole:
            return [np.arange(n) for n in self.shape]
        c, v, numbers = self.cases[0], stream(9).standard_normal(self.shape), np.arange(np.prod(self.shape))

        def gap(low: int, high: int) -> float:
            part = v * ((low <= numbers) & (numbers < high)).reshape(self.shape)
            return abs((c.claimed[self.by] * part).sum() - self.reference.along(c, {self.by: part}))

        low, high, side = 0, numbers.size, max(2, int((ENTRIES / 4) ** (1 / sum(n > 1 for n in self.shape))))
        while high - low > 1 and np.isfinite(c.claimed[self.by]).all():
            middle = (low + high) // 2
            low, high = (low, middle) if gap(low, middle) >= gap(middle, high) else (middle, high)
        return [np.unique(np.append(np.linspace(0, n - 1, min(n, side)).astype(int), i))
                for n, i in zip(self.shape, np.unravel_index(low, self.shape))]


def over_an_axis(w: Wrong, c: float, slope: Callable[[Case, Array, float], float]) -> str:
    """Say that the factor c comes from the length of an axis, if it does: with one row or column less it changes so.

    ``slope`` returns the derivative along a direction, in another case, with another factor.
    """
    whole = max(abs(c), 1 / abs(c))                    # n, or n times the length of another axis
    inputs, first = w.cases[0].inputs, next(iter(w.cases[0].inputs))
    for axis, word in ((0, "row"), (-1, "column")):
        lengths = {a.shape[axis] for a in [*inputs.values(), *w.cases[0].outputs.values()] if a.ndim}
        for n in [n for n in sorted(lengths) if n > 2 and abs(whole / n - round(whole / n)) < 1e-5]:
            less = c * (n - 1) / n if abs(c) > 1 else c * n / (n - 1)
            having = [name for name, a in inputs.items() if a.ndim and a.shape[axis] == n]
            for names in ([first] if first in having else [], [m for m in having if inputs[m].ndim > 1], having):
                try:
                    cut = case(w.pair, {m: (a[:-1] if axis == 0 else a[..., :-1]).copy() if m in names else a
                                        for m, a in inputs.items()})
                    v = [v[tuple(map(slice, cut.inputs[w.by].shape))] for v in w.directions]
                    if w.close(np.array([(cut.claimed[w.by] * u).sum() for u in v]),
                               np.array([slope(cut, u, less) for u in v]), 1e-6):
                        return f"over the {n} {word}s (with {n - 1} {word}s the factor is {nice(less)})"
                except Exception:                      # a shape that forward or backward cannot do with
                    continue
    return ""


def nice(c: float) -> str:
    """Return a number as one would write it: a fraction of small numbers, if it is one."""
    for q in range(1, 13):
        if abs(c * q - round(c * q)) < 1e-6 and round(c * q) != 0:
            return f"{round(c * q)}" if q == 1 else f"{round(c * q)}/{q}"
    return f"1/{round(1 / c)}" if abs(1 / c - round(1 / c)) < 1e-6 * abs(1 / c) else f"{c:.6g}"


def leaf(name: str) -> str:
    """Return the last part of a name: W of dense1.W."""
    return name.rpartition(".")[2]
