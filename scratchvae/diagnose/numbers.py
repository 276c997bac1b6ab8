"""Mistakes that show in the numbers of a wrong gradient C beside the right one, R, whatever the code.

    C is 0, or does not change with dy          C = c R, or C = c R in some rows or columns
    C = R g(a) or R / g(a) for some array a     C = dy · g(x) with another g
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..layers import Array, sigmoid
from .evidence import Reason, Wrong, nice, over_an_axis

FORMULAS: dict[str, Callable[[Array], Any]] = {        # of one array, entry by entry
    "1": np.ones_like, "{a}": lambda a: a, "{a}²": lambda a: a * a, "1/{a}": lambda a: 1 / a,
    "1/{a}²": lambda a: 1 / (a * a), "1 - {a}": lambda a: 1 - a, "1 + {a}": lambda a: 1 + a,
    "1 - {a}²": lambda a: 1 - a * a, "1 + {a}²": lambda a: 1 + a * a, "{a}(1 - {a})": lambda a: a * (1 - a),
    "({a} > 0)": lambda a: a > 0, "({a} < 0)": lambda a: a < 0, "√{a}": np.sqrt, "1/√{a}": lambda a: 1 / np.sqrt(a),
    "exp({a})": np.exp, "exp(-{a})": lambda a: np.exp(-a), "exp({a}/2)": lambda a: np.exp(a / 2),
    "exp(-{a}/2)": lambda a: np.exp(-a / 2), "sigmoid({a})": sigmoid, "1 - sigmoid({a})": lambda a: sigmoid(-a),
    "sigmoid({a})(1 - sigmoid({a}))": lambda a: sigmoid(a) * sigmoid(-a), "tanh({a})": np.tanh,
    "1 - tanh²({a})": lambda a: 1 - np.tanh(a) ** 2, "cos({a})": np.cos, "sin({a})": np.sin, "log({a})": np.log,
    "sign({a})": np.sign}
FACTORS = ("{a}", "{a}²", "exp({a})", "exp({a}/2)", "sigmoid({a})(1 - sigmoid({a}))")
CONSTANTS = (1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


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
        return Reason("zero", f"backward does not write {w.d}: the array still has its old values",
                      f"write {w.d}[:] = ... in backward")
    if w.everywhere(lambda c: w.along(c) + [(fill * v).sum() for v in w.directions]):
        return Reason("added", f"backward adds to what {w.d} held before: minus that, it is right",
                      f"write {w.d}[:] = ..., not +=; each backward begins anew")
    return None


def dy_forgotten(w: Wrong) -> Reason | None:
    """Backward does not look at dy."""
    first, second = w.cases[:2]
    if not w.close(first.claimed[w.by], second.claimed[w.by]) or w.close(w.right[0], w.right[1]):
        return None
    return Reason("dy forgotten", "it does not change with dy", "multiply by the gradient that arrives, dy: the chain "
                  "rule")


def factor(w: Wrong) -> Reason | None:
    """C = c R, in all the wrong entries, with one c; or 0 in some and right elsewhere."""
    where, c = list[str](), np.nan
    for k in range(len(w.cases)):
        wrong = w.wrong(k)
        if wrong.any():                                # not so where a ReLU is off
            C, R = w.C(k)[wrong], w.R(k)[wrong]
            c = c if where else float((C * R).sum() / (R * R).sum())
            where.append(places(w, k))
            if not np.abs(C - c * R).max() <= w.fit * np.abs(w.R(k)).max():
                return None
    if len(where) < 2:
        return None
    at = where[0] if len(set(where)) == 1 and (w.whole or not where[0]) else "some entries"
    place = f" in {at}; elsewhere it is right" if at else " in every entry"
    if abs(c) < w.fit:
        return Reason("zero", f"it is 0{place}", "" if at else "compute it, and hand it on")
    if not at and not w.everywhere(lambda case: c * w.along(case)):
        return None
    evidence = [f"given / right = {nice(c)} in each of these entries"]
    if abs(c + 1) < 100 * w.fit:
        return Reason("sign", f"its sign is flipped{place}", evidence=evidence)
    axis = "" if at else over_an_axis(w, c, lambda case, v, less: less * w.reference.along(case, {w.by: v}))
    if axis:
        taken, due = ("sum", "mean") if abs(c) > 1 else ("mean", "sum")
        says = f"it is off by the factor {nice(c)}: a {taken} is taken where a {due} is due, {axis}"
        return Reason("mean or sum", says + (", and the sign is flipped" if c < 0 else ""),
                      f"take the {due}, not the {taken}", evidence)
    return Reason("factor", f"it is off by the factor {nice(c)}{place}", "", evidence)


def places(w: Wrong, k: int) -> str:
    """Describe the wrong entries: "" if all are."""
    wrong, live = w.wrong(k), np.abs(w.R(k)) > w.fit * np.abs(w.R(k)).max(initial=0)
    if wrong[live].all():
        return ""
    for axis, word in enumerate(("row", "column") if wrong.ndim == 2 else ()):
        some = wrong.any(axis=1 - axis)
        if np.array_equal(some, some & (wrong | ~live).all(axis=1 - axis)):
            at = np.asarray(w.index[axis]).ravel()[some]
            return f"{word}{'s' if len(at) > 1 else ''} {', '.join(map(str, at[:6]))}{' ...' if len(at) > 6 else ''}"
    return "some entries"


def formula(w: Wrong, top: Callable[[int], Array], bottom: Callable[[int], Array], texts: Iterable[str] = FORMULAS,
            constants: Iterable[float] = CONSTANTS) -> str:
    """Return the shortest c g(a), a one of the arrays, for which top = bottom · c g(a) in every case; "" if none is."""
    arrays = [w.alike(k) for k in range(len(w.cases))]
    found = [nice_formula(c, text, name) for name in arrays[0] for text in texts for c in constants if all(
        w.close(top(k), bottom(k) * c * FORMULAS[text](a[name])) for k, a in enumerate(arrays))]
    return min(found, key=len, default="")


def nice_formula(c: float, text: str, name: str) -> str:
    """Return a formula with a constant before it."""
    return ("" if c == 1 else "-" if c == -1 else f"{c:g} · ") + text.replace("{a}", name)


def ratio(w: Wrong) -> Reason | None:
    """C = R g(a) or R / g(a), where a is one of the arrays; the finding depends on which."""
    times, over = (formula(w, a, b, FACTORS, (1.0,)) for a, b in ((w.C, w.R), (w.R, w.C)))
    if w.R(0).size < 3 or not (times or over):
        return None
    says = f"it is the right one {'times' if times else 'divided by'} {times or over}"
    if "sigmoid" in times + over:
        return Reason("probability", f"{says}: the derivative of the sigmoid is there " + (
            "once too often, as if the gradient were by the probability" if times else
            "no more, as in the gradient by the probability; this one is by the logit"))
    if any(word in times + over for word in ("exp", "var", "std", "sigma")):
        return Reason("scale", f"{says}: variance, standard deviation and logvar are taken for one another, or one of "
                      "them is lost", "σ = exp(logvar / 2), σ² = exp(logvar)")
    return Reason("factor", f"{says}: this factor is {'there once too often' if times else 'missing'}")


def derivative(w: Wrong) -> Reason | None:
    """A function of each entry alone, with a wrong derivative: C = dy · g(a)."""
    (y, *others), inputs = w.cases[0].outputs, w.cases[0].inputs
    if others or len(inputs) > 1 or w.cases[0].outputs[y].shape != w.shape:
        return None

    def dy(k: int) -> Array:
        return w.cases[k].dys[y][w.index]

    given = formula(w, w.C, dy) if w.close(w.R(0) / dy(0), w.R(1) / dy(1)) else ""
    right = formula(w, w.R, dy) if given else ""
    return Reason("derivative", f"it is d{y} · ({given})" + (
        f", where d{y} · ({right}) is right" if right else "")) if given else None


def unknown(w: Wrong) -> Reason:
    """Say that nothing fits, and show the ratios, also along each axis."""
    R, C, wrong = w.R(0), w.C(0), w.wrong(0)
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
