"""Which operation of forward has another derivative in backward?

A backward is the chain rule, one operation of forward after another.  Many a wrong one is the right one
of a forward in which a single operation has another derivative: 0 (its path is missing), its own with the
sign flipped, n times it, that of another formula, or of the transposed matrix.  So forward is run with the
derivative of one operation replaced; where this gives what backward claims, to rounding, the line of forward is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from itertools import product
from typing import Any, Optional

import numpy as np

from ..layers import Array
from ..verify.derivative import NotComplex
from ..verify.dual import plain
from .evidence import Case, Reason, Wrong, nice, over_an_axis
from .numbers import CONSTANTS, FORMULAS, nice_formula
from .watch import Call, Site, Rule, Rules, line, take, watched

RUNS = 600                                             # of forward, that the search may take for all gradients
SCALES = re.compile("var|std|sig|log|lv|scale|prec")   # names of inputs that stand for a variance

Path = Optional[int]                                   # which operand; None for all of them


class Search:
    """The search for one wrong gradient."""

    def __init__(self, w: Wrong) -> None:
        self.w, self.rules = w, dict[Site, Rule]()
        self.fitted: Rules = {}                        # the last that fitted
        self.cut = cache(lambda at, path: self.along(w.cases[0], {at: weighted(path, 0.0)}))
        self.groups = watched(w.reference, w.cases[0], {w.by: w.directions[0]})[1]
        self.paths = {at: sorted({i for call in calls for i, a in enumerate(call.inputs)
                                  if np.iscomplexobj(a) and np.any(np.imag(a))}) for at, calls in self.groups.items()}
        self.operands = [(at, path) for at, paths in self.paths.items() for path in paths]
        for at, (call, *_) in self.groups.items():     # what is subtracted from a softmax has no effect at all
            if call.function in (np.maximum.reduce, np.max) and w.close(self.cut(at, None), w.right[0]):
                self.rules[at] = weighted(None, 0.0)   # so it has none in any case
        self.cut.cache_clear()

    def run(self, c: Case, v: Array, rules: Rules) -> float:
        """Return the derivative along v with other derivatives of some operations."""
        found, _ = watched(self.w.reference, c, {self.w.by: v}, {**self.rules, **rules})
        self.w.reference.runs += 1
        if self.w.reference.runs > RUNS:
            raise NotComplex("the search has taken its time")
        return float(sum((found[of] * dy).sum() for of, dy in c.dys.items()))

    def along(self, c: Case, rules: Rules) -> Array:
        """Return the derivatives along both directions."""
        return np.array([self.run(c, v, rules) for v in self.w.directions])

    def fits(self, rules: Rules) -> bool:
        """Whether rules give what backward claims, in every case."""
        fit = self.w.everywhere(lambda c: self.along(c, rules))
        self.fitted = rules if fit else self.fitted
        return fit

    def where(self, at: Site, path: Path = None) -> str:
        """Say which operation, and of several operands which."""
        of = f"operand {path + 1} of " if path is not None and len(self.paths[at]) > 1 else ""
        return f"{of}{getattr(getattr(at[-1], '__self__', at[-1]), '__name__', '')} in {line(at)}"


def weighted(path: Path, c: float) -> Rule:
    """Return the rule that what comes through an operand, or through all, counts c times."""
    return lambda call, _: call.result + 1j * (c - 1) * (np.imag(call.result) if path is None else call.through(path))


def operation(w: Wrong) -> Reason | None:
    """Return which operation of forward has another derivative, if one explains the gradient."""
    if not w.reference.follows:
        return None
    with suppress(NotComplex, ValueError, IndexError, ArithmeticError, np.linalg.LinAlgError):
        search = Search(w)
        for rules, reason in w.reference.explained:    # other gradients are wrong through this operation
            if rules.keys() <= search.groups.keys() and search.fits(rules):
                return reason
        for hypothesis in (weights, two_missing, products, overwritten, formulas):
            for found in hypothesis(search):
                w.reference.explained.append((search.fitted, found))
                return found
    return None


def every(s: Search) -> Iterator[tuple[Site, Path]]:
    """Yield the operands that are moved; several of one operation can be missing together."""
    for at, paths in s.paths.items():
        inputs = s.groups[at][0].inputs
        if len(paths) == len(inputs) == 2 and np.shape(inputs[0]) == np.shape(inputs[1]) and np.shares_memory(*inputs):
            yield at, None                             # a square: half of it is no path of its own
        else:
            yield from ((at, path) for path in (paths if len(paths) == 1 else [*paths, None] if paths else []))


def weights(s: Search) -> Iterator[Reason]:
    """What comes through an operand is missing, has the other sign, or counts 2 times, or 1/n."""
    found, right, given = list[tuple[float, Site, Path]](), s.w.right[0], s.w.given[0]
    for at, path in every(s):
        gap = right - s.cut(at, path)
        if np.abs(gap).min() > 1e-9 * np.abs(right).max():
            c = (given - s.cut(at, path)) / gap
            found += [(float(c[0]), at, path)] if abs(c[0] - c[1]) < 1e-6 * max(1, abs(c[0])) else []
    for c, at, path in sorted(found, key=lambda it: (abs(it[0]) > 1e-6, abs(it[0] + 1) > 1e-6)):
        c = next((k for k in (0.0, -1.0) if abs(c - k) < 1e-6), c)
        if not s.fits({at: weighted(path, c)}):
            continue
        what = f"what comes through {s.where(at, path)}"
        if c == 0:
            yield Reason("missing", f"{what}, is not in it: one path of forward", "add what comes back on this path")
        elif c == -1:
            yield Reason("sign", f"{what} has its sign flipped")
        else:
            axis = over_an_axis(s.w, c, lambda case, v, less: s.run(case, v, {at: weighted(path, less)}))  # noqa: B023
            taken, due = ("sum", "mean") if abs(c) > 1 else ("mean", "sum")
            yield Reason("mean or sum" if axis else "factor", f"{what} is {nice(c)} times what it should be" + (
                f": a {taken} is taken where a {due} is due, {axis}" if axis else ""))


def two_missing(s: Search) -> Iterator[Reason]:
    """Two paths that do not meet are not there, such as those through a mean and a variance."""
    right, given, paths = s.w.right[0], s.w.given[0], list(every(s))
    cuts = np.array([s.cut(at, path) for at, path in paths])
    gaps = np.abs(cuts[:, None] + cuts - right - given).max(axis=2)            # (paths, paths)
    for i, j in np.argwhere(gaps <= s.w.fit * np.abs(given).max()):
        (one, path), (other, through) = paths[i], paths[j]
        if i < j and one != other and not s.w.close(cuts[i], right) and not s.w.close(cuts[j], right) and s.fits(
                {one: weighted(path, 0.0), other: weighted(through, 0.0)}):
            yield Reason("missing", f"two paths of forward are not in it, that through {s.where(one, path)}, and "
                         f"that through {s.where(other, through)}", "add what comes back on these paths")


def overwritten(s: Search) -> Iterator[Reason]:
    """Rounds of a loop, or rows that are taken twice, give to the same entries, and one overwrites the others."""
    wrong = np.flatnonzero(s.w.wrong(0)) if s.w.whole else np.zeros(0, int)
    entries = wrong[np.linspace(0, len(wrong) - 1, min(len(wrong), 8)).astype(int)]
    for at, path in s.operands:
        calls = s.groups[at]
        rows = np.shape(calls[0].inputs[1]) if calls[0].function is take and len(calls) == 1 and path == 0 else ()
        n = int(np.prod(rows)) if rows else len(calls)

        def only(i: int, path: int = path, rows: tuple[int, ...] = rows) -> Rule:          # one round, or one row
            def rule(call: Call, round: int) -> Any:
                kept = (np.arange(np.prod(rows)) == i).reshape(rows + (1,) * (call.result.ndim - len(rows))) if (
                    rows) else round == i
                return np.where(kept, call.result, weighted(path, 0.0)(call, round))
            return rule

        @cache
        def given_by(k: int, entry: int, at: Site = at, n: int = n, only: Any = only) -> list[float]:
            v = (np.arange(s.w.C(0).size) == entry).astype(float).reshape(s.w.shape)
            return [a for i in range(n) if (a := s.run(s.w.cases[k], v, {at: only(i)})) != 0]

        for which, words in ((-1, "last"), (0, "first")) if 1 < n <= 100 else ():
            if len(entries) and all(len(given_by(k, e)) > 1 and s.w.close(
                    s.w.C(k).flat[e], np.array(given_by(k, e)[which])) for k in (0, 2) for e in entries):
                yield Reason("overwritten", f"its entries are sums of what comes {n} times from {s.where(at, path)}; "
                             f"each holds that of the {words} time alone", "add the contributions up: += for =, and "
                             "np.add.at(d, index, dy) where an index comes twice")


def formulas(s: Search) -> Iterator[Reason]:
    """An operation on single entries has the derivative of another formula."""
    for (text, g), (at, path) in product(FORMULAS.items(), s.operands):
        call, given = s.groups[at][0], s.w.given[0][0]
        single = isinstance(call.function, np.ufunc) and call.function.signature is None       # entry by entry
        if not single or call.function in (np.add, np.subtract, np.negative) or (
                np.shape(call.inputs[path]) != call.result.shape):
            continue
        others = [p for p, a in enumerate(call.inputs) if p != path and isinstance(a, np.ndarray) and a.ndim]
        for name, p in (("its input", path), ("its output", None), *(("the other operand", p) for p in others[:1])):
            def rule(call: Call, _: int, c: float = 1.0, p: Path = p, g: Any = g, path: int = path) -> Any:
                a = np.broadcast_to(np.real(call.result if p is None else call.inputs[p]), call.result.shape)
                return call.instead(path, c * np.real(plain(g(a))) * np.imag(call.inputs[path]))

            none, one = s.cut(at, path)[0], s.run(s.w.cases[0], s.w.directions[0], {at: rule})
            c = next((c for c in CONSTANTS if abs(none + c * (one - none) - given) < 1e-6 * abs(one - none)), None)
            if c is not None and s.fits({at: partial(rule, c=c)}):
                kind = "scale" if call.function is np.exp and SCALES.search(s.w.by) else (
                    "factor" if call.function in (np.multiply, np.true_divide) and text == "1" else "derivative")
                yield Reason(kind, f"the derivative by {s.where(at, path)} is taken to be "
                             f"{nice_formula(c, text, 'v')}" + (f", where v is {name}" if text != "1" else ""))
            if text == "1":                            # of whatever
                break


def t(a: Array) -> Array:
    """Return matrices transposed."""
    return np.swapaxes(a, -1, -2)


PRODUCTS: dict[str, Callable[[Array, Array], Array]] = {               # for v b
    "the other operand transposed": lambda v, b: v @ t(b), "itself transposed": lambda v, b: t(v) @ b,
    "the product transposed": lambda v, b: t(v @ b),
    "the other operand reshaped, where it should be transposed": lambda v, b: v @ t(b.reshape(t(b).shape))}


def products(s: Search) -> Iterator[Reason]:
    """A matrix product has a transposed operand, or its operands in the other order."""
    for (at, path), (words, other) in product(s.operands, PRODUCTS.items()):
        def rule(call: Call, _: int, path: int = path, other: Any = other) -> Any:
            v, b = np.imag(call.inputs[path]), np.real(call.inputs[1 - path])
            return call.instead(path, other(v, b) if path == 0 else t(other(t(v), t(b))))

        call = s.groups[at][0]
        with suppress(ValueError):                     # the shapes do not fit, or the product's is another
            if call.function in (np.matmul, np.dot) and all(np.ndim(a) > 1 for a in call.inputs[:2]) and s.fits(
                    {at: rule}):
                yield Reason("transposed", f"for {s.where(at, path)}, a transpose is missing, or too many: it is "
                             f"what comes of {words}")
