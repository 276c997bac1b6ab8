"""A gradient that is right, but for another dy, or for another value of an input.

Whatever was mixed up, the wrong gradient is then a right one elsewhere, and one
evaluation of forward along a direction tells, for arrays of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..layers import Array
from .reference import Arrays, Case, NotComplex
from .suspect import CONSTANTS, Reason, Suspect, close

Substitute = tuple[str, str, Arrays, Arrays]           # kind, in words, inputs, dys


def first_fit(s: Suspect, substitutes: Callable[[Case], Iterator[Substitute]],
              constants: tuple[float, ...] = CONSTANTS) -> tuple[str, str, float] | None:
    """Return kind, words and constant of the first substitute that fits in every case."""
    others = [{words: (inputs, dys) for _, words, inputs, dys in substitutes(c)} for c in s.cases[1:]]
    claims = [s.claims(k) for k in range(len(s.cases))]
    for kind, words, inputs, dys in substitutes(s.cases[0]):
        c = agreement(s, claims[0], s.cases[0], inputs, dys, constants)
        if c is None:
            continue
        if all(words in other and agreement(s, claims[k], s.cases[k], *other[words], (c,)) is not None
               for k, other in enumerate(others, start=1)):
            return kind, words, c
    return None


def agreement(s: Suspect, claims: Array, c: Case, inputs: Arrays, dys: Arrays,
              constants: tuple[float, ...]) -> float | None:
    """Return the constant by which the claims are the right gradient at these inputs and dys."""
    try:
        right = s.along(c, inputs, dys)
    except (NotComplex, ValueError, TypeError, ArithmeticError, IndexError, np.linalg.LinAlgError):
        return None
    if not np.isfinite(right).all():
        return None
    return next((constant for constant in constants if close(claims, constant * right, s.fit)), None)


def other_dy(s: Suspect) -> Reason | None:
    """C is R for another dy."""
    def substitutes(c: Case) -> Iterator[Substitute]:
        if len(c.dys) > 1:
            for name in c.dys:
                yield ("missing", f"without what comes through the output {name}",
                       c.inputs, {**c.dys, name: np.zeros_like(c.dys[name])})
                yield ("missing", f"with what comes through the output {name} alone",
                       c.inputs, {n: dy if n == name else np.zeros_like(dy) for n, dy in c.dys.items()})
                yield ("sign", f"with the sign flipped of what comes through the output {name}",
                       c.inputs, {**c.dys, name: -c.dys[name]})
            names = list(c.dys)
            for a, b in zip(names, names[1:]):
                if c.dys[a].shape == c.dys[b].shape:
                    yield ("swapped", f"with d{a} and d{b} swapped", c.inputs,
                           {**c.dys, a: c.dys[b], b: c.dys[a]})
        for name, dy in c.dys.items():
            def put(new: Array, name: str = name) -> Arrays:
                return {**c.dys, name: np.broadcast_to(np.asarray(new, float), c.dys[name].shape)}

            yield "dy forgotten", f"with 1 for d{name}", c.inputs, put(np.ones_like(dy))
            yield "dy forgotten", f"with d{name}² for d{name}", c.inputs, put(dy * dy)
            yield "dy forgotten", f"with |d{name}| for d{name}", c.inputs, put(np.abs(dy))
            yield "derivative", f"with d{name} let through only where d{name} > 0", c.inputs, put(dy * (dy > 0))
            y = c.outputs[name]
            yield "dy forgotten", f"with the output {name} for d{name}", c.inputs, put(y)
            yield "derivative", f"with d{name} let through only where {name} > 0", c.inputs, put(dy * (y > 0))
            yield "factor", f"with d{name} · {name} for d{name}", c.inputs, put(dy * y)
            for axis, n in enumerate(dy.shape):
                if n < 2:
                    continue
                mean = dy.mean(axis, keepdims=True)
                yield "mean or sum", f"with the mean of d{name} over axis {axis} for d{name}", c.inputs, put(mean)
                yield "mean or sum", f"with the sum of d{name} over axis {axis} for d{name}", c.inputs, put(n * mean)
                for i in range(min(n, 12)):
                    only = np.zeros_like(dy)
                    at = (slice(None),) * axis + (i,)
                    only[at] = dy[at]
                    yield ("overwritten", f"from index {i} of axis {axis} of d{name} alone (of {n}): the contributions "
                           "of the others are overwritten, not added up", c.inputs, put(only))
                    less = dy - only
                    yield "missing", f"without index {i} of axis {axis} of d{name} (of {n})", c.inputs, put(less)
                yield "transposed", f"with d{name} in the opposite order along axis {axis}", c.inputs, put(
                    np.flip(dy, axis))
            if dy.ndim == 2:
                if dy.shape[0] == dy.shape[1]:
                    yield "transposed", f"with d{name} transposed", c.inputs, put(dy.T)
                yield ("transposed", f"with d{name} reshaped where it should be transposed",
                       c.inputs, put(dy.reshape(dy.shape[::-1]).T))

    found = first_fit(s, substitutes)
    if found is None:
        return None
    kind, words, c = found
    return Reason(kind, f"it is the right one {words}{times(c)}", ["equal to it along random directions, to rounding"])


def times(c: float) -> str:
    """Return a constant in words."""
    return "" if c == 1 else ", with the sign flipped" if c == -1 else f", times {c:g}"


def other_inputs(s: Suspect) -> Reason | None:
    """C is R at another value of an input."""
    def substitutes(c: Case) -> Iterator[Substitute]:
        for name, a in c.inputs.items():
            def put(new: Array, name: str = name) -> Arrays:
                return {**c.inputs, name: np.asarray(new, float)}

            def sub(kind: str, words: str, new: Array, name: str = name) -> Substitute:
                return kind, f"with {words} for {name}", put(new), c.dys

            if not np.array_equal(c.changed[name], a) and np.isrealobj(c.changed[name]):
                yield ("in place", f"with the {name} that forward leaves behind: it works in {name} itself, so what "
                       "backward finds is not what came in", put(c.changed[name]), c.dys)
            for out, y in c.outputs.items():
                if y.shape == a.shape:
                    yield sub("derivative", f"the output {out}", y)
                    yield sub("derivative", f"the gradient d{out}", c.dys[out])
            for other, b in c.inputs.items():
                if other > name and b.shape == a.shape:
                    yield ("swapped", f"with {name} and {other} swapped",
                           {**c.inputs, name: b, other: a}, c.dys)
                if other != name and b.shape == a.shape:
                    yield sub("swapped", other, b)
            if a.ndim == 2:
                if a.shape[0] == a.shape[1]:
                    yield sub("transposed", f"{name}ᵀ", a.T)
                yield sub("transposed", f"{name} reshaped where it should be transposed",
                          a.reshape(a.shape[::-1]).T)
            kind = "scale" if any(w in name for w in ("var", "std", "sig", "log", "lv", "scale", "prec")) else "point"
            yield sub(kind, f"{name}/2", a / 2)
            yield sub(kind, f"2 {name}", 2 * a)
            yield sub(kind, f"exp({name})", np.exp(a))
            yield sub(kind, f"exp({name}/2)", np.exp(a / 2))
            if (a > 0).all():
                yield sub(kind, f"√{name}", np.sqrt(a))
                yield sub(kind, f"log {name}", np.log(a))
                yield sub(kind, f"1/{name}", 1 / a)
            yield sub(kind, f"{name}²", a * a)
            yield sub("sign", f"-{name}", -a)
            yield sub("derivative" if name == s.by else "missing", "0", np.zeros_like(a))
            yield sub("derivative" if name == s.by else "factor", "1", np.ones_like(a))
            for axis in range(a.ndim):
                if a.shape[axis] > 1:
                    for by in (1, -1):
                        yield sub("noise" if any(w in name for w in ("eps", "noise", "mask")) else "transposed",
                                  f"{name} shifted by {by} along axis {axis}", np.roll(a, by, axis))
            if a.ndim > 1:
                for by in (1, -1):
                    yield sub("noise" if any(w in name for w in ("eps", "noise", "mask")) else "transposed",
                              f"{name} shifted by {by}", np.roll(a, by))

    found = first_fit(s, substitutes)
    if found is None:
        return None
    kind, words, c = found
    return Reason(kind, f"it is the right one {words}{times(c)}", ["equal to it along random directions, to rounding"])
