"""Mistakes that show in the ratio of the given gradient to the right one: C = c R, or C = R · g(a)."""

from __future__ import annotations

import numpy as np

from ..verify.gradcheck import stream
from .reference import case
from .suspect import CONSTANTS, FORMULAS, Reason, Suspect, agreed


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
    if spread > 10 * s.fit * max(1, abs(c)) or not np.isfinite(c):
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
        hint = "take the mean, not the sum" if "a sum is taken" in why else "take the sum, not the mean"
        return Reason("mean or sum", f"it is off by the factor {nice(c)}: {why}", evidence, hint)
    return Reason("factor", f"it is off by the factor {nice(c)}{place}{guess(s, c)}", evidence)


def growth(s: Suspect, c: float) -> str:
    """Say which axis the factor comes from, if cutting this axis by one changes it so."""
    c0 = s.cases[0]
    for axis, word in ((0, "row"), (-1, "column")):
        lengths = {a.shape[axis] for a in [*c0.inputs.values(), *c0.outputs.values()] if a.ndim > (axis == -1)}
        for n in sorted(lengths):
            whole = max(abs(c), 1 / abs(c))            # n, or n times the length of another axis
            if n < 3 or abs(whole / n - round(whole / n)) > 1e-5:
                continue
            cut = resized(s, axis, n)
            grows = abs(c) > 1
            expected = abs(c) * (n - 1) / n if grows else abs(c) * n / (n - 1)
            if cut is not None and abs(abs(cut) - expected) < 1e-5 * expected:
                words = "a sum is taken where a mean is due" if grows else "a mean is taken where a sum is due"
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
        for other, instead in s.pair.constants.items():
            if value != instead and abs(abs(c) - value / instead) < 1e-6:
                return f"; {name} is taken, it seems, where {other} is due"
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
        place = [int(np.asarray(i).ravel()[j]) for i, j in zip(s.index, np.argwhere(wrong)[0])]
        return f"entry {place}"
    return "some entries"


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
                        found.add("times " + ("" if c == 1 else f"{c:g} · ") + text.replace("{a}", name))
                    if "/" not in text and s.fits(s.R[k], c * s.C[k] * values):
                        found.add("divided by " + ("" if c == 1 else f"{c:g} · ") + text.replace("{a}", name))
        return found

    found = agreed(test, len(s.cases))
    if not found:
        return None
    says = f"it is the right one {found[0]}"
    if "sigmoid" in found[0] and "(1 -" in found[0]:
        return Reason("probability", f"{says}: the derivative of the sigmoid is there " + (
            "once too often, as if the gradient were by the probability" if "times" in found[0] else "no more, as it "
            "would be in the gradient by the probability; this one is by the logit"))
    dys = [f"d{name}" for name in s.cases[0].dys]
    if any(dy in found[0] for dy in dys):
        return Reason("dy forgotten", f"{says}: the gradient that arrives is used "
                      + ("twice" if "times" in found[0] and "1/" not in found[0] else "not at all"))
    if "sigmoid" in found[0] or "tanh" in found[0]:
        return None
    if "exp" in found[0] or any(word in found[0] for word in ("var", "std", "sigma")):
        return Reason("scale", f"{says}: variance, standard deviation and logvar are taken for one another, or one of "
                      "them is lost",
                      hint="σ = exp(logvar / 2), σ² = exp(logvar)")
    return Reason("factor", f"{says}: this factor is there once too often, or missing")


def ratio_along(s: Suspect) -> Reason | None:
    """C = c R with one c for each row, or for each column."""
    def test(k: int) -> set[str]:
        C, R, found = s.C[k], s.R[k], set()
        for axis in range(R.ndim):
            n: int = R.shape[axis]
            if n > 1 and R.size > n:
                c = (C * R).sum(axis, keepdims=True) / (R * R).sum(axis, keepdims=True)
                if np.ptp(c) > 1e-6 * np.abs(c).max() and s.fits(C, c * R):
                    found.add(str(axis))
        return found

    found = agreed(test, len(s.cases))
    if not found:
        return None
    axis = int(found[0])
    r = s.C[0] / s.R[0]
    each = {(2, 1): "each row", (2, 0): "each column"}.get((len(s.shape), axis), "each index of the other axes")
    return Reason("factor", f"it is off by a factor that is constant along axis {axis}, one number for {each}",
                  [f"given / right runs from {np.nanmin(r):.4g} to {np.nanmax(r):.4g}"])


def unknown(s: Suspect) -> Reason:
    """Say that nothing fits, and show the ratios."""
    R, C, wrong = s.R[0], s.C[0], s.wrong(0)
    live = np.abs(R) > 1e-9 * np.abs(R).max(initial=0)
    evidence = []
    if live.any():
        r = np.where(live, C / np.where(live, R, 1), np.nan)
        evidence.append(f"given / right: smallest {np.nanmin(r):.4g}, median {np.nanmedian(r):.4g}, largest "
                        f"{np.nanmax(r):.4g}")
        for axis in range(R.ndim):
            n: int = R.shape[axis]
            spread = np.nanmax(r, axis) - np.nanmin(r, axis)
            if n > 1 and np.nanmax(spread) <= 1e-6 * np.nanmax(np.abs(r)):
                evidence.append(f"this ratio is constant along axis {axis}")
    at = where(s, 0) or "every entry"
    says = f"wrong in {at} ({int(wrong.sum())} of the {wrong.size} that were looked at), and none of the mistakes that "
    return Reason("unknown", says + "this checker knows gives these numbers", evidence)
