"""One function: is its backward right, and if not, what kind of mistake is it?"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator


import numpy as np

from ..layers import Array
from ..verify.derivative import (Arrays, NotComplex, Pair, change, changes, complex_step, confirmed, copies,
                                 off_entries, precision, relative, size, stream)
from ..verify.noise import still
from ..verify.pairs import Problem
from . import numbers
from .evidence import Case, Reason, Reference, Wrong, beside, case, elsewhere, leaf
from .finding import Diagnosis, Finding
from .operations import operation
from .watch import outer, watched

ROUNDING = 1e-14                                       # of y, in a derivative of it
AT_MOST = 60                                           # entries that are looked at one by one
HYPOTHESES = (numbers.not_finite, numbers.added, numbers.dy_forgotten, numbers.factor, numbers.derivative,
              numbers.ratio, operation)


def examine(pair: Pair, by: Iterable[str] | None = None) -> Diagnosis:
    """Check one pair, and say of each wrong gradient what kind of mistake it looks like.

    Parameters
    ----------
    pair : Pair
    by : names, optional
        Of the inputs to look at; by default all.
    """
    diagnosis = Diagnosis(pair.name)
    try:
        at = case(pair, pair.inputs)
        names = [name for name in (at.claimed if by is None else by) if name in at.claimed]
        if sound(pair, at, diagnosis):
            look(pair, at, diagnosis, names)
            if diagnosis.ok or all(f.kind in ("unknown", "missing", "zero", "derivative", "point") or not f.tensor
                                   for f in diagnosis.findings):
                diagnosis.findings = [*in_place(pair, at), *diagnosis.findings]
    except Problem as problem:
        diagnosis.findings.append(structural(pair.name, problem))
    return diagnosis


def structural(name: str, problem: Problem) -> Finding:
    """Turn a problem into a finding."""
    return Finding(name, problem.tensor, problem.kind, problem.says, problem.hint)


def sound(pair: Pair, at: Case, diagnosis: Diagnosis) -> bool:
    """Tell whether forward gives finite numbers, and the same again; if not, backward is not to blame, and say so."""
    forward, again = pair.forward_name, pair.values(copies(at.inputs))
    spoilt = [f"{y[i]} in {name}{[int(k) for k in i]}" for name, y in at.outputs.items()
              for i in map(tuple, np.argwhere(~np.isfinite(y))[:1])]
    if any(np.shape(y) != np.shape(again[n]) or not np.allclose(y, again[n], rtol=1e-9, atol=0, equal_nan=True)
           for n, y in at.outputs.items()):
        diagnosis.findings.append(Finding(
            pair.name, "", "not deterministic", f"{forward} gives another y for the same input each time, so that no "
            "gradient can be compared with it", "draw the noise outside, and hand it to forward as an argument"))
    elif spoilt:
        diagnosis.findings.append(Finding(
            forward, "", "not finite", f"forward already gives {spoilt[0]}, so there is no derivative there; backward "
            "was not looked at", "look for a log of 0, a division by 0 or an exponential that overflows in forward"))
    elif at.drew[0]:
        diagnosis.remarks.append(Finding(
            forward, "", "random", "forward draws noise anew in each call, so two calls do not agree; the check held "
            "the noise still", "hand the noise to forward as an argument, so that a pass can be repeated"))
    return diagnosis.ok


def in_place(pair: Pair, at: Case) -> Iterator[Finding]:
    """Yield the first thing that forward or backward changes and that is not theirs to change."""
    def differing(before: Arrays, after: Arrays, *names: str) -> list[str]:
        return [n for n in names or before if not np.allclose(before[n], after[n], rtol=1e-9, atol=0, equal_nan=True)]

    forward = pair.forward_name
    with still(pair.generators):
        given = copies(at.inputs)
        made, kept = pair.forward(given)
        before, snapshot = copies(made), copies(given)
        found = [(forward, n, f"forward changes {leaf(n)}, which belongs to its caller")
                 for n in differing(at.inputs, given)]
        first = copies(pair.backward(copies(at.dys), kept))
        found += [(pair.name, n, f"backward changes {leaf(n)} itself") for n in differing(snapshot, given)]
        if not found and not at.drew[1]:
            again = pair.backward(copies(at.dys), kept)
            found += [(pair.name, n, f"a second backward with the same cache gives another d{leaf(n)}: backward "
                       "changes what the cache holds") for n in differing(first, again) if n not in pair.fills]
        if not found:
            pair.forward(beside(at.inputs, 23))
            found += [(forward, n, f"the next call of forward changes the {n} of the last one: both are the same array")
                      for n in differing(before, made)]
    for name, tensor, says in found[:1]:
        yield Finding(name, tensor, "in place", says, "make a new array, y = y * 2 for y *= 2, or work in a copy")


def look(pair: Pair, at: Case, diagnosis: Diagnosis, names: list[str]) -> None:
    """Compare each gradient; explain those that are wrong."""
    reference = witness(pair, at)
    spread = outer(reference, at) if reference.follows else ""
    if spread:
        diagnosis.remarks.append(Finding(pair.forward_name, "", "broadcast", f"forward broadcasts: {spread}; "
                                         "was one number for each row meant?"))
    there, explained = other_case(pair, at), dict[str, Case]()         # an entry may be 0 here, as off a ReLU
    for name in names:
        off = [c for c in ([at, there] if reference.follows else [at]) if name in c.claimed and not directional(
            reference, c, name) <= max(reference.tolerance, 1e-8 if c is there else 0)]
        if not off and reference.follows and not seen_by_difference(reference, at, name):
            reference, off = Reference(pair, False), [at]
        for here in off[:1]:
            remark, kinked = no_mistake(reference, here, name)
            if remark is None:                         # some of its entries may lie on a kink: look beside it
                explained[name] = case(pair, beside(here.inputs, 21), here.dys) if kinked else here
            elif here is at and all(remark.kind != other.kind for other in diagnosis.remarks):
                diagnosis.remarks.append(remark)
    findings = {name: Finding(
        pair.name, name, "noise", "backward draws noise anew, where it needs the noise that forward used",
        "put the noise of forward into the cache") if at.drew[1] else found(reference, explained[name], name)
        for name in sorted(explained, key=lambda name: reference.follows and len(
            watched(reference, at, {name: at.inputs[name]})[1]))}
    diagnosis.findings += [findings[name] for name in explained]


def witness(pair: Pair, at: Case) -> Reference:
    """Return the reference that this forward can have."""
    try:
        with np.errstate(all="ignore"):
            found = Reference(pair, True, precision(pair.values, at.inputs))
        v = {name: stream(3).standard_normal(a.shape) for name, a in at.inputs.items()}
        if all(np.isfinite(s).all() for s in complex_step(pair.values, at.inputs, v).values()):
            return found
    except (NotComplex, TypeError, ValueError, AttributeError, ArithmeticError, np.exceptions.ComplexWarning):
        pass
    return Reference(pair, False, 1e-7 if any(map(single, at.outputs.values())) else 0.0)


def single(a: Array) -> bool:
    """Whether an array was computed in float32."""
    return a.dtype == np.float32 or bool(np.array_equal(a, a.astype(np.float32)) and not np.all(a == np.round(a)))


def directional(reference: Reference, at: Case, by: str) -> float:
    """Return the error of a gradient along two random directions, relative to the gradient."""
    C = at.claimed[by]
    if not np.isfinite(C).all():
        return np.inf
    V = [stream(8 + i).standard_normal(C.shape) for i in range(2)]
    try:
        right = [reference.along(at, {by: v}) for v in V]
    except NotComplex:
        return np.inf
    largest = max(float(np.abs(y).max(initial=0)) for y in at.outputs.values())
    floor = ROUNDING * largest * np.sqrt(sum((dy * dy).sum() for dy in at.dys.values()) * max(C.size, 1))
    return relative([(C * v).sum() for v in V], right, float(np.linalg.norm(C)), floor)


def seen_by_difference(reference: Reference, at: Case, by: str) -> bool:
    """Whether the second witness agrees, along one direction, or in each entry that it is asked for."""
    C, v = at.claimed[by], stream(10).standard_normal(at.claimed[by].shape)
    if reference.precision > 0:
        return True                                    # of rounded numbers differences say too little
    moved = changes(reference.forward, at.inputs, {by: v * size(at.inputs[by])})
    rounding = 1e-15 * sum(float(np.abs(y * at.dys[of]).sum()) for of, y in at.outputs.items())
    if confirmed(change(moved, at.dys), float((C * v).sum()) * size(at.inputs[by]),
                 float(np.linalg.norm(C)) * size(at.inputs[by]), rounding):
        return True
    entries = np.unique(np.linspace(0, C.size - 1, min(C.size, AT_MOST)).astype(int))
    return not off_entries(reference.forward, at.inputs, by, at.dys, C, entries)[0]


def no_mistake(reference: Reference, at: Case, by: str) -> tuple[Finding | None, bool]:
    """Return a remark if a gradient that differs from the reference is right; and whether it has kinks."""
    pair, C = reference.pair, at.claimed[by]
    if not np.isfinite(C).all():
        return None, False
    entries = np.unique(np.linspace(0, C.size - 1, min(C.size, AT_MOST)).astype(int))
    try:
        right = all(directional(reference, case(pair, beside(at.inputs, number), at.dys), by) <= max(
            reference.tolerance, 0 if reference.follows else 1e-4) for number in (21, 22))
    except (Problem, NotComplex, ArithmeticError):
        right = False
    off, *_ = off_entries(reference.forward, at.inputs, by, at.dys, C, entries)
    if (right or (not reference.follows and C.size <= AT_MOST)) and not off:
        return Finding(pair.name, by, "kink", "the input lies on a kink, where the slopes to the left and to the right "
                       f"differ, or beside one: d{leaf(by)} takes one of them there, and is right elsewhere"), True
    if directional(reference, at, by) < (1e-3 if reference.fit > 1e-5 and not reference.follows and reference.precision
                                         else 1e-5 if single(C) else 2e-7):
        return Finding(pair.name, by, "rounding", "it is computed in float32, and right to its seven digits"), False
    v = stream(10).standard_normal(C.shape)
    moved = change(changes(reference.forward, at.inputs, {by: v}), at.dys)
    if moved(1e-7) == moved(-1e-7) == moved(1e-5) == 0.0 and moved(3 * size(at.inputs[by])) != 0:
        return Finding(pair.name, by, "stepwise", f"forward is constant in steps of {leaf(by)}, so its derivative is "
                       "0; a gradient that is passed through all the same is a choice, which cannot be checked"), False
    return None, len(off) < len(entries) and reference.follows


def other_case(pair: Pair, at: Case) -> Case:
    """Return a case at another point, or with another dy at the same one if there is none."""
    for move in (elsewhere, beside):
        try:
            other = case(pair, move(at.inputs, 7), number=12)
        except (Problem, ArithmeticError, ValueError):
            continue
        if all(np.isfinite(y).all() for y in other.outputs.values()):
            return other
    return case(pair, at.inputs, number=12)


def found(reference: Reference, at: Case, by: str) -> Finding:
    """Return what is wrong with one gradient: the first hypothesis that fits, or "unknown" with the ratios."""
    w = Wrong(reference, by, [at, case(reference.pair, at.inputs, number=11), other_case(reference.pair, at)])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reasons: Iterator[Reason | None] = (hypothesis(w) for hypothesis in HYPOTHESES)
        reason = next((reason for reason in reasons if reason is not None), None) or numbers.unknown(w)
    gap = np.abs(w.C(0) - w.R(0))
    worst = np.unravel_index(int(np.argmax(np.where(np.isfinite(gap), gap, np.inf))), gap.shape)
    entry = [int(np.asarray(i).ravel()[j]) for i, j in zip(w.index, worst)]
    shown = f"{w.d}{entry if entry else ''}: given {w.C(0)[worst]:.6g}, right {w.R(0)[worst]:.6g}"
    return Finding(w.pair.name, by, reason.kind, reason.says, reason.hint, [shown, *reason.evidence])
