"""A wrong gradient beside the right one, in three cases: what the hypotheses look at.

Two cases are draws of dy at one point, the third is at another point.  So what fits
in all of them to rounding is no coincidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..layers import Array, sigmoid
from ..verify.gradcheck import stream
from .reference import ENTRIES, Arrays, Case, Reference, entries

Formula = Callable[[Array], Array]

FORMULAS: dict[str, Formula] = {                       # of one array, entry by entry
    "{a}": lambda a: a, "{a}²": lambda a: a * a, "1/{a}": lambda a: 1 / a, "1/{a}²": lambda a: 1 / (a * a),
    "1 - {a}": lambda a: 1 - a, "1 + {a}": lambda a: 1 + a, "1 - {a}²": lambda a: 1 - a * a,
    "1 + {a}²": lambda a: 1 + a * a, "{a}(1 - {a})": lambda a: a * (1 - a), "({a} > 0)": lambda a: a > 0,
    "({a} < 0)": lambda a: a < 0, "√{a}": np.sqrt, "1/√{a}": lambda a: 1 / np.sqrt(a), "{a}³": lambda a: a ** 3,
    "exp({a})": np.exp, "exp(-{a})": lambda a: np.exp(-a), "exp({a}/2)": lambda a: np.exp(a / 2),
    "exp(-{a}/2)": lambda a: np.exp(-a / 2), "sigmoid({a})": sigmoid, "1 - sigmoid({a})": lambda a: sigmoid(-a),
    "sigmoid({a})(1 - sigmoid({a}))": lambda a: sigmoid(a) * sigmoid(-a), "tanh({a})": np.tanh,
    "1 - tanh²({a})": lambda a: 1 - np.tanh(a) ** 2, "cos({a})": np.cos, "sin({a})": np.sin, "log({a})": np.log,
    "|{a}|": np.abs, "sign({a})": np.sign,
}
CONSTANTS = (1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


@dataclass
class Reason:
    """A kind of mistake, what it looks like in a sentence, the evidence, and what to write instead."""

    kind: str
    says: str
    evidence: list[str] = field(default_factory=list)
    hint: str = ""


class Suspect:
    """One wrong gradient in several cases; of a large array, a block of its entries."""

    def __init__(self, reference: Reference, by: str, cases: list[Case], wrong: Array | None = None) -> None:
        self.reference, self.by, self.cases = reference, by, cases
        self.pair, self.shape = reference.pair, cases[0].inputs[by].shape
        at_most = entries(cases[0].inputs)
        self.whole = int(np.prod(self.shape)) <= at_most
        self.index = np.ix_(*block(self.shape, wrong, at_most)) if self.shape else ()
        grid = np.arange(int(np.prod(self.shape))).reshape(self.shape)[self.index]
        self.fit = reference.fit
        self.R = [reference.entries(c.inputs, c.dys, by, grid.ravel()).reshape(grid.shape) for c in cases]
        self.C = [c.claimed[by][self.index] for c in cases]
        self.numbers = [self.along(c, c.inputs, c.dys) for c in cases]         # R along two directions, for each case

    def fits(self, C: Array, candidate: Array) -> bool:
        """Whether these agree to rounding, and are not all zero."""
        scale = max(np.abs(C).max(initial=0), np.abs(candidate).max(initial=0))
        return bool(0 < scale < np.inf and np.abs(C - candidate).max(initial=0) <= self.fit * scale)

    def wrong(self, k: int) -> Array:
        """Return which entries of the block are wrong in case k."""
        scale = max(np.abs(self.R[k]).max(initial=0), 1e-300)
        return np.abs(self.C[k] - self.R[k]) > self.fit * scale

    def alike(self, k: int, like: tuple[int, ...] | None = None) -> Iterator[tuple[str, Array]]:
        """Yield the arrays of case k that have an entry for each of this one, cut to the block."""
        c = self.cases[k]
        named = [*c.inputs.items(), *c.outputs.items(), *((f"d{name}", dy) for name, dy in c.dys.items())]
        for name, a in named:
            if a.ndim == 1 and len(self.shape) == 2 and a.shape[0] == self.shape[0] != self.shape[1]:
                a = a[:, None]
            try:
                a = np.broadcast_to(a, self.shape)[self.index]
            except ValueError:
                continue
            yield name, a

    def along(self, c: Case, inputs: Arrays, dys: Arrays) -> Array:
        """Return R along two directions, at these inputs and dys."""
        return np.array([self.reference.along(inputs, dys, {self.by: v}) for v in self.directions])

    @property
    def directions(self) -> list[Array]:
        """Two directions, random and always the same."""
        rng = stream(5)
        return [rng.standard_normal(self.shape) for _ in range(2)]

    def claims(self, k: int) -> Array:
        """Return C of case k along the same directions."""
        return np.array([(self.cases[k].claimed[self.by] * v).sum() for v in self.directions])


def block(shape: tuple[int, ...], wrong: Array | None = None, at_most: int = ENTRIES) -> list[Array]:
    """Return indices along each axis, of at most so many entries in all; ``wrong`` is an entry to be among them."""
    if int(np.prod(shape)) <= at_most:
        return [np.arange(n) for n in shape]
    side = max(2, int((at_most if at_most < ENTRIES else ENTRIES / 4) ** (1 / sum(n > 1 for n in shape))))
    picked = []
    for axis, n in enumerate(shape):
        index = np.unique(np.linspace(0, n - 1, min(n, side)).astype(int))
        picked.append(index if wrong is None else np.unique(np.append(index, wrong[axis])))
    return picked


def agreed(test: Callable[[int], set[str]], n: int) -> list[str]:
    """Return what holds in every case."""
    found = test(0)
    for k in range(1, n):
        found = {key for key in found if key in test(k)} if found else found
    return sorted(found, key=len)


def close(a: Array, b: Array, fit: float) -> bool:
    """Whether two short lists of numbers agree, relative to the larger."""
    scale = max(np.abs(a).max(), np.abs(b).max())
    return bool(0 < scale < np.inf and np.abs(a - b).max() <= fit * scale)


def leaf(name: str) -> str:
    """Return the last part of a name: W of dense1.W."""
    return name.rpartition(".")[2]
