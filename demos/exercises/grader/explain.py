"""What to say of a wrong answer: the first entry that is wrong, worked out, and what kind of mistake it looks like."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from gallery.bugs import broken

from grader.tasks import Array, Case, Exercise

TOLERANCE = 1e-5                                       # float32 passes; a mistake is never so small


def numbers(name: str, value: Any, wanted: Array) -> tuple[Array | None, str]:
    """Return what was returned as an array of the right shape, or a sentence that says why it is none."""
    if value is None:
        return None, f"{name} is None: is a return missing, or a value in it?"
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biufc":
        return None, f"{name} should be an array of numbers; yours is of type {type(value).__name__}."
    if array.shape != wanted.shape and not (array.size == wanted.size == 1):
        hint = ""
        if array.shape == wanted.shape[::-1]:
            hint = " It looks transposed."
        elif array.size == wanted.size:
            hint = " It has as many entries, in another form."
        elif array.ndim == wanted.ndim + 1 and wanted.ndim == 1 and array.shape[0] == wanted.shape[0]:
            hint = " Is the sum over the columns missing? .sum(axis=-1) leaves one number for each row."
        elif array.ndim == 0:
            hint = " Was everything summed or averaged to one number?"
        return None, f"{name} should have shape {wanted.shape}; yours has {array.shape}.{hint}"
    if array.dtype.kind == "c" and np.any(array.imag != 0):
        return None, f"{name} should be real numbers; yours are complex."
    return array.real.reshape(wanted.shape).astype(float), ""


def close(got: Array, wanted: Array, slack: Any = 0.0) -> Array:
    """Tell for each entry whether it is right up to rounding in float32: from wanted to wanted + slack."""
    with np.errstate(all="ignore"):
        distance = np.abs(got - wanted - slack / 2) - np.abs(slack / 2)
        return distance <= TOLERANCE * np.maximum(1, np.abs(wanted))


def entry(name: str, at: tuple[int, ...]) -> str:
    """Write the name of an entry, such as ``dW[0, 1]``."""
    head, after, step = name.partition(" after ")      # theta[0] after step 1
    return f"{head}[{', '.join(map(str, at))}]{after}{step}" if at else name


def worked(case: Case, name: str, at: tuple[int, ...], wanted: float) -> list[str]:
    """Return the lines in which an entry is worked out as a sum."""
    if name not in case.terms:
        return []
    terms = case.terms[name](*at)
    if len(terms) == 1:
        (formula, written, _), = terms
        return [f"{entry(name, at)} = {formula} = {written} = {wanted:.4g}"]
    width, middle = (max(len(term[k]) for term in terms) for k in (0, 1))
    lines = [f"{entry(name, at)} is a sum of {len(terms)} terms:"]
    lines += [f"    {formula:<{width}} {'=' if written else ' '} {written:<{middle}} = {round(value, 4) + 0.0:10.4f}"
              for formula, written, value in terms]
    return [*lines, f"    {'the sum':<{width}}   {'':<{middle}} = {round(wanted, 4) + 0.0:10.4f}"]


def looks_like(exercise: Exercise, case: Case, code: Any, name: str, at: tuple[int, ...], got: Array,
               wanted: Array) -> str:
    """Return what kind of mistake it looks like, in a sentence; empty if it looks like none that is known."""
    if not np.isfinite(got[at]):
        return (f"{'NaN' if np.isnan(got[at]) else 'An infinite number'}: an exponential or a division has overflowed, "
                "or an entry was never written.")
    mine = f"{exercise.module.replace('.', '/')}:{exercise.targets[case.target]}"
    for bug in exercise.bugs():                        # does the library with this mistake in it give these numbers?
        if name.startswith("d") and any(where != mine for where, _, _ in bug.changes):
            continue                                   # what it says is of the value, and this is a gradient
        try:
            with broken(bug), np.errstate(all="ignore"):
                spoilt, _ = numbers(name, case.run(exercise.library(), **copies(case))[name], wanted)
        except Exception:                              # a mistake may end in an error; then it is not this one
            continue
        if spoilt is not None and close(got, spoilt).all() and not close(spoilt, wanted).all():
            return f"{bug.name}. {bug.story}"
    return a_term(case, name, at, got, wanted) or in_general(case, got, wanted) or diagnosed(case, code)


def diagnosed(case: Case, code: Any) -> str:
    """Ask scratchvae.diagnose, where there is one; the grader is whole without it."""
    try:
        tool = importlib.import_module("scratchvae.diagnose")
    except ImportError:
        return ""
    if case.diagnose is None:
        return ""
    try:
        with at_most(3.0), np.errstate(all="ignore"):
            finding = case.diagnose(code, tool, **copies(case)).findings[0]
        if finding.kind == "unknown":
            return ""
        return f"{finding.says}.{f' Instead: {finding.hint}.' if finding.hint else ''}"
    except Exception:                                  # no diagnosis is no reason to say nothing at all
        return ""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise a TimeoutError if a ``with`` block takes longer, where the system can do that."""
    def ring(*_: Any) -> None:
        raise TimeoutError
    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def a_term(case: Case, name: str, at: tuple[int, ...], got: Array, wanted: Array) -> str:
    """Return a sentence if every entry lacks the same one of several terms, or has it with the wrong sign, or twice."""
    if name not in case.terms or len(case.terms[name](*at)) < 2:
        return ""
    entries = list(np.ndindex(got.shape))[:50]
    values = [[value for _, _, value in case.terms[name](*entry)] for entry in entries]
    gaps = np.array([got[entry] - wanted[entry] for entry in entries])
    for k, (formula, _, _) in enumerate(case.terms[name](*at)):
        if any(np.ptp([row[k] - row[j] for row in values]) < 1e-9 and np.allclose(values[0][k], values[0][j])
               for j in range(len(values[0])) if j != k):
            continue                                   # another term has the same value everywhere: which is meant?
        for factor, words in ((-1, "is missing"), (-2, "has the wrong sign"), (1, "is there twice")):
            if close(gaps, factor * np.array([row[k] for row in values])).all():
                return f"one term {words}: {formula}."
    return ""


def in_general(case: Case, got: Array, wanted: Array) -> str:
    """Return what is seen by comparing the two arrays alone: a sign, a factor, a transpose, an offset."""
    if got.size == 0:
        return ""
    if not got.any():
        return "All of it is 0: was it never computed?"
    if got.size > 1 and got.ndim == 2 and got.shape[0] == got.shape[1] and close(got.T, wanted).all():
        return "It is transposed: rows and columns are swapped."
    large = np.abs(wanted) > 1e-3
    with np.errstate(all="ignore"):
        ratios = got[large] / wanted[large]
    if large.sum() and np.ptp(ratios) < 1e-4 * abs(ratios[0]) and close(got, ratios[0] * wanted).all():
        ratio = ratios[0]
        if abs(ratio + 1) < 1e-4:
            return "Every sign is the other way round."
        for text, length in case.lengths.items():
            if length > 2 and abs(ratio - length) < 1e-4:
                return f"Yours is {length} times too large, which is {text}: is a mean missing?"
            if length > 2 and abs(ratio * length - 1) < 1e-4:
                return f"Yours is {length} times too small, which is {text}: is there a mean where a sum belongs?"
        if got.size > 1:
            return f"Every entry is {ratio:.4g} times what it should be: is a factor missing, or one too many?"
    gap = got - wanted
    if got.size > 1 and np.ptp(gap) < 1e-5 and np.abs(wanted).max() < 100:         # beyond that, rounding, or a clip
        return f"Every entry is off by the same {gap.flat[0]:+.4f}: is a constant missing?"
    return ""


def copies(case: Case) -> dict[str, Array]:
    """Return the inputs, copied: whoever gets them may spoil them."""
    return {name: value.copy() for name, value in case.inputs.items()}


def wrong(exercise: Exercise, case: Case, code: Any, name: str, got: Array, wanted: Array) -> str:
    """Return the whole text about a wrong result."""
    off = ~close(got, wanted, case.slack.get(name, 0.0))
    at = tuple(int(i) for i in np.argwhere(off)[0])
    count = "it is wrong"
    if off.size > 1:
        count = f"{off.sum()} of its {off.size} entries {'is' if off.sum() == 1 else 'are'} wrong"
    lines = [f"{name} is not right yet: {count}, for {case.what}.",
             f"{entry(name, at)} should be {wanted[at]:.6g}; yours is {got[at]:.6g}.",
             *worked(case, name, at, wanted[at])]
    kind = looks_like(exercise, case, code, name, at, got, wanted)
    return "\n".join([*lines, *([f"What it looks like: {kind}"] if kind else [])])
