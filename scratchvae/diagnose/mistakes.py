"""What kind of mistake a wrong gradient looks like: hypotheses, each held to rounding.

A `Suspect` is one wrong gradient, C, beside the right one, R, in three cases: two draws of dy at
one point, and a third draw at another point.  A hypothesis that does not fit in all of them is
dropped, and where none fits the kind is "unknown".  They are tried from the simplest on:

    C is 0, or does not change with dy          C = c R, or C = c R in some columns
    C = dy · g(x) with another g                C = R · g(a) for some array a
    C is R transposed, flipped, summed          C is the part of R that comes from some of the uses of x
    C is R for another dy (1, gated, a row)     C is R for another a (a/2, 2a, eᵃ, aᵀ, y, ...)

The last two lines need one evaluation of forward for each candidate, whatever the array's size.
"""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np

from ..layers import Array
from .ratios import factor, ratio, ratio_along, unknown
from .substitutes import other_dy, other_inputs
from .suspect import CONSTANTS, FORMULAS, Reason, Suspect, agreed, close, leaf
from .uses import some_uses, unshared


def explain(s: Suspect) -> Reason:
    """Return the first hypothesis that fits, or "unknown" with the ratios."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for hypothesis in HYPOTHESES:
            reason = hypothesis(s)
            if reason is not None:
                return reason
        return unknown(s)


# the hypotheses ------------------------------------------------------------------------------------


def not_finite(s: Suspect) -> Reason | None:
    """NaN or infinite entries."""
    if all(np.isfinite(C).all() for C in s.C):
        return None
    return Reason("not finite", "it has NaN or infinite entries", hint="a division by 0, a log of 0, or an array "
                  "made by np.empty that backward does not fill")


def added(s: Suspect) -> Reason | None:
    """The gradient was added to what stood there, or not written."""
    fill = s.pair.fills.get(s.by)
    if fill is None:
        return None
    P = fill[s.index]
    if all(np.array_equal(C, P) for C in s.C):
        return Reason("zero", f"backward does not write d{leaf(s.by)}: the array still holds what stood there before",
                      hint=f"write d{leaf(s.by)}[:] = ... in backward")
    if all(s.fits(C - P, R) for C, R in zip(s.C, s.R)):
        return Reason("added", f"backward adds to what d{leaf(s.by)} held before: minus that, it is right",
                      hint=f"write d{leaf(s.by)}[:] = ..., not +=; each backward begins anew")
    return None


def zero(s: Suspect) -> Reason | None:
    """All of it is 0."""
    if any(C.any() for C in s.C) or any(c.claimed[s.by].any() for c in s.cases):
        return None
    return Reason("zero", "it is 0 in every entry: what was found for it does not arrive, or was never computed",
                  [f"|right| = {np.linalg.norm(s.R[0]):.4g}"])


def dy_forgotten(s: Suspect) -> Reason | None:
    """Backward does not look at dy."""
    first, second = s.cases[:2]
    if not s.fits(s.C[0], s.C[1]) or s.fits(s.R[0], s.R[1]):
        return None
    ones = {name: np.ones_like(dy) for name, dy in first.dys.items()}
    same = all(close(s.claims(k), s.along(s.cases[k], s.cases[k].inputs, ones), s.fit) for k in range(len(s.cases)))
    return Reason("dy forgotten", "it does not change with dy" + (": it is right for dy = 1 in every entry" if same
                  else ""), hint="multiply by the gradient that arrives, dy: the chain rule")


def in_place(s: Suspect) -> Reason | None:
    """The gradient is right if no operation works in place: so one has changed what the cache holds."""
    for k, c in enumerate(s.cases):
        claimed = unshared(s.pair, c, s.by)
        if claimed is None or not close(np.array([(claimed * v).sum() for v in s.directions]), s.numbers[k], s.fit):
            return None
    return Reason("in place", "an array is changed in place after it was put into the cache: without operations in "
                  "place, such as y *= 2, the same backward is right", ["right in all cases once y *= 2 is y = y * 2"],
                  hint="make a new array, y = y * 2, or put a copy into the cache")


def derivative(s: Suspect) -> Reason | None:
    """A function of each entry alone, with a wrong derivative: C = dy · g(a)."""
    out = [name for name, y in s.cases[0].outputs.items() if y.shape == s.shape]
    if len(out) != 1 or len(s.cases[0].outputs) != 1:
        return None
    dys = [c.dys[out[0]][s.index] for c in s.cases]
    if not s.fits(s.R[0] / dys[0], s.R[1] / dys[1]):
        return None

    def formulas(values: list[Array]) -> list[str]:
        def test(k: int) -> set[str]:
            found = {"1"} if s.fits(values[k] / dys[k], np.ones_like(values[k])) else set()
            for name, a in s.alike(k):
                for text, g in FORMULAS.items():
                    candidate = np.asarray(g(a), float)
                    for c in CONSTANTS:
                        if s.fits(values[k], dys[k] * c * candidate):
                            found.add(("" if c == 1 else "-" if c == -1 else f"{c:g} · ") + text.replace("{a}", name))
            return found
        return agreed(test, len(values))

    if len(s.cases[0].inputs) > 1:                     # of several inputs, another one may be what is missing
        other = ratio(s)
        if other is not None and other.kind in ("scale", "probability"):
            return other
    given, right = formulas(s.C), formulas(s.R)
    if not given:
        return None
    y, by, d = out[0], leaf(s.by), f"d{out[0]}"
    if given[0] == "1":
        return Reason("derivative", f"{d} is passed on unchanged: the derivative of the function is missing",
                      [f"d{by} = {d} · ({right[0]}) is right"] if right else [])
    swapped = [g for g in given if g.replace(s.by, "·") in [r.replace(y, "·") for r in right if y in r]]
    says = f"d{by} is {d} · ({(swapped or given)[0]})" + (f", where {d} · ({right[0]}) is right" if right else "")
    if swapped:
        says += f": the formula is meant for the output {y}, and got the input {s.by}"
    elif any(d in g for g in given):
        says = f"d{by} is {d} · ({given[0]}): the gradient {d} decides where it passes, and that is for the input"
    return Reason("derivative", says)


def another(s: Suspect) -> Reason | None:
    """C is the gradient by another input."""
    for other, a in s.cases[0].inputs.items():
        if other != s.by and a.shape == s.shape and all(close(s.claims(k), np.array(
                [s.reference.along(c.inputs, c.dys, {other: v}) for v in s.directions]), s.fit)
                for k, c in enumerate(s.cases)):
            return Reason("swapped", f"it is the right gradient by {other}, not by {s.by}",
                          ["equal to it along random directions, to rounding"])
    return None


def diagonal(s: Suspect) -> Reason | None:
    """Each output depends on several entries, and C follows only the one in its own place."""
    outputs = s.cases[0].outputs
    if not s.whole or len(outputs) != 1 or next(iter(outputs.values())).shape != s.shape:
        return None
    name = next(iter(outputs))
    for k, c in enumerate(s.cases):
        own = np.zeros(int(np.prod(s.shape)))
        for i in range(own.size):
            one = np.zeros(own.size)
            one[i] = 1
            mask = one.reshape(s.shape)
            own[i] = s.reference.along(c.inputs, {name: c.dys[name] * mask}, {s.by: mask})
        if not s.fits(s.C[k], own.reshape(s.shape)):
            return None
    return Reason("missing", f"each entry of {name} depends on several entries of {s.by}, and only the one in its own "
                  "place is there: the off-diagonal terms of the Jacobian are missing")


def turned(s: Suspect) -> Reason | None:
    """C is R transposed, reshaped or flipped."""
    if not (s.whole or len(set(s.shape)) == 1):
        return None

    def test(k: int) -> set[str]:
        R, found = s.R[k], {}
        if R.ndim >= 2:
            T = R.swapaxes(-1, -2)
            found["transposed"] = T if T.shape == R.shape else R
            if s.whole:
                found["transposed by a reshape"] = T.reshape(R.shape)
                found["reshaped where a transpose is due"] = R.reshape(T.shape).swapaxes(-1, -2)
        for axis in range(R.ndim):
            found[f"in the opposite order along axis {axis}"] = np.flip(R, axis)
            for by in (1, -1):
                found[f"shifted by {by} along axis {axis}"] = np.roll(R, by, axis)
        return {text for text, candidate in found.items() if s.fits(s.C[k], candidate)}

    found = agreed(test, len(s.cases))
    return Reason("transposed", f"it is the right one, {found[0]}") if found else None


def summed(s: Suspect) -> Reason | None:
    """C is a sum or a mean of R over an axis."""
    if not s.whole:
        return None

    def test(k: int) -> set[str]:
        R = s.R[k]
        axes = [axes for n in range(1, R.ndim + 1) for axes in combinations(range(R.ndim), n)]
        return {f"{word} over {'all axes' if len(a) == R.ndim else f'axis {a[0]}'}" for a in axes
                for word, f in (("summed", np.sum), ("averaged", np.mean))
                if np.prod([R.shape[i] for i in a]) > 1 and ((R != 0).sum(axis=a) > 1).all()
                and s.fits(s.C[k], np.broadcast_to(f(R, axis=a, keepdims=True), R.shape))}

    found = agreed(test, len(s.cases))
    return Reason("mean or sum", f"it is the right one, {found[0]}, which should stay apart") if found else None


def centred(s: Suspect) -> Reason | None:
    """C lacks a term that runs along an axis: minus a mean, or a multiple of an array there."""
    if not s.whole:
        return None

    def test(k: int) -> set[str]:
        C, R, found = s.C[k], s.R[k], set()
        for axis in range(R.ndim):
            n: int = R.shape[axis]
            if n < 3:
                continue
            if s.fits(C - C.mean(axis, keepdims=True), R):
                found.add(f"mean {axis}")
            for name, a in s.alike(k):
                centre = a - a.mean(axis, keepdims=True)
                if n > 3 and np.ptp(centre) > 0:
                    gap = C - R - (C - R).mean(axis, keepdims=True)
                    b = (gap * centre).sum(axis, keepdims=True) / (centre * centre).sum(axis, keepdims=True)
                    if s.fits(gap, b * centre):
                        found.add(f"both {axis} {name}")
                for text, b in ((name, a), (f"{name} - mean {name}", centre)):
                    scale = (b * b).sum(axis, keepdims=True)
                    along = ((C - R) * b).sum(axis, keepdims=True) / scale
                    if np.ptp(b) > 0 and s.fits(C - R, along * b):
                        found.add(f"{axis} {text}")
        return found

    found = agreed(test, len(s.cases))
    if not found:
        return None
    if found[0].startswith("mean"):
        return Reason("missing", f"its mean over axis {found[0][5:]} is not taken away: the path through the mean of "
                      f"{leaf(s.by)} is missing")
    single = [f for f in found if not f.startswith("both")]
    if not single:
        _, axis, text = found[0].split(" ", 2)
        return Reason("missing", f"terms are missing (or too many) that are, along axis {axis}, a constant and a "
                      f"multiple of {text}: the paths through the mean and the variance over this axis")
    axis, _, text = single[0].partition(" ")
    return Reason("missing", f"a term is missing (or too many) that is, along axis {axis}, a multiple of {text}: the "
                  "path through a sum over this axis, such as a variance or a normaliser",
                  ["given - right is this multiple in every entry, to rounding"])


HYPOTHESES = (not_finite, added, zero, dy_forgotten, in_place, factor, derivative, ratio, turned, summed, some_uses,
              other_dy, other_inputs, another, ratio_along, centred, diagonal)
