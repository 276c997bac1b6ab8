"""What a derivative is, without calculus: two witnesses, and one comparison with them.

*The complex step*, MATH (10.1): ∇f·v = Im f(θ + i h v) / h with h = 1e-30, exact to rounding.
*A difference*, MATH (10.2): [f(θ + h v) - f(θ - h v)] / 2h, some 7 to 10 digits; it needs nothing
of f, and so it sees what the complex step cannot: a path that forward cuts with ``abs`` or ``.real``.

One of them alone can be fooled; a gradient is right where both agree with it.  Where the
difference disagrees, its step is made smaller, entry by entry: at a kink the differences never
settle, and there is no verdict.

gradcheck, diagnose and explain all compare here.  A function is given as one of named arrays,
``{"x": ...} -> {"y": ...}``; see `Pair` for one with its backward.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..layers import Array
from .dual import Dual, dual, new_arrays, plain
from .noise import still

Arrays = dict[str, Array]
Function = Callable[[Arrays], Mapping[str, Any]]

COMPLEX_STEP = 1e-30
STEPS = (1e-5, 1e-6, 1e-7)                             # of a difference, times the size of what is moved
COARSE = 1e-5                                          # what two differences may be apart, relative


@dataclass
class Pair:
    """A function of named arrays, and its backward.

    Attributes
    ----------
    name : str
        What to call its backward in a message, such as ``"Dense.backward"``.
    forward : function
        Takes the inputs by name, returns the outputs by name, and a cache.
    backward : function
        Takes the gradients by the outputs, by their names, and the cache; returns those by the inputs.
    inputs : dict of str to array
        float64, the point at which to look.
    fills : dict of str to array
        What stood in the gradient of a parameter before backward was called.
    generators : list
        The sources of noise that forward can reach; they are put back after every call.
    draws : bool
        False once a call has shown that forward draws no noise.
    """

    name: str
    forward: Callable[[Arrays], tuple[Arrays, Any]]
    backward: Callable[[Arrays, Any], Arrays]
    inputs: Arrays
    fills: Arrays = field(default_factory=dict)
    generators: list[Any] = field(default_factory=list)
    draws: bool = True

    @property
    def forward_name(self) -> str:
        """What to call its forward in a message."""
        named = "backward" in self.name
        return self.name.replace("_backward", "").replace("backward", "forward") if named else "forward"

    def values(self, arrays: Arrays) -> Arrays:
        """Return the outputs alone; noise that forward draws is the same in each call."""
        if not self.draws:
            return self.forward(arrays)[0]
        with still(self.generators) as noise:
            before, outputs = noise(), self.forward(arrays)[0]
            self.draws = noise() != before
            return outputs


class NotComplex(ValueError):
    """A forward that the complex step cannot follow; the message says why."""


def stream(number: int) -> np.random.Generator:
    """Return an independent random stream, so that x, dy and the directions v are independent."""
    return np.random.default_rng(np.random.SeedSequence(0, spawn_key=(number,)))


def copies(arrays: Mapping[str, Array]) -> Arrays:
    """Return copies, which may be worked in."""
    return {name: array.copy() for name, array in arrays.items()}


def size(a: Array) -> float:
    """Return the root of the mean square; 1 if it is 0."""
    return float(np.sqrt(np.mean(np.abs(a) ** 2))) or 1.0 if a.size else 1.0


def complex_step(function: Function, arrays: Mapping[str, Array], directions: Mapping[str, Array],
                 kind: type[Dual] = Dual) -> dict[str, Any]:
    """Return the derivative of each output along directions in some of the arrays."""
    moved = {name: dual(a + 1j * COMPLEX_STEP * directions[name], kind) if name in directions else a.copy()
             for name, a in arrays.items()}
    try:
        with warnings.catch_warnings(), new_arrays(kind):
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            outputs = function(moved)
    except (TypeError, AttributeError, np.exceptions.ComplexWarning) as error:
        raise NotComplex(str(error)) from None
    return {of: np.imag(plain(y)) / COMPLEX_STEP for of, y in outputs.items()}


def along(function: Function, arrays: Mapping[str, Array], directions: Mapping[str, Array],
          weights: Mapping[str, Any], follows: bool = True) -> float:
    """Return the derivative of Σ weight · output: by the complex step, or by differences where it cannot follow.

    NaN if the differences do not settle.
    """
    if follows:
        try:
            found = complex_step(function, arrays, directions)
            return float(sum((found[of] * weight).sum() for of, weight in weights.items()))
        except NotComplex:
            pass
    scale = float(np.sqrt(sum((v * v).sum() for v in directions.values())))
    return sum(slopes(change(changes(function, arrays, directions), weights), scale) or (np.nan, np.nan)) / 2


def precision(function: Function, arrays: Mapping[str, Array]) -> float:
    """Return what casts to fewer digits do to the outputs, relative; 0 if all is computed in float64."""
    with new_arrays():
        exact = function({name: dual(a + 0j) for name, a in arrays.items()})
    gaps = [relative(y, np.real(plain(exact[of]))) for of, y in function(copies(arrays)).items()]
    return max(gap if gap > 1e-12 else 0.0 for gap in gaps)


def gradient(function: Function, arrays: Mapping[str, Array], by: str, weights: Mapping[str, Array]) -> Array:
    """Return the gradient of Σ weight · output by one array, by the complex step in every entry.

    Rows that do not touch each other are moved together: a column costs one evaluation.
    """
    a, n = arrays[by], len(arrays[by]) if arrays[by].ndim else 0

    def moved(v: Array) -> dict[str, Any]:
        return complex_step(function, arrays, {by: v.reshape(a.shape)})

    unit = np.eye(a.size // n).reshape(-1, 1, *a.shape[1:]) if n and a.size else np.zeros((0, 1))
    if n > 1 and len(unit) and all(np.ndim(w) and len(w) == n for w in weights.values()):
        found = np.stack([sum((moved(np.repeat(v, n, axis=0))[of] * w).reshape(n, -1).sum(axis=1)
                              for of, w in weights.items()) for v in unit], axis=1).reshape(a.shape)
        v = stream(9).standard_normal(a.shape)
        if relative((found * v).sum(), sum((moved(v)[of] * w).sum() for of, w in weights.items()),
                    float(np.linalg.norm(found))) < 1e-12:
            return found
    slopes = [moved(v) for v in np.eye(a.size)]
    return np.array([sum((s[of] * w).sum() for of, w in weights.items()) for s in slopes]).reshape(a.shape)


def changes(function: Function, arrays: Mapping[str, Array],
            directions: Mapping[str, Array]) -> Callable[[float], dict[str, Any]]:
    """Return t -> f(θ + t v) - f(θ), of each output, which differences are made of; no t is computed twice."""
    here = {of: np.array(y) for of, y in function(copies(arrays)).items()}

    @functools.cache
    def changed(t: float) -> dict[str, Any]:
        there = function({name: a + t * directions[name] if name in directions else a.copy()
                          for name, a in arrays.items()})
        return {of: there[of] - y for of, y in here.items()}
    return changed


def change(changed: Callable[[float], Mapping[str, Any]], weights: Mapping[str, Any]) -> Callable[[float], float]:
    """Return t -> Σ weight · [f(θ + t v) - f(θ)], from what `changes` returned."""
    return lambda t: float(sum(np.sum(weight * changed(t)[of]).real for of, weight in weights.items()))


def relative(given: Any, right: Any, scale: float = 0.0, floor: float = 0.0) -> float:
    """Return how far numbers are from what they should be, relative to the larger, or to ``scale``.

    ``floor`` is what rounding alone may do to them: so much is no error.  NaN if there is one.
    """
    given, right = np.ravel(given), np.ravel(right)
    gap, largest = np.linalg.norm(given - right), np.max([np.linalg.norm(given), np.linalg.norm(right), scale])
    if gap <= floor:
        return 0.0
    return float(gap / largest) if largest != 0 else 0.0


def confirmed(changed: Callable[[float], float], slope: float, scale: float, rounding: float) -> bool:
    """Whether a central difference agrees with a derivative, for one of three steps.

    Parameters
    ----------
    changed : function
        From `change`.
    slope : float
        The derivative.
    scale : float
        Of the gradient: 1e-5 of it is agreement.
    rounding : float
        What it may do to a value of the function.
    """
    return any(abs((changed(h) - changed(-h)) / (2 * h) - slope) <= COARSE * max(scale, abs(slope)) + rounding / h
               for h in STEPS)


def off_entries(function: Function, arrays: Mapping[str, Array], by: str, weights: Mapping[str, Any], given: Array,
                entries: Iterable[int]) -> tuple[list[int], int, float]:
    """Look at some entries of a gradient by differences, one by one.

    Returns
    -------
    wrong : list of int
        Those that are none of the slopes there, to 1e-4 of the gradient; at a kink, all between left and right are.
    kinks : int
        How many lie on a kink.
    error : float
        The largest distance from the slopes, relative to the gradient; NaN if no entry could be judged.
    """
    wrong, kinks, gaps, largest = [], 0, list[float](), float(np.abs(given).max(initial=0))
    for k in entries:
        v = np.zeros(given.size)
        v[k] = 1
        between = slopes(change(changes(function, arrays, {by: v.reshape(given.shape)}), weights), largest)
        if between is not None:
            largest = max(largest, *map(abs, between))
            gaps.append(max(between[0] - given.flat[k], given.flat[k] - between[1], 0.0))
            kinks += between[0] != between[1]
            wrong += [int(k)] if gaps[-1] > 1e-4 * largest else []
    return wrong, kinks, (max(gaps) / largest if largest else 0.0) if gaps else np.nan


def slopes(changed: Callable[[float], float], scale: float) -> tuple[float, float] | None:
    """Return the smallest and the largest slope at a point: the same number twice, but for a kink on the point.

    The step shrinks until the differences no longer change; a kink beside the point is then out of reach.
    None if they never settle.
    """
    before: tuple[float, float] | None = None
    for h in (4e-4, 1e-4, 2.5e-5, 6e-6, 1.5e-6, 4e-7, 1e-7):
        left, right = changed(-h) / -h, changed(h) / h
        if before is not None:
            largest = max(scale, abs(left), abs(right))
            middle, gap = (left + right) / 2, abs(right - left)
            if abs(middle - sum(before) / 2) <= COARSE * largest and (
                    gap <= 0.5 * abs(before[1] - before[0]) or gap <= COARSE * largest):
                return middle, middle
        last, before = before, (left, right)
    if last is not None and before is not None and max(abs(a - b) for a, b in zip(last, before)) <= 1e-3 * largest:
        return min(before), max(before)
    return None
