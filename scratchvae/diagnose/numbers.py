"""Mistakes that show in the numbers of a wrong gradient C beside the right one, R, whatever the code.

    C is 0, or does not change with dy          C = c R, or C = c R in some rows or columns
    C = R · g(a) for some array a               C = dy · g(x) with another g
    C is R transposed, flipped, summed          C is R for another dy, or at another value of an input
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from ..layers import Array
from ..verify.derivative import Arrays, NotComplex, copies
from ..verify.noise import still
from .evidence import Case, Reason, Wrong
from .operations import CONSTANTS, FORMULAS, NOISE, SCALES, nice, shorter


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
    return Reason("zero", "it is 0 in every entry: what was found for it does not arrive, or was never computed",
                  evidence=[f"|right| = {np.linalg.norm(w.R[0]):.4g}"])


def dy_forgotten(w: Wrong) -> Reason | None:
    """Backward does not look at dy."""
    first, second = w.cases[:2]
    if not w.close(first.claimed[w.by], second.claimed[w.by]) or w.close(w.right[0], w.right[1]):
        return None
    same = w.everywhere(lambda c: w.along(c, c.inputs, {of: np.ones_like(dy) for of, dy in c.dys.items()}))
    return Reason("dy forgotten", "it does not change with dy" + (": it is right for dy = 1 in every entry" if same
                  else ""), "multiply by the gradient that arrives, dy: the chain rule")


def factor(w: Wrong) -> Reason | None:
    """C = c R, in all the wrong entries, with one c; or 0 in some and right elsewhere."""
    found: list[tuple[float, str]] = []
    for k, (C, R) in enumerate(zip(w.C, w.R)):
        wrong = w.wrong(k)
        if not wrong.any():                            # as where a ReLU is off
            continue
        c = float((C[wrong] * R[wrong]).sum() / (R[wrong] * R[wrong]).sum())
        if not np.abs(C[wrong] - c * R[wrong]).max() <= w.fit * np.abs(R).max():
            return None
        found.append((c, places(w, k)))
    if len(found) < 2:
        return None
    (c, at), spread = found[0], max(abs(other - found[0][0]) for other, _ in found)
    if spread > 10 * w.fit * max(1, abs(c)) or not np.isfinite(c):
        return None
    if len({at for _, at in found}) > 1:
        at = "some entries"
    if at and not w.whole:                             # only a block was looked at: does it hold for all?
        at = at if abs(c) < w.fit else "some entries"
    place = "" if at == "" else f" in {at}; elsewhere it is right"
    if abs(c) < w.fit:
        return Reason("zero", f"it is 0{place}" + (f": {gate(w)}" if gate(w) else ""))
    if at == "" and not w.everywhere(lambda case: c * w.along(case, case.inputs, case.dys)):
        return None
    if abs(c + 1) < 100 * w.fit:
        return Reason("sign", f"its sign is flipped{place}", evidence=["given / right = -1 in each of these entries"])
    why, hint = growth(w, c) if at == "" else ("", "")
    evidence = [f"given / right = {nice(c)} in each of these entries"]
    if why:
        return Reason("mean or sum", f"it is off by the factor {nice(c)}: {why}", hint, evidence)
    return Reason("factor", f"it is off by the factor {nice(c)}{place}", "", evidence)


def growth(w: Wrong, c: float) -> tuple[str, str]:
    """Say which axis the factor comes from, if cutting this axis by one changes it so."""
    inputs = w.cases[0].inputs
    for axis, word in ((0, "row"), (-1, "column")):
        lengths = {a.shape[axis] for a in [*inputs.values(), *w.cases[0].outputs.values()] if a.ndim}
        for n in sorted(lengths):
            whole = max(abs(c), 1 / abs(c))            # n, or n times the length of another axis
            if n < 3 or abs(whole / n - round(whole / n)) > 1e-5:
                continue
            grows = abs(c) > 1
            for cut in shorter(w, n, axis):
                right = np.array([w.reference.along(cut.case.inputs, cut.case.dys, {w.by: v}) for v in cut.directions])
                expected = c * (n - 1) / n if grows else c * n / (n - 1)
                if w.close(cut.claims, expected * right, 1e-6):
                    says = "a sum is taken where a mean is due" if grows else "a mean is taken where a sum is due"
                    return (f"{says}, over the {n} {word}s (with {n - 1} {word}s the factor is {nice(expected)})"
                            + (", and the sign is flipped" if c < 0 else ""),
                            "take the mean, not the sum" if grows else "take the sum, not the mean")
                break
    return "", ""


def gate(w: Wrong) -> str:
    """Say of which array the sign decides where it is wrong."""
    def test(k: int) -> set[str]:
        wrong, live = w.wrong(k), np.abs(w.R[k]) > 0
        return {word for name, a in w.alike(k) for word, mask in ((f"{name} <= 0", a <= 0), (f"{name} > 0", a > 0))
                if mask.any() and not mask.all() and np.array_equal(mask & live, wrong & live)}

    found = w.agreed(test)
    return f"these are the entries where {found[0]}" if found else ""


def places(w: Wrong, k: int) -> str:
    """Describe the wrong entries: "" if all are."""
    wrong, live = w.wrong(k), np.abs(w.R[k]) > w.fit * np.abs(w.R[k]).max(initial=0)
    if wrong[live].all():
        return ""
    for axis, word in enumerate(["row", "column"] if wrong.ndim == 2 else ["entry"] if wrong.ndim == 1 else
                                [f"index of axis {i}" for i in range(wrong.ndim)]):
        others = tuple(i for i in range(wrong.ndim) if i != axis)
        some, every = wrong.any(axis=others), (wrong | ~live).all(axis=others)
        if np.array_equal(some, some & every):
            at = np.asarray(w.index[axis]).ravel()[some]
            plural = "" if len(at) == 1 else {"row": "s", "column": "s"}.get(word, "")
            word = "entries" if word == "entry" and len(at) > 1 else word
            return f"{word}{plural} {', '.join(map(str, at[:6]))}{' ...' if len(at) > 6 else ''}"
    if int(wrong.sum()) == 1:
        return f"entry {[int(np.asarray(i).ravel()[j]) for i, j in zip(w.index, np.argwhere(wrong)[0])]}"
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
                    written = ("" if c == 1 else "-" if c == -1 else f"{c:g} · ") + text.replace("{a}", name)
                    if w.close(values[k], right[k] * c * factor):
                        found.add(written)
                    if over and "/" not in text and w.close(right[k], values[k] * c * factor):
                        found.add(f"1/({written})")
        return found
    return w.agreed(test)


def ratio(w: Wrong) -> Reason | None:
    """C = c R g(a), with a one of the arrays; what is said of it depends on which."""
    found = [f for f in formulas(w, w.C, w.R, over=True) if not any(word in f for word in (
        "cos", "sin", "log(", "|", "sign", " > ", " < ", "tanh"))] if w.R[0].size > 2 else []
    found = [f for f in found if any(name in f for name, _ in w.alike(0))]     # not a constant
    if not found:
        return None
    says, first = f"it is the right one times {found[0]}", found[0]
    if "sigmoid" in first and "(1 -" in first:
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


class Fresh(np.ndarray[Any, Any]):
    """An array that a ufunc never changes: y *= 2 makes a new one, and the cache keeps the old."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Compute into a new array, whatever ``out`` says."""
        options.pop("out", None)
        made = getattr(ufunc, method)(*(a.view(np.ndarray) if isinstance(a, Fresh) else a for a in inputs), **options)
        return made.view(Fresh) if isinstance(made, np.ndarray) else made


def in_place(w: Wrong) -> Reason | None:
    """Backward is right if no operation of forward works in place."""
    def along(c: Case) -> Array | None:
        try:
            with still(w.pair.generators):
                _, kept = w.pair.forward({name: a.copy().view(Fresh) for name, a in c.inputs.items()})
                return w.claims(np.asarray(w.pair.backward(copies(c.dys), kept)[w.by]).view(np.ndarray))
        except Exception:                              # code that minds what it is given
            return None

    rights = {id(c): right for c, right in zip(w.cases, w.right)}
    if not all((found := along(c)) is not None and w.close(found, rights[id(c)]) for c in w.cases):
        return None
    return Reason("in place", "an array is changed in place after it was put into the cache: with y = y * 2 in the "
                  "place of y *= 2, the same backward is right", "make a new array, or put a copy into the cache")


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
    if not given:
        return None
    if given[0] == "1":
        return Reason("derivative", f"d{y} is passed on unchanged: the derivative of the function is missing",
                      evidence=[f"{w.d} = d{y} · ({right[0]}) is right"] if right else [])
    swapped = [g for g in given if g.replace(w.by, "·") in [r.replace(y, "·") for r in right if y in r]]
    says = f"{w.d} is d{y} · ({(swapped or given)[0]})" + (f", where d{y} · ({right[0]}) is right" if right else "")
    if swapped:
        says += f": the formula is meant for the output {y}, and got the input {w.by}"
    elif any(f"d{y}" in g for g in given):
        says = f"{w.d} is d{y} · ({given[0]}): the gradient d{y} decides where it passes, and that is for the input"
    return Reason("derivative", says)


def diagonal(w: Wrong) -> Reason | None:
    """Each output depends on several entries, and C follows only the one in its own place."""
    outs = w.cases[0].outputs
    name = next(iter(outs))
    if not w.whole or len(outs) != 1 or outs[name].shape != w.shape:
        return None
    for k, c in enumerate(w.cases):
        own = np.zeros(w.shape)
        for i in np.ndindex(w.shape):
            mask = np.zeros(w.shape)
            mask[i] = 1
            own[i] = w.reference.along(c.inputs, {name: c.dys[name] * mask}, {w.by: mask})
        if not w.close(w.C[k], own):
            return None
    return Reason("missing", f"each entry of {name} depends on several entries of {w.by}, and only the one in its own "
                  "place is there: the off-diagonal terms of the Jacobian are missing")


def turned(w: Wrong) -> Reason | None:
    """C is R transposed, reshaped, summed or averaged."""
    def test(k: int) -> set[str]:
        R, found = w.R[k], dict[str, Array]()
        if R.ndim >= 2:
            T = R.swapaxes(-1, -2)
            found["transposed"] = T if T.shape == R.shape else R
            found["transposed by a reshape"] = T.reshape(R.shape)
            found["reshaped where a transpose is due"] = R.reshape(T.shape).swapaxes(-1, -2)
        for axis in range(R.ndim):
            found[f"in the opposite order along axis {axis}"] = np.flip(R, axis)
            if R.shape[axis] > 1 and ((R != 0).sum(axis=axis) > 1).all():
                for word, f in (("summed", np.sum), ("averaged", np.mean)):
                    found[f"{word} over axis {axis}"] = np.broadcast_to(f(R, axis=axis, keepdims=True), R.shape)
        return {text for text, candidate in found.items() if w.close(w.C[k], candidate)}

    found = w.agreed(test) if w.whole else []
    if not found:
        return None
    if found[0].startswith(("summed", "averaged")):
        return Reason("mean or sum", f"it is the right one, {found[0]}, which should stay apart")
    return Reason("transposed", f"it is the right one, {found[0]}")


Substitute = tuple[str, str, Arrays, Arrays]           # kind, in words, inputs, dys


def elsewhere(w: Wrong) -> Reason | None:
    """C is R for another dy, or at another value of an input, or by another input."""
    for others in (other_dy, other_inputs):
        rest = [{words: (inputs, dys) for _, words, inputs, dys in others(w, c)} for c in w.cases[1:]]
        for kind, words, inputs, dys in others(w, w.cases[0]):
            c = constant(w, 0, inputs, dys, CONSTANTS)
            if c is not None and all(words in other and constant(w, k, *other[words], (c,)) is not None
                                     for k, other in enumerate(rest, start=1)):
                times = "" if c == 1 else ", with the sign flipped" if c == -1 else f", times {c:g}"
                return Reason(kind, f"it is the right one {words}{times}",
                              evidence=["equal to it along random directions, to rounding"])
    for other, a in w.cases[0].inputs.items():
        if other != w.by and a.shape == w.shape and w.everywhere(lambda c: np.array(
                [w.reference.along(c.inputs, c.dys, {other: v}) for v in w.directions])):      # noqa: B023
            return Reason("swapped", f"it is the right gradient by {other}, not by {w.by}",
                          evidence=["equal to it along random directions, to rounding"])
    return None


def constant(w: Wrong, k: int, inputs: Arrays, dys: Arrays, constants: tuple[float, ...]) -> float | None:
    """Return the constant by which the claims are the right gradient at these inputs and dys."""
    try:
        right = w.along(w.cases[k], inputs, dys)
    except (NotComplex, ValueError, IndexError, ArithmeticError, np.linalg.LinAlgError):
        return None
    return next((c for c in constants if np.isfinite(right).all() and w.close(w.given[k], c * right)), None)


def other_dy(w: Wrong, c: Case) -> Iterator[Substitute]:
    """Yield other gradients that may have been taken for dy."""
    for name in c.dys if len(c.dys) > 1 else []:
        for kind, words, weight in (("missing", "without what comes", 0.0),
                                    ("sign", "with the sign flipped of what comes", -1.0)):
            yield kind, f"{words} through the output {name}", c.inputs, {**c.dys, name: weight * c.dys[name]}
    for a, b in combinations(c.dys, 2):
        if c.dys[a].shape == c.dys[b].shape:
            yield "swapped", f"with d{a} and d{b} swapped", c.inputs, {**c.dys, a: c.dys[b], b: c.dys[a]}
    for name, dy in c.dys.items():
        def put(kind: str, words: str, new: Array, name: str = name) -> Substitute:
            return kind, words, c.inputs, {**c.dys, name: np.broadcast_to(np.asarray(new, float), c.dys[name].shape)}

        yield put("dy forgotten", f"with 1 for d{name}", np.ones_like(dy))
        yield put("dy forgotten", f"with d{name}² for d{name}", dy * dy)
        yield put("dy forgotten", f"with the output {name} for d{name}", c.outputs[name])
        yield put("derivative", f"with d{name} let through only where d{name} > 0", dy * (dy > 0))
        for axis, n in enumerate(dy.shape):
            for i in range(min(n, 12) if n > 1 else 0):
                only = np.zeros_like(dy)
                at = (slice(None),) * axis + (i,)
                only[at] = dy[at]
                yield put("overwritten", f"from index {i} of axis {axis} of d{name} alone (of {n}): the contributions "
                          "of the others are overwritten, not added up", only)
                yield put("missing", f"without index {i} of axis {axis} of d{name} (of {n})", dy - only)
            for word, new in (("mean", dy.mean(axis, keepdims=True)), ("sum", dy.sum(axis, keepdims=True))):
                yield put("mean or sum", f"with the {word} of d{name} over axis {axis} for d{name}", new)
        if dy.ndim == 2:
            yield put("transposed", f"with d{name} reshaped where it should be transposed",
                      dy.reshape(dy.shape[::-1]).T)
            if dy.shape[0] == dy.shape[1]:
                yield put("transposed", f"with d{name} transposed", dy.T)


def other_inputs(w: Wrong, c: Case) -> Iterator[Substitute]:
    """Yield other values that backward may have taken for an input."""
    for name, a in c.inputs.items():
        def put(kind: str, words: str, new: Array, name: str = name) -> Substitute:
            return kind, f"with {words} for {name}", {**c.inputs, name: np.asarray(new, float)}, c.dys

        for out, y in c.outputs.items():
            if y.shape == a.shape:
                yield put("derivative", f"the output {out}", y)
                yield put("derivative", f"the gradient d{out}", c.dys[out])
        for other, b in c.inputs.items():
            if other > name and b.shape == a.shape:
                yield "swapped", f"with {name} and {other} swapped", {**c.inputs, name: b, other: a}, c.dys
            if other != name and b.shape == a.shape:
                yield put("swapped", other, b)
        if a.ndim == 2:
            yield put("transposed", f"{name} reshaped where it should be transposed", a.reshape(a.shape[::-1]).T)
            if a.shape[0] == a.shape[1]:
                yield put("transposed", f"{name}ᵀ", a.T)
        kind = "scale" if SCALES.search(name) else "point"
        for words, new in ((f"{name}/2", a / 2), (f"2 {name}", 2 * a), (f"exp({name})", np.exp(a)),
                           (f"√{name}", np.sqrt(a)), (f"{name}²", a * a)):
            yield put(kind, words, new)
        for axis in range(a.ndim if NOISE.search(name) else 0):
            yield put("noise", f"{name} shifted by 1 along axis {axis}", np.roll(a, 1, axis))
            yield put("noise", f"{name} shifted by -1 along axis {axis}", np.roll(a, -1, axis))


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
