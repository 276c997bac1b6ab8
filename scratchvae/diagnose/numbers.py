"""Mistakes that show in the numbers of a wrong gradient C beside the right one, R, whatever the code.

    C is 0, or does not change with dy          C = c R, or C = c R in some rows or columns
    C = R · g(a) for some array a               C = dy · g(x) with another g
"""

from __future__ import annotations

import numpy as np

from ..layers import Array
from .evidence import Reason, Wrong, nice, over_an_axis
from .operations import CONSTANTS, FORMULAS, nice_formula


def not_finite(w: Wrong) -> Reason | None:
    """NaN or infinite entries."""
    if all(np.isfinite(c.claimed[w.by]).all() for c in w.cases):
        return None
    return Reason("not finite", "it has NaN or infinite entries", "a division by 0, a log of 0, or an array made by "
                  "np.empty that backward does not fill")


def added(w: Wrong) -> Reason | None:
    """The gradient was added to what stood there, or not written."""
    fill = w.pair.fills.get(w.by)
    if fill is None:
        return None
    if all(np.array_equal(c.claimed[w.by], fill) for c in w.cases):
        return Reason("zero", f"backward does not write {w.d}: the array still holds what stood there before",
                      f"write {w.d}[:] = ... in backward")
    if w.everywhere(lambda c: w.claims(fill) + w.along(c, c.inputs, c.dys)):
        return Reason("added", f"backward adds to what {w.d} held before: minus that, it is right",
                      f"write {w.d}[:] = ..., not +=; each backward begins anew")
    return None


def zero(w: Wrong) -> Reason | None:
    """All of it is 0."""
    if any(c.claimed[w.by].any() for c in w.cases):
        return None
    return Reason("zero", "it is 0 in every entry: what was found for it does not arrive, or was never computed")


def dy_forgotten(w: Wrong) -> Reason | None:
    """Backward does not look at dy."""
    first, second = w.cases[:2]
    if not w.close(first.claimed[w.by], second.claimed[w.by]) or w.close(w.right[0], w.right[1]):
        return None
    return Reason("dy forgotten", "it does not change with dy", "multiply by the gradient that arrives, dy: the chain "
                  "rule")


def factor(w: Wrong) -> Reason | None:
    """C = c R, in all the wrong entries, with one c; or 0 in some and right elsewhere."""
    found, where = list[float](), set[str]()
    for k in range(len(w.cases)):
        wrong = w.wrong(k)
        if wrong.any():                                # not so where a ReLU is off
            C, R = w.C[k][wrong], w.R[k][wrong]
            found.append(float((C * R).sum() / (R * R).sum()))
            where.add(places(w, k))
            if not np.abs(C - found[-1] * R).max() <= w.fit * np.abs(w.R[k]).max():
                return None
    if len(found) < 2 or not np.ptp(found) <= 10 * w.fit * max(1, abs(found[0])):
        return None
    c, at = found[0], "" if where == {""} else "some entries" if len(where) > 1 or not w.whole else where.pop()
    place = f" in {at}; elsewhere it is right" if at else ""
    if abs(c) < w.fit:
        return Reason("zero", f"it is 0{place}")
    if not at and not w.everywhere(lambda case: c * w.along(case, case.inputs, case.dys)):
        return None
    if abs(c + 1) < 100 * w.fit:
        return Reason("sign", f"its sign is flipped{place}", evidence=["given / right = -1 in each of these entries"])
    evidence = [f"given / right = {nice(c)} in each of these entries"]
    axis = "" if at else over_an_axis(w, c, lambda case, v, less: less * w.reference.along(
        case.inputs, case.dys, {w.by: v}))
    if axis:
        taken, due = ("sum", "mean") if abs(c) > 1 else ("mean", "sum")
        says = f"it is off by the factor {nice(c)}: a {taken} is taken where a {due} is due, {axis}"
        return Reason("mean or sum", says + (", and the sign is flipped" if c < 0 else ""),
                      f"take the {due}, not the {taken}", evidence)
    return Reason("factor", f"it is off by the factor {nice(c)}{place}", "", evidence)


def places(w: Wrong, k: int) -> str:
    """Describe the wrong entries: "" if all are."""
    wrong, live = w.wrong(k), np.abs(w.R[k]) > w.fit * np.abs(w.R[k]).max(initial=0)
    if wrong[live].all():
        return ""
    for axis, word in enumerate(("row", "column") if wrong.ndim == 2 else ()):
        some = wrong.any(axis=1 - axis)
        if np.array_equal(some, some & (wrong | ~live).all(axis=1 - axis)):
            at = np.asarray(w.index[axis]).ravel()[some]
            return f"{word}{'s' if len(at) > 1 else ''} {', '.join(map(str, at[:6]))}{' ...' if len(at) > 6 else ''}"
    return "some entries"


def formulas(w: Wrong, values: list[Array], right: list[Array], over: bool = False) -> list[str]:
    """Return for which formulas g and constants c the values are c g(a) times what is right, a one of the arrays.

    With ``over``, also those for which they are the right ones divided by it.
    """
    def test(k: int) -> set[str]:
        found = set()
        for name, a in w.alike(k):
            for text, g in FORMULAS.items():
                factor = np.asarray(g(a), float)
                for c in CONSTANTS:
                    written = nice_formula(c, text, name)
                    if w.close(values[k], right[k] * c * factor):
                        found.add(written)
                    if over and "/" not in text and w.close(right[k], values[k] * c * factor):
                        found.add(f"1/({written})")
        return found
    return w.agreed(test)


def ratio(w: Wrong) -> Reason | None:
    """C = c R g(a), where a is one of the arrays; the finding depends on which."""
    names, others = [name for name, _ in w.alike(0)], ("cos", "sin", "log(", "|", "sign", " > ", " < ", "tanh")
    found = [f for f in formulas(w, w.C, w.R, over=True) if any(name in f for name in names)       # not a constant
             and not any(word in f for word in others)] if w.R[0].size > 2 else []
    if not found:
        return None
    says, first = f"it is the right one times {found[0]}", found[0]
    if ")(1 - sigmoid" in first:
        return Reason("probability", f"{says}: the derivative of the sigmoid is there " + (
            "no more, as in the gradient by the probability; this one is by the logit" if first.startswith("1/") else
            "once too often, as if the gradient were by the probability"))
    if any(f"d{name}" in first for name in w.cases[0].dys):
        return Reason("dy forgotten", f"{says}: the gradient that arrives is used "
                      + ("not at all" if "1/" in first else "twice"))
    if "sigmoid" in first:
        return None
    if "exp" in first or any(word in first for word in ("var", "std", "sigma")):
        return Reason("scale", f"{says}: variance, standard deviation and logvar are taken for one another, or one of "
                      "them is lost", "σ = exp(logvar / 2), σ² = exp(logvar)")
    return Reason("factor", f"{says}: this factor is there once too often, or missing")


def derivative(w: Wrong) -> Reason | None:
    """A function of each entry alone, with a wrong derivative: C = dy · g(a)."""
    outs = w.cases[0].outputs
    y = next(iter(outs))
    if len(outs) != 1 or outs[y].shape != w.shape or len(w.cases[0].inputs) > 1:
        return None
    dys = [c.dys[y][w.index] for c in w.cases]
    if not w.close(w.R[0] / dys[0], w.R[1] / dys[1]):
        return None
    given, right = formulas(w, w.C, dys), formulas(w, w.R, dys)
    return Reason("derivative", f"{w.d} is d{y} · ({given[0]})" + (
        f", where d{y} · ({right[0]}) is right" if right else "")) if given else None


def unknown(w: Wrong) -> Reason:
    """Say that nothing fits, and show the ratios, also along each axis."""
    R, C, wrong = w.R[0], w.C[0], w.wrong(0)
    r = np.where(np.abs(R) > 1e-9 * np.abs(R).max(initial=0), C / R, np.nan)
    evidence = []
    if np.isfinite(r).any():
        evidence.append(f"given / right: smallest {np.nanmin(r):.4g}, median {np.nanmedian(r):.4g}, largest "
                        f"{np.nanmax(r):.4g}")
    for axis in range(R.ndim if evidence else 0):
        if R.shape[axis] > 1 and np.nanmax(np.nanmax(r, axis) - np.nanmin(r, axis)) <= 1e-6 * np.nanmax(np.abs(r)):
            evidence.append(f"this ratio is constant along axis {axis}")
    return Reason("unknown", f"wrong in {places(w, 0) or 'every entry'} ({int(wrong.sum())} of the {wrong.size} that "
                  "were looked at), and none of the mistakes that this checker knows gives these numbers", "", evidence)
