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

from ..gradcheck import stream
from ..layers import Array
from .reference import case
from .substitutes import other_dy, other_inputs
from .suspect import CONSTANTS, FORMULAS, Reason, Suspect, agreed, close, leaf
from .uses import some_uses

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


def nice(c: float) -> str:
    """Return a number as one would write it: a fraction of small numbers, if it is one."""
    for q in range(1, 13):
        if abs(c * q - round(c * q)) < 1e-6 and round(c * q) != 0:
            return f"{round(c * q)}" if q == 1 else f"{round(c * q)}/{q}"
    return f"1/{round(1 / c)}" if abs(1 / c - round(1 / c)) < 1e-6 * abs(1 / c) else f"{c:.6g}"


def factor(s: Suspect) -> Reason | None:
    """C = c R, in all the wrong entries, with one c; or 0 in some and right elsewhere."""
    found: list[tuple[float, str]] = []
    for k, (C, R) in enumerate(zip(s.C, s.R)):
        wrong = s.wrong(k)
        if not wrong.any():
            return None
        c = float((C[wrong] * R[wrong]).sum() / (R[wrong] * R[wrong]).sum())
        if np.abs(C[wrong] - c * R[wrong]).max() > s.fit * np.abs(R).max():
            return None
        found.append((c, where(s, k)))
    (c, at), spread = found[0], max(abs(other - found[0][0]) for other, _ in found)
    if spread > 100 * s.fit * max(1, abs(c)) or not np.isfinite(c):
        return None
    if len({at for _, at in found}) > 1:
        at = "some entries"
    if at == "some entries" and sum(int(s.wrong(k).sum()) for k in range(len(s.cases))) < 4:
        at = where(s, 0)
    place = "" if at == "" else f" in {at}; elsewhere it is right"
    if abs(c) < s.fit:
        return Reason("zero", f"it is 0{place}" + (f": {gate(s)}" if gate(s) else ""))
    if abs(c + 1) < 100 * s.fit:
        return Reason("sign", f"its sign is flipped{place}", ["given / right = -1 in each of these entries"])
    why = growth(s, c) if at == "" else ""
    evidence = [f"given / right = {nice(c)} in each of these entries"]
    if why:
        return Reason("mean or sum", f"it is off by the factor {nice(c)}: {why}", evidence)
    return Reason("factor", f"it is off by the factor {nice(c)}{place}{guess(s, c)}", evidence)


def growth(s: Suspect, c: float) -> str:
    """Say which axis the factor comes from, if cutting this axis by one changes it so."""
    c0 = s.cases[0]
    for axis, word in ((0, "row"), (-1, "column")):
        lengths = {a.shape[axis] for a in [*c0.inputs.values(), *c0.outputs.values()] if a.ndim > (axis == -1)}
        for n in sorted(lengths):
            factors = {n: "a sum is taken where a mean is due", 1 / n: "a mean is taken where a sum is due"}
            if n < 3 or not any(abs(abs(c) - f) < 1e-5 * f for f in factors):
                continue
            cut = resized(s, axis, n)
            for f, words in factors.items():
                expected = (n - 1) if f == n else 1 / (n - 1)
                if cut is not None and abs(abs(c) - f) < 1e-5 * f and abs(abs(cut) - expected) < 1e-5 * expected:
                    return (f"{words}, over the {n} {word}s (with {n - 1} {word}s the factor is {nice(cut)})"
                            + (", and the sign is flipped" if c < 0 else ""))
    return ""


def resized(s: Suspect, axis: int, n: int) -> float | None:
    """Return the factor with one row or column less, if forward can do with that."""
    c0, first = s.cases[0], next(iter(s.cases[0].inputs))
    having = [name for name, a in c0.inputs.items() if a.ndim > (axis == -1) and a.shape[axis] == n]
    for names in ([first] if first in having else [], [name for name in having if c0.inputs[name].ndim > 1], having):
        inputs = {name: (a[:-1] if axis == 0 else a[..., :-1]).copy() if name in names else a
                  for name, a in c0.inputs.items()}
        try:
            c = case(s.pair, inputs)
            v = stream(5).standard_normal(inputs[s.by].shape)
            R = s.reference.along(inputs, c.dys, {s.by: v})
            value = float((c.claimed[s.by] * v).sum() / R)
        except Exception:                              # a shape that forward or backward cannot do with
            continue
        if np.isfinite(value):
            return value
    return None


def guess(s: Suspect, c: float) -> str:
    """Return a likely reason for a constant."""
    sizes = {n for a in [*s.cases[0].inputs.values(), *s.cases[0].outputs.values()] for n in a.shape if n > 2}
    for n in sorted(sizes):
        if abs(abs(c) - n) < 1e-6 * n or abs(abs(c) - 1 / n) < 1e-6 / n:
            return f"; {n} is the length of an axis, so perhaps a mean was taken for a sum, or a sum for a mean"
    for name, value in s.pair.constants.items():
        for f, words in ((value, "is there once too often"), (1 / value, "is forgotten")):
            if abs(abs(c) - f) < 1e-6 * f:
                return f"; {name} is {value:g} in this check: it {words}"
    if abs(abs(c) - 2) < 1e-6 or abs(abs(c) - 0.5) < 1e-6:
        return "; a 1/2 or a 2 that belongs to a square, or to logvar = 2 log σ, is lost or taken twice"
    return ""


def gate(s: Suspect) -> str:
    """Say of which array the sign decides where it is wrong."""
    def test(k: int) -> set[str]:
        wrong = s.wrong(k)
        found = set()
        for name, a in s.alike(k):
            for word, mask in ((f"{name} <= 0", a <= 0), (f"{name} > 0", a > 0)):
                live = np.abs(s.R[k]) > 0
                if mask.any() and not mask.all() and np.array_equal(mask & live, wrong & live):
                    found.add(word)
        return found

    found = agreed(test, len(s.cases))
    return f"these are the entries where {found[0]}" if found else ""


def where(s: Suspect, k: int) -> str:
    """Describe the wrong entries: "" if all are."""
    wrong, live = s.wrong(k), np.abs(s.R[k]) > s.fit * np.abs(s.R[k]).max(initial=0)
    if wrong[live].all():
        return ""
    for axis, word in enumerate(["row", "column"] if wrong.ndim == 2 else ["entry"] if wrong.ndim == 1 else
                                [f"index of axis {i}" for i in range(wrong.ndim)]):
        others = tuple(i for i in range(wrong.ndim) if i != axis)
        some, every = wrong.any(axis=others), (wrong | ~live).all(axis=others)
        if np.array_equal(some, some & every):
            at = np.asarray(s.index[axis]).ravel()[some]
            plural = "" if len(at) == 1 else {"entry": "", "row": "s", "column": "s"}.get(word, "")
            word = "entries" if word == "entry" and len(at) > 1 else word
            return f"{word}{plural} {', '.join(map(str, at[:6]))}{' ...' if len(at) > 6 else ''}"
    if int(wrong.sum()) == 1:
        at = [np.asarray(i).ravel()[j] for i, j in zip(s.index, np.argwhere(wrong)[0])]
        return f"entry [{', '.join(map(str, at))}]"
    return "some entries"


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
                            found.add(("" if c == 1 else "-" if c == -1 else f"{c:g} ") + text.replace("{a}", name))
            return found
        return agreed(test, len(values))

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


def ratio(s: Suspect) -> Reason | None:
    """C = c R g(a), with a one of the arrays."""
    def test(k: int) -> set[str]:
        found = set()
        for name, a in s.alike(k):
            if np.ptp(a) == 0:
                continue
            for text, g in FORMULAS.items():
                if text.startswith(("(", "sin", "cos", "log", "tanh", "|", "sign")):
                    continue
                values = np.asarray(g(a), float)
                for c in CONSTANTS:
                    if s.fits(s.C[k], c * s.R[k] * values):
                        found.add(("" if c == 1 else f"{c:g} ") + text.replace("{a}", name))
        return found

    found = agreed(test, len(s.cases))
    if not found:
        return None
    says = f"it is the right one times {found[0]}"
    if "sigmoid" in found[0] and "(1 -" in found[0]:
        return Reason("probability", f"{says}: the derivative of the sigmoid is there, which does not belong to the "
                      "gradient by the logit (or it is missing, if it is divided by)")
    dys = [f"d{name}" for name in s.cases[0].dys]
    if any(dy in found[0] for dy in dys):
        return Reason("dy forgotten" if "1/" in found[0] else "factor",
                      f"{says}: the gradient that arrives is used " + ("not at all" if "1/" in found[0] else "twice"))
    if "exp" in found[0] or any(word in found[0] for word in ("var", "std", "sigma")):
        return Reason("scale", f"{says}: variance, standard deviation and logvar are taken for one another",
                      hint="σ = exp(logvar / 2), σ² = exp(logvar)")
    return Reason("factor", f"{says}: this factor is there once too often, or missing")


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
                if np.prod([R.shape[i] for i in a]) > 1
                and s.fits(s.C[k], np.broadcast_to(f(R, axis=a, keepdims=True), R.shape))}

    found = agreed(test, len(s.cases))
    return Reason("mean or sum", f"it is the right one, {found[0]}, which should stay apart") if found else None


def centred(s: Suspect) -> Reason | None:
    """C lacks a term that runs along an axis: minus a mean, or a multiple of an array there."""
    if not s.whole:
        return None

    def test(k: int) -> set[str]:
        C, R, found = s.C[k], s.R[k], set()
        for axis, n in enumerate(R.shape):
            if n < 3:
                continue
            if s.fits(C - C.mean(axis, keepdims=True), R):
                found.add(f"mean {axis}")
            for name, a in s.alike(k):
                for text, b in ((name, a), (f"{name} - mean {name}", a - a.mean(axis, keepdims=True))):
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
    axis, _, text = found[0].partition(" ")
    return Reason("missing", f"a term is missing (or too many) that is, along axis {axis}, a multiple of {text}: the "
                  "path through a sum over this axis, such as a variance or a normaliser",
                  ["given - right is this multiple in every entry, to rounding"])


def unknown(s: Suspect) -> Reason:
    """Say that nothing fits, and show the ratios."""
    R, C, wrong = s.R[0], s.C[0], s.wrong(0)
    live = np.abs(R) > 1e-9 * np.abs(R).max(initial=0)
    evidence = []
    if live.any():
        r = np.where(live, C / np.where(live, R, 1), np.nan)
        evidence.append(f"given / right: smallest {np.nanmin(r):.4g}, median {np.nanmedian(r):.4g}, largest "
                        f"{np.nanmax(r):.4g}")
        for axis, n in enumerate(R.shape):
            spread = np.nanmax(r, axis) - np.nanmin(r, axis)
            if n > 1 and np.nanmax(spread) <= 1e-6 * np.nanmax(np.abs(r)):
                evidence.append(f"this ratio is constant along axis {axis}")
    at = where(s, 0) or "every entry"
    says = f"wrong in {at} ({int(wrong.sum())} of the {wrong.size} that were looked at), and none of the mistakes that "
    return Reason("unknown", says + "this checker knows gives these numbers", evidence)


HYPOTHESES = (not_finite, added, zero, dy_forgotten, factor, derivative, ratio, turned, summed, some_uses, other_dy,
              other_inputs, centred)
