"""One function under the glass: is its backward right, and if not, what kind of mistake is it?"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np

from ..layers import Array
from ..verify.gradcheck import stream
from .finding import Diagnosis, Finding, Problem
from .mistakes import explain
from .reference import (Arrays, Case, NotComplex, Pair, Reference, case, copies, entries, generators, jittered, size,
                        still, trusted, varied)
from .suspect import Suspect, leaf

ROUNDING = 1e-14                                       # of y, in a derivative of it


def examine(pair: Pair, dys: Arrays | None = None, equation: str = "", by: Iterable[str] | None = None,
            quick: bool = False) -> Diagnosis:
    """Check one pair, at the given dys or at random ones, and explain what is wrong.

    Parameters
    ----------
    pair : Pair
    dys : dict of str to array, optional
        The gradients by the outputs, as they reached this backward.
    equation : str
        Of MATH.md, to be named in a message.
    by : names, optional
        Of the inputs to look at; by default all.
    quick : bool, default False
        Say only which gradients are wrong, and do not look for the kind of mistake.
    """
    diagnosis = Diagnosis(pair.name)
    try:
        at = case(pair, pair.inputs, dys)
        if repeatable(pair, diagnosis):
            look(pair, at, diagnosis, list(pair.inputs if by is None else by), quick)
    except Problem as problem:
        diagnosis.findings.append(structural(pair, problem))
    for found in diagnosis.findings:
        found.equation = equation
    return diagnosis


def repeatable(pair: Pair, diagnosis: Diagnosis) -> bool:
    """Tell whether forward gives the same again; say so if it does so only while its noise is held still."""
    forward, results = pair.name.replace("backward", "forward"), []
    for _ in range(2):
        with still(pair) as drawn:
            outputs, kept = pair.forward(copies(pair.inputs))
            drew = drawn(kept)
            results.append(copies(outputs))
    if not same(*results):
        diagnosis.findings.append(Finding(
            pair.name, "", "not deterministic", f"{forward} gives another y for the same input each time, so that no "
            "gradient can be compared with it", "draw the noise outside, and hand it to forward as an argument"))
        return False
    if drew:
        diagnosis.remarks.append(Finding(
            forward, "", "random", "forward draws noise anew in each call, so two calls do not agree; the check held "
            "the noise still", "hand the noise to forward as an argument, so that a pass can be repeated"))
    return True


def draws_in_backward(pair: Pair) -> bool:
    """Whether backward draws noise."""
    with still(pair) as drawn:
        outputs, kept = pair.forward(copies(pair.inputs))
        before = drawn(kept)
        first = [copy.deepcopy(g.bit_generator.state) for g in generators(kept) if isinstance(g, np.random.Generator)]
        n = drawn(kept)
        pair.backward({name: np.ones(np.shape(y)) for name, y in outputs.items()}, kept)
        after = [g.bit_generator.state for g in generators(kept) if isinstance(g, np.random.Generator)]
        return n > before or drawn(kept) > n or first != after


def same(a: Arrays, b: Arrays) -> bool:
    """Whether outputs are the same to rounding."""
    return all(np.shape(a[n]) == np.shape(b[n]) and np.allclose(a[n], b[n], rtol=1e-9, atol=0, equal_nan=True)
               for n in a)


def look(pair: Pair, at: Case, diagnosis: Diagnosis, names: list[str], quick: bool) -> None:
    """Compare each gradient; explain those that are wrong."""
    reference, why = Reference(pair), ""
    try:
        wrong = [by for by in names if error(reference, at, by) > reference.tolerance]
    except (NotComplex, ArithmeticError):
        wrong = names
    if wrong:
        reference, why = trusted(pair, at)
        if any(single(at, by) for by in names) and reference.method == "central":
            reference.step, reference.fit = 2e-2, 2e-3     # of seven digits, a step of 1e-3 leaves four
        wrong = [by for by in names if not error(reference, at, by) <= reference.tolerance]
    if why:
        text = f"{why}. So differences were taken" + (", and they agree with backward" if not wrong else "")
        diagnosis.remarks.append(Finding(pair.name.replace("backward", "forward"), "", "not analytic", text))
    kinked = [by for by in wrong if at_a_kink(reference, at, by)]
    rounded = [by for by in wrong if by not in kinked and error(reference, at, by) < 1e-3 and single(at, by)]
    if kinked:
        diagnosis.remarks.append(Finding(
            pair.name, kinked[0], "kink", f"the input lies on a kink, where the slopes to the left and to the right "
            f"differ: d{leaf(kinked[0])} takes one of them there, and is right elsewhere"))
    if rounded:
        diagnosis.remarks.append(Finding(
            pair.name, rounded[0], "rounding", "it is computed in float32, and right to its some seven digits"))
    wrong = [by for by in wrong if by not in kinked and by not in rounded]
    if not wrong or quick:
        diagnosis.findings += [Finding(pair.name, by, "unknown", "it is wrong") for by in wrong]
        return
    if draws_in_backward(pair):
        says = "backward draws noise anew, where it needs the noise that forward used"
        diagnosis.findings += [Finding(pair.name, by, "noise", says, "put the noise of forward into the cache")
                               for by in wrong]
        return
    cases = [at, case(pair, at.inputs, number=11), elsewhere(pair, at)]
    for by in wrong:
        diagnosis.findings.append(found(pair, reference, cases, by))


def elsewhere(pair: Pair, at: Case) -> Case:
    """Return a case at another point, or with another dy at the same one if there is none."""
    for move in (varied, jittered):
        try:
            other = case(pair, move(at.inputs, 7), number=12)
        except (Problem, ArithmeticError, ValueError):
            continue
        if all(np.isfinite(y).all() for y in other.outputs.values()):
            return other
    return case(pair, at.inputs, number=12)


def error(reference: Reference, at: Case, by: str) -> float:
    """Return |given - right| relative to the larger of them: of every entry, or along directions if there are many."""
    C, a = at.claimed[by], at.inputs[by]
    if not np.isfinite(C).all():
        return np.inf
    arriving = np.sqrt(sum((dy * dy).sum() for dy in at.dys.values()))
    if a.size <= entries(at.inputs):
        right = reference.entries(at.inputs, at.dys, by, np.arange(a.size))
        given = C.ravel()
    else:
        V = [stream(8 + i).standard_normal(a.shape) for i in range(2)]
        right = np.array([reference.along(at.inputs, at.dys, {by: v}) for v in V])
        given = np.array([(C * v).sum() for v in V])
    y = max(float(np.abs(y).max(initial=0)) for y in at.outputs.values())
    if np.linalg.norm(given - right) <= ROUNDING * y * arriving * np.sqrt(a.size):
        return 0.0                                     # 1 - y² of a y that is nearly 1 has few digits, and is right
    scale = max(np.linalg.norm(given), np.linalg.norm(right), np.linalg.norm(C) if a.size > entries(at.inputs) else 0.0)
    if np.linalg.norm(right) <= 1e-12 * arriving and np.linalg.norm(given) <= 1e-10 * arriving:
        return 0.0                                     # zero, up to the rounding of terms that cancel
    return float(np.linalg.norm(given - right) / scale) if scale > 0 else 0.0


def at_a_kink(reference: Reference, at: Case, by: str) -> bool:
    """Whether the gradient is right just beside this point, and one of the slopes at it."""
    for number in (21, 22):
        try:
            beside = case(reference.pair, jittered(at.inputs, number), at.dys)
            if error(reference, beside, by) > reference.tolerance:
                return False
        except (Problem, NotComplex, ArithmeticError):
            return False
    a, C = at.inputs[by], at.claimed[by]
    if a.size > entries(at.inputs):
        return True
    smooth = Reference(reference.pair, "central")
    for k in range(a.size):
        v = np.zeros(a.size)
        v[k] = 1
        direction = {by: v.reshape(a.shape)}
        left, right = (smooth.one_sided(at.inputs, at.dys, direction, sign) for sign in (-1, 1))
        margin = 1e-4 * (abs(left) + abs(right) + size(C))
        if not min(left, right) - margin <= C.flat[k] <= max(left, right) + margin:
            return False
    return True


def single(at: Case, by: str) -> bool:
    """Whether this was computed in float32."""
    return any(a.dtype == np.float32 or (np.array_equal(a, a.astype(np.float32)) and not np.all(a == np.round(a)))
               for a in [at.claimed[by], *at.outputs.values()])


def found(pair: Pair, reference: Reference, cases: list[Case], by: str) -> Finding:
    """Return what is wrong with one gradient."""
    s = Suspect(reference, by, cases, wrong_entry(reference, cases[0], by))
    reason = explain(s)
    gap = np.abs(s.C[0] - s.R[0])
    worst = np.unravel_index(int(np.argmax(np.where(np.isfinite(gap), gap, np.inf))), gap.shape)
    at = [int(np.asarray(i).ravel()[j]) for i, j in zip(s.index, worst)]
    entry = f"d{leaf(by)}{at if at else ''}: given {s.C[0][worst]:.6g}, right {s.R[0][worst]:.6g}"
    return Finding(pair.name, by, reason.kind, reason.says, reason.hint, [entry, *reason.evidence],
                   given=s.C[0], right=s.R[0])


def wrong_entry(reference: Reference, at: Case, by: str) -> Array | None:
    """Return the place of a wrong entry of a large array: by halves, along each axis."""
    shape = at.inputs[by].shape
    if at.inputs[by].size <= entries(at.inputs) or not np.isfinite(at.claimed[by]).all():
        return None
    v = stream(9).standard_normal(shape)

    def gap(mask: Array) -> float:
        w = v * mask
        return abs((at.claimed[by] * w).sum() - reference.along(at.inputs, at.dys, {by: w}))

    place, mask = [], np.ones(shape)
    for axis, n in enumerate(shape):
        low, high = 0, n
        while high - low > 1:
            middle = (low + high) // 2
            half = np.zeros(shape)
            half[(slice(None),) * axis + (slice(low, middle),)] = 1
            other = np.zeros(shape)
            other[(slice(None),) * axis + (slice(middle, high),)] = 1
            low, high = (low, middle) if gap(mask * half) >= gap(mask * other) else (middle, high)
        keep = np.zeros(shape)
        keep[(slice(None),) * axis + (low,)] = 1
        mask = mask * keep
        place.append(low)
    return np.array(place)


def structural(pair: Pair, problem: Problem) -> Finding:
    """Turn a problem into a finding; a gradient of another shape may be one that was not summed."""
    given, by = problem.given, problem.tensor
    kind, says, hint = problem.kind, problem.says, problem.hint
    if given is not None and by in pair.inputs and problem.kind == "shape":
        shape = pair.inputs[by].shape
        lead = given.ndim - len(shape)
        if lead > 0 and given.shape[lead:] == shape:
            kind, hint = "not summed", f"sum over the rows: d{leaf(by)} = (...).sum(axis=0)"
        elif given.shape == shape[::-1]:
            kind, hint = "transposed", f"d{leaf(by)} must have the shape of {leaf(by)}: transpose it"
    return Finding(pair.name, by, kind, says, hint)
