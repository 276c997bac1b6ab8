"""What each use of an array adds to its gradient.

An array that forward uses in several places has the sum of their contributions for
its gradient, MATH (1.1).  To know each of them, forward is run with a `Watched`
array: it has the imaginary part of a complex step, but shows it in one use only.
"""

from __future__ import annotations

import linecache
import sys
import warnings
from itertools import combinations
from typing import Any

import numpy as np

from ..layers import Array
from ..verify.gradcheck import COMPLEX_STEP
from .reference import Arrays, Case, Pair, copies, still
from .suspect import Reason, Suspect, close

HERE = __file__


class Counter:
    """Counts the uses of an array, and remembers the line of each; ``shown`` is the use that sees the step."""

    def __init__(self, shown: int) -> None:
        self.shown, self.lines = shown, list[str]()

    def next(self) -> bool:
        """Count a use; tell whether it is the one that is shown."""
        self.lines.append(line())
        return len(self.lines) - 1 == self.shown


def line() -> str:
    """Return the line of code, outside of NumPy and this file, that is being run."""
    frame = sys._getframe(2)
    while frame.f_back is not None and (frame.f_code.co_filename == HERE or "/numpy/" in frame.f_code.co_filename):
        frame = frame.f_back
    text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return f"line {frame.f_lineno}" + (f": {text}" if text else "")


class Watched(np.ndarray[Any, Any]):
    """A complex array whose imaginary part shows in one use only; its views are watched with it."""

    counter: Counter | None = None

    def __array_finalize__(self, parent: Any) -> None:
        """A view or a slice counts together with its parent."""
        self.counter = getattr(parent, "counter", None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """A ufunc is a use: of all the watched arrays in it, one use each."""
        if "out" in options:
            options["out"] = tuple(plain(a, True) for a in options["out"])
        return getattr(ufunc, method)(*(shown(a) for a in inputs), **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        """So is any other function of NumPy."""
        args, options = shown(args), {name: shown(value) for name, value in options.items()}
        return function(*args, **options)


def plain(a: Any, keep: bool) -> Any:
    """Return an array that is not watched, with or without the step."""
    array = a.view(np.ndarray)
    return array if keep else array.real.astype(complex)


def shown(a: Any) -> Any:
    """Return what a use sees of an argument."""
    if isinstance(a, Watched):
        return plain(a, a.counter is None or a.counter.next())
    if isinstance(a, (tuple, list)):
        return type(a)(shown(b) for b in a)
    return a


def contributions(pair: Pair, inputs: Arrays, dys: Arrays, by: str, directions: list[Array],
                  at_most: int = 12) -> tuple[Array, list[str]]:
    """Return the derivative of Σ y·dy along each direction through each use alone, (uses, directions), and their lines.

    An empty list says that the uses cannot be told apart.
    """
    found: list[list[float]] = []
    lines: list[str] = []
    k = 0
    while k == 0 or k < min(len(lines), at_most):
        row = []
        for v in directions:
            counter = Counter(k)
            given: dict[str, Array] = {name: a.astype(complex) for name, a in copies(inputs).items()}
            watched = (inputs[by] + 1j * COMPLEX_STEP * v).view(Watched)
            watched.counter = counter
            given[by] = watched
            try:
                with still(pair), warnings.catch_warnings():
                    warnings.simplefilter("error", np.exceptions.ComplexWarning)
                    outputs = pair.forward(given)[0]
            except Exception:                          # code that minds what it is given
                return np.empty((0, 0)), []
            if k == 0:
                lines = counter.lines
            row.append(float(sum((np.imag(np.asarray(y)) * dys[name]).sum() for name, y in outputs.items()))
                       / COMPLEX_STEP)
        found.append(row)
        k += 1
    return np.array(found), lines


class Fresh(np.ndarray[Any, Any]):
    """An array that is never changed by a ufunc: y *= 2 makes a new one, and the cache keeps the old."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Compute into a new array, whatever ``out`` says."""
        options.pop("out", None)
        result = getattr(ufunc, method)(*(a.view(np.ndarray) if isinstance(a, Fresh) else a for a in inputs), **options)
        return result.view(Fresh) if isinstance(result, np.ndarray) else result


def unshared(pair: Pair, c: Case, by: str) -> Array | None:
    """Return what backward claims when forward cannot work in place; None if it cannot be run so."""
    try:
        with still(pair):
            _, kept = pair.forward({name: a.copy().view(Fresh) for name, a in c.inputs.items()})
            return np.asarray(pair.backward(copies(c.dys), kept)[by]).view(np.ndarray)
    except Exception:                                  # code that minds what it is given
        return None


def some_uses(s: Suspect) -> Reason | None:
    """C is what comes from some of the places where forward uses the array."""
    if s.reference.method != "complex":
        return None
    n, parts = len(s.cases), []
    lines: list[str] = []
    for c in s.cases:
        values, lines = contributions(s.pair, c.inputs, c.dys, s.by, s.directions)
        parts.append(values)
    if len(lines) < 2 or len(lines) > 12 or any(len(p) != len(lines) for p in parts):
        return None
    if not all(close(p.sum(axis=0), R, s.fit) for p, R in zip(parts, s.numbers)):
        return None                                    # a use was not seen, or forward is not what it was
    scale = [np.abs(p).max() for p in parts]
    live = [i for i in range(len(lines)) if any(np.abs(parts[k][i]).max() > 1e-9 * scale[k] for k in range(n))]
    if len(live) < 2:
        return None

    def fit(weights: dict[int, float]) -> bool:
        return all(close(s.claims(k), sum(w * parts[k][i] for i, w in weights.items()), s.fit) for k in range(n))

    uses = "".join(f"\n  use {i + 1}: {lines[j]}" for i, j in enumerate(live))
    for m in (len(live) - 1, *range(1, len(live) - 1)):
        if m < 1 or m > 3 and m != len(live) - 1:
            continue
        for kept in combinations(live, m):
            if fit(dict.fromkeys(kept, 1.0)):
                gone = ", ".join(str(live.index(i) + 1) for i in live if i not in kept)
                here = ", ".join(str(live.index(i) + 1) for i in kept)
                return Reason("missing", f"forward uses {s.by} {len(live)} times, and its gradient is the sum over all "
                              f"uses; it equals what comes from use {here} alone. Use {gone} is missing or "
                              f"overwritten:{uses}", hint="add the contributions up: +=, not =")
    for i in live:
        for w, words in ((-1.0, "has its sign flipped"), (2.0, "is counted twice"), (0.5, "is counted half")):
            if fit({**dict.fromkeys(live, 1.0), i: w}):
                return Reason("sign" if w < 0 else "factor", f"forward uses {s.by} {len(live)} times; what comes from "
                              f"use {live.index(i) + 1} {words}{uses}")
    return None
