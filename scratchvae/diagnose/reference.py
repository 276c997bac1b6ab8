"""What a gradient should be, for any function of named arrays.

A `Pair` is a function with its backward; a layer becomes one by taking its
parameters as inputs, as in y = f(x, W, b).  A `Case` is one evaluation of a pair:
inputs, outputs, dy, and the gradients that backward claims.  `Reference` has the
derivatives to compare with:

*by the complex step*, exact to rounding, where forward is built of analytic functions;

*by differences of order six*, where it is not,

    ∇f·v = [45 (f₁ - f₋₁) - 9 (f₂ - f₋₂) + (f₃ - f₋₃)] / 60h + O(h⁶),    fₖ = f(θ + k h v),

which has some eleven digits at h = 1e-3, enough to tell one mistake from another.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..layers import Array
from ..verify.gradcheck import COMPLEX_STEP, stream

ENTRIES = 400                                          # a larger array is compared along random directions,
WORK = 3e6                                             # and so is one of a function in which so many numbers would move
TOLERANCE = {"complex": 1e-10, "central": 1e-6}        # of a gradient, relative to its own norm
FITS = {"complex": 1e-9, "central": 1e-5}              # of an explanation
STENCIL = {1: 45 / 60, 2: -9 / 60, 3: 1 / 60}          # order six

Arrays = dict[str, Array]


@dataclass
class Pair:
    """A function of named arrays and its backward.

    Attributes
    ----------
    name : str
        What to call its backward in a message, such as ``"Dense.backward"``.
    forward : function
        Takes the inputs by name, returns the outputs by name, and a cache.
    backward : function
        Takes the gradients by the outputs and a cache, returns those by the inputs, by name.
    inputs : dict of str to array
        float64, the point at which to look.
    fills : dict of str to array
        What stood in the gradient of a parameter before backward was called.
    generators : list
        The sources of noise that forward can reach; they are put back after every call.
    constants : dict of str to float
        Weights that stand in the loss, such as beta: a gradient may lack one.
    """

    name: str
    forward: Callable[[Arrays], tuple[Arrays, Any]]
    backward: Callable[[Arrays, Any], Arrays]
    inputs: Arrays
    fills: Arrays = field(default_factory=dict)
    generators: list[Any] = field(default_factory=list)
    constants: dict[str, float] = field(default_factory=dict)


@dataclass
class Case:
    """One evaluation of a pair: what went in, what came out, and what backward claims; ``changed``: x after forward."""

    inputs: Arrays
    outputs: Arrays
    dys: Arrays
    claimed: Arrays
    changed: Arrays


def entries(inputs: Arrays) -> int:
    """Return how many derivatives by single entries are affordable for one array."""
    return int(max(12, min(ENTRIES, WORK / max(1, sum(a.size for a in inputs.values())))))


def copies(arrays: Mapping[str, Array]) -> Arrays:
    """Return copies, which may be worked in."""
    return {name: array.copy() for name, array in arrays.items()}


def case(pair: Pair, inputs: Arrays, dys: Arrays | None = None, number: int = 1) -> Case:
    """Run forward and backward once; without ``dys``, these are random, of a stream of this number."""
    given = copies(inputs)
    with still(pair):
        outputs, cache = pair.forward(given)
        kept, rng = copies(outputs), stream(number)
        if dys is None:
            dys = {name: rng.standard_normal(y.shape) for name, y in outputs.items()}
        claimed = {name: np.array(value) for name, value in pair.backward(copies(dys), cache).items()}
    return Case(inputs, kept, dys, claimed, given)


def varied(inputs: Arrays, number: int) -> Arrays:
    """Return another point: each entry shrunk by up to a third, so that signs and bounds stay; whole numbers stay."""
    rng = stream(number)
    return {name: a if a.size and np.all(a == np.round(a)) and len(np.unique(a)) < 20 and np.any(a)
            else a * rng.uniform(0.65, 1, a.shape) for name, a in inputs.items()}


def jittered(inputs: Arrays, number: int) -> Arrays:
    """Return a point nearby, off all kinks: each entry moved by a thousandth of their size."""
    rng = stream(number)
    return {name: a + 1e-3 * (size(a) or 1.0) * rng.uniform(-1, 1, a.shape) for name, a in inputs.items()}


def size(a: Array) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.abs(a) ** 2))) if a.size else 0.0


# noise that stands still ---------------------------------------------------------------------------


def generators(thing: Any, depth: int = 3) -> Iterator[np.random.Generator]:
    """Yield the generators that a function or an object can reach."""
    if isinstance(thing, (np.random.Generator, np.random.RandomState)):
        yield thing                                    # type: ignore[misc]
    if depth == 0:
        return
    inside: list[Any] = [cell.cell_contents for cell in getattr(thing, "__closure__", None) or () if _filled(cell)]
    inside += list(getattr(thing, "__defaults__", None) or ())
    if hasattr(thing, "__code__"):
        inside += [thing.__globals__[name] for name in thing.__code__.co_names if name in thing.__globals__
                   and not isinstance(thing.__globals__[name], type(np))]
    if hasattr(thing, "__self__"):
        inside.append(thing.__self__)
    inside += list(getattr(thing, "__dict__", {}).values()) if not isinstance(thing, type) else []
    if isinstance(thing, (list, tuple)):
        inside += thing[:50]
    if isinstance(thing, dict):
        inside += list(thing.values())[:50]
    for other in inside:
        if not isinstance(other, (np.ndarray, str, int, float, type(np))):
            yield from generators(other, depth - 1)


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents
    except ValueError:
        return False
    return True


@contextmanager
def still(pair: Pair) -> Iterator[Callable[[Any], int]]:
    """Put all sources of noise back where they stood, so that the next forward draws the same; count the draws.

    What it yields tells how many sources have moved since the block began, those in
    the copy of a layer that forward made among them.
    """
    found: list[Any] = pair.generators
    states = [copy.deepcopy(state(g)) for g in found]
    legacy: Any = np.random.get_state()
    default_rng = np.random.default_rng
    fresh: list[None] = []

    def seeded(seed: Any = None) -> Any:
        fresh.extend([] if seed is not None else [seed])
        return default_rng(len(fresh) if seed is None else seed)

    def moved(kept: Any) -> int:
        copied = [g for g in generators(kept) if all(g is not other for other in found)]
        n = sum(repr(state(g)) != repr(s) for g, s in zip(found, states)) + len(fresh)
        n += sum(repr(state(g)) != repr(s) for g, s in zip(copied, states))
        now: Any = np.random.get_state()
        return n + (now[2:] != legacy[2:] or not np.array_equal(now[1], legacy[1]))

    np.random.default_rng = seeded
    try:
        yield moved
    finally:
        np.random.default_rng = default_rng
        np.random.set_state(legacy)
        for g, old in zip(found, states):
            if isinstance(g, np.random.Generator):
                g.bit_generator.state = old
            else:
                g.set_state(old)


def state(g: Any) -> Any:
    """Return where a source of noise stands."""
    return g.bit_generator.state if isinstance(g, np.random.Generator) else g.get_state()


# derivatives ---------------------------------------------------------------------------------------


class NotComplex(Exception):
    """Forward takes no complex numbers."""


class Reference:
    """Derivatives of Σ y·dy for a pair, by the complex step or by differences."""

    def __init__(self, pair: Pair, method: str = "complex") -> None:
        self.pair, self.method = pair, method
        self.tolerance, self.fit, self.step = TOLERANCE[method], FITS[method], 1e-3

    def outputs(self, inputs: Arrays) -> Arrays:
        """Run forward, and nothing else."""
        with still(self.pair):
            return self.pair.forward(copies(inputs))[0]

    def along(self, inputs: Arrays, dys: Arrays, directions: Arrays) -> float:
        """Return the derivative of Σ y·dy along directions in some inputs."""
        if self.method == "complex":
            moved = {name: a + 1j * COMPLEX_STEP * directions[name] if name in directions else a.astype(complex)
                     for name, a in inputs.items()}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", np.exceptions.ComplexWarning)
                    outputs = self.outputs(moved)
            except (TypeError, ValueError, AttributeError, NotImplementedError,
                    np.exceptions.ComplexWarning) as error:
                raise NotComplex(str(error)) from None
            return float(sum((np.imag(y) * dys[name]).sum() for name, y in outputs.items())) / COMPLEX_STEP
        return self.differences(inputs, dys, directions)

    def differences(self, inputs: Arrays, dys: Arrays, directions: Arrays, step: float | None = None) -> float:
        """Return the same by differences of order six."""
        h = (self.step if step is None else step) * min([size(inputs[name]) or 1.0 for name in directions])
        total = 0.0
        for k, weight in STENCIL.items():
            plus, minus = (self.outputs({name: a + sign * k * h * directions[name] if name in directions else a
                                         for name, a in inputs.items()}) for sign in (1, -1))
            total += weight * sum(((plus[name] - minus[name]) * dy).sum() for name, dy in dys.items())
        return float(total / h)

    def one_sided(self, inputs: Arrays, dys: Arrays, directions: Arrays, sign: int) -> float:
        """Return the derivative to one side: both differ at a kink."""
        h = sign * 1e-7 * min([size(inputs[name]) or 1.0 for name in directions])
        there = self.outputs({name: a + h * directions[name] if name in directions else a
                              for name, a in inputs.items()})
        here = self.outputs(inputs)
        return float(sum(((there[name] - here[name]) * dy).sum() for name, dy in dys.items()) / h)

    def entries(self, inputs: Arrays, dys: Arrays, by: str, flat: Array) -> Array:
        """Return the gradient at these entries of an input, counted along its ravelled form."""
        found = np.empty(len(flat))
        for i, k in enumerate(flat):
            v = np.zeros(inputs[by].size)
            v[k] = 1
            found[i] = self.along(inputs, dys, {by: v.reshape(inputs[by].shape)})
        return found


def trusted(pair: Pair, at: Case) -> tuple[Reference, str]:
    """Return the reference that this forward can have, and why it is not the complex step where it is not."""
    reference, rng = Reference(pair), stream(3)
    inputs = jittered(at.inputs, 4)
    v = {name: rng.standard_normal(a.shape) / np.sqrt(max(a.size, 1)) for name, a in inputs.items()}
    try:
        exact = reference.along(inputs, at.dys, v)
    except NotComplex as error:
        return Reference(pair, "central"), f"forward takes no complex numbers ({error})"
    except ArithmeticError as error:
        return Reference(pair, "central"), f"forward fails for complex numbers ({error})"
    guesses = [reference.differences(inputs, at.dys, v, step) for step in (1e-3, 1e-5)]
    scale = max(abs(exact), *map(abs, guesses), 1e-9 * size(np.concatenate([d.ravel() for d in at.dys.values()])))
    if min(abs(exact - guess) for guess in guesses) > 1e-4 * scale and abs(guesses[0] - guesses[1]) < 1e-3 * scale:
        return Reference(pair, "central"), ("forward is not analytic: the complex step and differences give "
                                            f"{exact:.6g} and {guesses[0]:.6g} along one direction. np.abs, np.var, "
                                            "np.linalg.norm, .real and casts to float do that")
    return reference, ""
